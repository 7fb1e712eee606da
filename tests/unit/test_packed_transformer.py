"""Clips of any size packed into one sequence: each is answered, and teaches, as if it were alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.execution.activation_checkpoint import checkpoint_blocks
from reelwright.families.cogvideox.conditions import OFS, Conditions, position_conditions
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack.conditions import CleanLatents
from reelwright.families.framepack.conditions import Conditions as FramePackConditions
from reelwright.families.framepack.packing import num_tokens
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.nn import packing
from reelwright.nn.packing import Packing

from .lora_networks import COGVIDEOX, FRAMEPACK, Draw

ROTARY = replace(COGVIDEOX, attention_head_dim=16, use_rotary_positional_embeddings=True)
LAYOUTS: dict[str, TransformerConfig] = {
    "2b": COGVIDEOX,
    "5b": ROTARY,
    "5b-i2v": replace(ROTARY, in_channels=32, use_learned_positional_embeddings=True),
    "1.5-5b": replace(ROTARY, patch_size_t=2, patch_bias=False),
    "1.5-5b-i2v": replace(ROTARY, patch_size_t=2, in_channels=32, ofs_embed_dim=16),
}
GRIDS = [(2, 8, 8), (2, 4, 6), (4, 6, 4), (2, 8, 8)]
"""Latents of clips; an image of one latent frame is filled up where tokens hold two of them."""
IMAGE = (1, 8, 6)
CLOSE = 1e-5

Pack = tuple[Any, list[Tensor], Tensor, list[Any]]
"""A network, and the latents, timesteps and conditions of what it is to be asked at once."""


def clips_of(layout: str) -> Pack:
    return sections() if layout == "framepack" else clips(layout)


def clips(layout: str) -> Pack:
    config, draw = LAYOUTS[layout], Draw(3)
    torch.manual_seed(1)
    network = CogVideoXTransformer(config)
    # A table of positions is for one size, and as many frames as it has.
    grids = [*GRIDS, *([IMAGE] if config.patch_size_t is None else [])]
    if config.use_learned_positional_embeddings:
        grids = [(1, 8, 8), (2, 8, 8), (1, 8, 8)]
        torch.nn.init.normal_(network.patch_embedding.get_buffer("positions"))
    conditions = [
        Conditions(
            text_BLD=draw(1, config.max_text_seq_length, config.text_embed_dim),
            image_BCTHW=draw(1, config.condition_channels, *grid) if config.condition_channels else None,
            ofs_B=torch.tensor([OFS]) if config.ofs_embed_dim else None,
            **position_conditions(config, grid),
        )
        for grid in grids
    ]
    timestep_B = torch.tensor([30.0 + 170 * number for number in range(len(grids))])
    return network, [draw(1, 16, *grid) for grid in grids], timestep_B, conditions


SECTIONS: list[tuple[tuple[int, int, int], int, dict[str, list[int]]]] = [
    ((2, 8, 8), 3, {"clean_1x": [0, 5], "clean_2x": [6, 7], "clean_4x": [8, 9, 10, 11]}),
    ((2, 4, 6), 7, {"clean_1x": [0, 7], "clean_2x": [8, 9], "clean_4x": [10, 11, 12, 13]}),
    ((1, 6, 4), 1, {"clean_1x": [0]}),
    ((3, 6, 10), 5, {"clean_4x": [1, 2, 3, 4], "clean_2x": [5, 6], "clean_1x": [0, 7]}),
]
"""Latents of sections and of a single frame; the tokens of their captions; where what they see is in time."""


def sections() -> Pack:
    draw = Draw(4)
    torch.manual_seed(2)
    network = FramePackTransformer(FRAMEPACK)

    def clean(indices: list[int], height: int, width: int) -> CleanLatents:
        latents = draw(1, FRAMEPACK.in_channels, len(indices), height, width)
        return CleanLatents(latents_BCTHW=latents, indices_BT=torch.tensor([indices]))

    conditions = [
        FramePackConditions(
            text_BLD=draw(1, 9, FRAMEPACK.text_embed_dim),
            text_lengths=(num_words,),
            pooled_BD=draw(1, FRAMEPACK.pooled_projection_dim),
            image_BLD=draw(1, 3, FRAMEPACK.image_proj_dim),
            guidance_B=torch.tensor([10_000.0]),
            indices_BT=torch.arange(1, 1 + grid[0])[None],
            **{name: clean(indices, *grid[1:]) for name, indices in seen.items()},
        )
        for grid, num_words, seen in SECTIONS
    ]
    latents = [draw(1, FRAMEPACK.in_channels, *grid) for grid, _, _ in SECTIONS]
    return network, latents, torch.tensor([30.0, 400.0, 700.0, 950.0]), conditions


def gradients_of(network: nn.Module, answers: list[Tensor]) -> dict[str, Tensor]:
    """Of a loss in which each clip has a weight of its own."""
    network.zero_grad()
    loss = sum(
        (answer.square().mean() * (1 + number) for number, answer in enumerate(answers)), torch.zeros(())
    )
    loss.backward()
    return {
        name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None
    }


@pytest.mark.parametrize("layout", [*LAYOUTS, "framepack"])
def test_packed_clips_are_answered_and_teach_as_each_does_alone(layout):
    network, clips, timestep_B, conditions = clips_of(layout)
    alone = [
        network(clip, time[None], own) for clip, time, own in zip(clips, timestep_B, conditions, strict=True)
    ]
    packed = network(clips, timestep_B, conditions)
    for found, expected in zip(packed, alone, strict=True):
        assert torch.allclose(found, expected, rtol=CLOSE, atol=CLOSE)
    expected = gradients_of(network, alone)
    for name, found in gradients_of(network, packed).items():
        scale = max(1.0, expected[name].abs().max().item())
        assert (found - expected[name]).abs().max() < CLOSE * scale, name


@pytest.mark.parametrize("layout", ["5b", "framepack"])
def test_a_clip_does_not_change_with_those_beside_it(layout):
    network, clips, timestep_B, conditions = clips_of(layout)
    before = network(clips, timestep_B, conditions)
    clips[1] = clips[1] + 1
    timestep_B[1] += 40
    conditions[1] = replace(conditions[1], text_BLD=conditions[1].text_BLD - 1)
    after = network(clips, timestep_B, conditions)
    changed = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
    assert changed == [number == 1 for number in range(len(clips))]


@pytest.mark.parametrize("layout", ["5b", "framepack"])
def test_checkpointed_blocks_give_packed_clips_the_same_gradients(layout):
    network, clips, timestep_B, conditions = clips_of(layout)
    expected = gradients_of(network, network(clips, timestep_B, conditions))
    for stack in network.stacks:
        checkpoint_blocks(stack, offload=False)
    found = gradients_of(network, network(clips, timestep_B, conditions))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_pack_of_sections_has_no_more_tokens_than_were_counted(monkeypatch):
    """All but those behind captions, which are counted as long as they may be."""
    network, latents, timestep_B, conditions = sections()
    packs: list[Packing] = []
    trunk = network.trunk
    monkeypatch.setattr(network, "trunk", lambda *inputs: packs.append(inputs[-1]) or trunk(*inputs))
    network(latents, timestep_B, conditions)
    cached = [
        {
            "latents": own[0],
            "image_embeddings": seen.image_BLD[0],
            "llama_vec": seen.text_BLD[0],
            **{
                f"latents_{name.removesuffix('_1x')}": clean.latents_BCTHW[0]
                for name in ("clean_1x", "clean_2x", "clean_4x")
                if (clean := getattr(seen, name)) is not None
            },
        }
        for own, seen in zip(latents, conditions, strict=True)
    ]
    (pack,) = packs
    behind = [seen.text_BLD.shape[1] - seen.text_lengths[0] for seen in conditions]
    counted = [num_tokens(None, tensors) for tensors in cached]
    assert [sum(pair) for pair in zip(pack.lengths, behind, strict=True)] == counted


def test_attention_of_variable_lengths_is_given_each_sample_in_a_row(monkeypatch):
    """The call that a GPU makes, with attention that reads `ends` as flash attention does."""
    draw = Draw(5)
    lengths = [(3, 7), (2, 1), (4, 5)]
    samples = [(draw(1, text, 8), draw(1, video, 8)) for text, video in lengths]
    own = Packing.of(*zip(*samples, strict=True))
    query, key, value = (draw(1, 2, 22, 4) for _ in range(3))
    expected = packing.attend(F.scaled_dot_product_attention, query, key, value, own)

    def varlen(query, key, value, ends, key_ends, longest, longest_key):
        assert ends.tolist() == key_ends.tolist() == [0, 10, 13, 22]
        assert longest == longest_key == 10
        rows = zip(*(each.split(ends.diff().tolist()) for each in (query, key, value)), strict=True)
        return torch.cat(
            [
                F.scaled_dot_product_attention(*(each.transpose(0, 1) for each in row)).transpose(0, 1)
                for row in rows
            ]
        )

    monkeypatch.setattr(packing, "_varlen_attention", lambda: varlen)
    monkeypatch.setattr(packing, "_has_flash", lambda *_: True)
    assert torch.allclose(
        packing.attend(F.scaled_dot_product_attention, query, key, value, own), expected, atol=1e-6
    )
