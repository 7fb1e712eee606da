"""Networks before any training: they start as the identity, keep variances at any width, follow a seed."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.conditions import Conditions, position_conditions
from reelwright.families.cogvideox.initialization import (
    drawn_transformer,
    widened_config,
    widened_transformer,
)
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack.initialization import drawn_transformer as drawn_framepack
from reelwright.nn.embeddings import sincos_position_table
from reelwright.nn.initialization import draw_weights

from .lora_networks import FRAMEPACK, Draw
from .training_questions import QUESTIONS

SECOND = replace(TINY_TRANSFORMER, patch_size_t=2, patch_bias=False)


def asked(network: nn.Module, **more: torch.Tensor) -> torch.Tensor:
    """What a CogVideoX answers to one question."""
    draw, config = Draw(7), TINY_TRANSFORMER
    assert isinstance(network, CogVideoXTransformer)
    positions = position_conditions(network.config, (2, 6, 4))
    conditions = Conditions(text_BLD=draw(1, 8, config.text_embed_dim), **positions, **more)
    return network(draw(1, 16, 2, 6, 4), torch.tensor([400]), conditions)


def test_blocks_of_a_drawn_cogvideox_change_nothing_and_its_answer_is_of_the_size_of_noise():
    network = drawn_transformer(TINY_TRANSFORMER, seed=3)
    draw = Draw(1)
    text, video = draw(1, 5, network.config.width), draw(1, 12, network.config.width)
    time = network.time_embedding(torch.tensor([500]))
    after_text, after_video = network.blocks[0](text, video, time, None)
    assert torch.equal(after_text, text)
    assert torch.equal(after_video, video)
    assert 0.3 < asked(network).std().item() < 3.0


@pytest.mark.parametrize("width", [64, 192, 1920], ids="width {}".format)
def test_linear_layers_keep_the_variance_of_what_they_read_at_any_width(width):
    layer = nn.Linear(width, 512)
    draw_weights(layer, 0, is_zero=lambda _: False, is_outer=lambda _: False)
    spread = layer(Draw(2)(64, width)).std().item()
    # Released models, of 1920 and 3072, have 0.02: that is 0.88 and 1.1 times the spread.
    assert 0.85 < spread < 1.15
    assert not layer.bias.any()


def test_layers_as_wide_as_released_ones_are_drawn_as_their_trainer_draws_them():
    layer = nn.Linear(3072, 256)
    draw_weights(layer, 0, is_zero=lambda _: False, is_outer=lambda _: False)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.01)


def test_gates_are_zero_and_patches_uniform_as_in_the_released_trainer():
    """specs: CogVideoX 2.6."""
    network = drawn_transformer(TINY_TRANSFORMER, seed=0)
    for block in network.blocks:
        assert not any(value.any() for value in block.norm1.modulation.parameters())
        assert not any(value.any() for value in block.norm2.modulation.parameters())
        assert torch.equal(block.norm1.norm.weight, torch.ones(128))
    for layer in (network.patch_embedding.projection, network.output_projection):
        weight = layer.weight.flatten(1)
        limit = (6.0 / sum(weight.shape)) ** 0.5
        assert weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
        assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
        assert not layer.bias.any()


def test_a_tensor_follows_from_the_seed_and_its_name_alone():
    network, deeper = (drawn_transformer(replace(TINY_TRANSFORMER, num_layers=count), 5) for count in (1, 2))
    state = deeper.state_dict()
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    other = drawn_transformer(TINY_TRANSFORMER, 6).state_dict()
    name = "blocks.0.attention.query.weight"
    assert not torch.equal(state[name], other[name])
    assert not torch.equal(state[name], state[name.replace("query", "key")])


def test_a_learned_table_starts_as_the_fixed_positions_of_video():
    config = replace(TINY_TRANSFORMER, use_learned_positional_embeddings=True)
    table = drawn_transformer(config, 0).state_dict()["patch_embedding.positions"]
    assert not table[:, :64].any()
    assert torch.equal(table[0, 64:], sincos_position_table(config.width, (5, 8, 8), spatial_scale=1.875))


def test_a_drawn_framepack_answers_zero_and_learns():
    network = drawn_framepack(FRAMEPACK, seed=3)
    question = QUESTIONS["framepack"](0)
    answer = network(question.latents, question.timestep, question.conditions)
    assert not answer.any()
    F.mse_loss(answer, question.target).backward()
    assert network.output_projection.weight.grad.abs().max() > 0


def test_blocks_of_a_drawn_framepack_change_nothing():
    network, draw = drawn_framepack(FRAMEPACK, seed=3), Draw(1)
    width = network.config.width
    video, text, signal = draw(1, 6, width), draw(1, 4, width), draw(1, width)
    rotary = torch.ones(1, 1, 6, FRAMEPACK.attention_head_dim // 2, dtype=torch.complex64)
    after = network.trunk(video, text, signal, rotary, [10])
    assert torch.equal(after, video)


@pytest.mark.parametrize("reduced", [1, 2, 4])
def test_history_is_embedded_like_noisy_frames_of_its_average(reduced):
    patches = drawn_framepack(FRAMEPACK, seed=3).patch_embedding
    history = Draw(4)(1, FRAMEPACK.in_channels, 4, 16, 16)
    convolution = {1: patches.clean_1x, 2: patches.clean_2x, 4: patches.clean_4x}[reduced]
    expected = patches.noisy(F.avg_pool3d(history, reduced))
    torch.testing.assert_close(convolution(history), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("narrow", "layout", "channels"),
    [
        (TINY_TRANSFORMER, Layout.IMAGE, 32),
        (TINY_TRANSFORMER, Layout.CONTROL, 32),
        (TINY_TRANSFORMER, Layout.INPAINT, 33),
        (SECOND, Layout.IMAGE, 32),
    ],
    ids=["image", "control", "inpaint", "image of 1.5"],
)
def test_a_widened_transformer_answers_as_before_whatever_it_is_shown(narrow, layout, channels):
    network = drawn_transformer(narrow, seed=1)
    for index, parameter in enumerate(network.parameters()):
        # As if it had learned: nothing is zero.
        parameter.data += 0.02 * Draw(index)(*parameter.shape)
    config = widened_config(narrow, layout)
    wide = widened_transformer(network, config, seed=1)
    assert wide.config.in_channels == channels
    more = {"image_BCTHW": Draw(9)(1, channels - 16, 2, 6, 4)}
    if config.ofs_embed_dim:
        more["ofs_B"] = torch.tensor([2.0])
    # Sums over more channels are taken in another order.
    torch.testing.assert_close(asked(wide, **more), asked(network), rtol=1e-5, atol=1e-6)


def test_what_was_widened_with_zeros_learns_from_the_first_step():
    wide = widened_transformer(
        drawn_transformer(SECOND, seed=1), config := widened_config(SECOND, Layout.IMAGE), seed=1
    )
    assert config.ofs_embed_dim == SECOND.time_embed_dim
    for parameter in wide.parameters():
        parameter.data += 0.02
    nn.init.zeros_(wide.ofs_embedding.linear_2.weight)
    answer = asked(wide, image_BCTHW=Draw(9)(1, 16, 2, 6, 4), ofs_B=torch.tensor([2.0]))
    answer.square().mean().backward()
    new = wide.patch_embedding.projection.weight.grad[:, 16 * 8 :]
    assert new.abs().min() > 0
    assert wide.ofs_embedding.linear_2.weight.grad.abs().max() > 0
