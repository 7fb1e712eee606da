"""Clips of any size packed into one sequence: each is answered, and teaches, as if it were alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.execution.activation_checkpoint import checkpoint_blocks
from reelwright.families.cogvideox.conditions import OFS, Conditions, position_conditions
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.nn import packing
from reelwright.nn.packing import Packing

from .lora_networks import COGVIDEOX, Draw

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


def clips_of(layout: str) -> tuple[CogVideoXTransformer, list[Tensor], Tensor, list[Conditions]]:
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


def gradients_of(network: CogVideoXTransformer, answers: list[Tensor]) -> dict[str, Tensor]:
    """Of a loss in which each clip has a weight of its own."""
    network.zero_grad()
    loss = sum(
        (answer.square().mean() * (1 + number) for number, answer in enumerate(answers)), torch.zeros(())
    )
    loss.backward()
    return {
        name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None
    }


@pytest.mark.parametrize("layout", list(LAYOUTS))
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


def test_a_clip_does_not_change_with_those_beside_it():
    network, clips, timestep_B, conditions = clips_of("5b")
    before = network(clips, timestep_B, conditions)
    clips[1] = clips[1] + 1
    conditions[1] = replace(conditions[1], text_BLD=conditions[1].text_BLD - 1)
    after = network(clips, timestep_B + torch.tensor([0, 500, 0, 0, 0]), conditions)
    changed = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
    assert changed == [False, True, False, False, False]


def test_checkpointed_blocks_give_packed_clips_the_same_gradients():
    network, clips, timestep_B, conditions = clips_of("5b")
    expected = gradients_of(network, network(clips, timestep_B, conditions))
    checkpoint_blocks(network.blocks, offload=False)
    found = gradients_of(network, network(clips, timestep_B, conditions))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


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
