"""What a call of the packed transformer is given: history, places in time and space, lengths of texts."""

from dataclasses import replace

import pytest
import torch

from reelwright.families.framepack.conditions import CleanLatents, Conditions, rotary_positions
from reelwright.families.framepack.config import TransformerConfig

CPU = torch.device("cpu")
CONFIG = TransformerConfig(num_attention_heads=1, attention_head_dim=32, rope_axes_dim=(8, 12, 12))
GRID = (3, 5)


def clean(*indices: int, batch: int = 1) -> CleanLatents:
    return CleanLatents(
        latents_BCTHW=torch.ones(batch, 16, len(indices), 6, 10),
        indices_BT=torch.tensor(indices).expand(batch, -1),
    )


def conditions(batch: int = 1, **changes) -> Conditions:
    fields = {
        "text_BLD": torch.ones(batch, 6, 4),
        "text_lengths": (3,) * batch,
        "pooled_BD": torch.ones(batch, 4),
        "image_BLD": torch.ones(batch, 2, 4),
        "guidance_B": torch.full((batch,), 9984.0),
        "indices_BT": torch.tensor([4, 5]).expand(batch, -1),
        "clean_1x": clean(0, 6, batch=batch),
        "clean_2x": clean(7, 8, batch=batch),
        "clean_4x": clean(*range(9, 25), batch=batch),
    }
    return Conditions(**{**fields, **changes})


@pytest.mark.parametrize("lengths", [(), (3, 3), (0,), (7,)])
def test_lengths_that_the_text_does_not_have_are_refused(lengths):
    with pytest.raises(ValueError, match="1 x 6 tokens"):
        conditions(text_lengths=lengths)


def test_moving_changes_the_format_of_features_and_latents_alone():
    moved = conditions().to(CPU, torch.bfloat16)
    assert moved.text_BLD.dtype == moved.image_BLD.dtype == moved.pooled_BD.dtype == torch.bfloat16
    assert moved.clean_4x.latents_BCTHW.dtype == torch.bfloat16
    assert moved.clean_4x.indices_BT.dtype == moved.indices_BT.dtype == torch.int64
    # 9984 in steps of 64: rounding the scale twice must not be possible.
    assert moved.guidance_B.dtype == torch.float32
    assert moved.text_lengths == (3,)
    assert conditions(clean_2x=None).to(CPU, torch.bfloat16).clean_2x is None


def test_history_is_ordered_from_the_coarsest_group():
    everything = conditions()
    assert [reduced for reduced, _ in everything.history] == [4, 2, 1]
    assert [reduced for reduced, _ in replace(everything, clean_2x=None).history] == [4, 1]


def test_all_calls_of_a_section_share_one_table():
    first = rotary_positions(CONFIG, conditions(), GRID, CPU)
    assert rotary_positions(CONFIG, conditions(), GRID, CPU) is first
    assert rotary_positions(CONFIG, conditions(rope_scale=0.5), GRID, CPU) is not first
    assert rotary_positions(CONFIG, conditions(indices_BT=torch.tensor([[5, 6]])), GRID, CPU) is not first


def test_samples_at_one_place_share_a_table_and_others_have_their_own():
    shared = rotary_positions(CONFIG, conditions(batch=2), GRID, CPU)
    assert shared.shape == (4 * 2 + 2 * 3 + 2 * 15 + 2 * 15, 16)
    places = torch.tensor([[4, 5], [1, 2]])
    own = rotary_positions(CONFIG, conditions(batch=2, indices_BT=places), GRID, CPU)
    assert own.shape == (2, 1, *shared.shape)
    assert torch.equal(own[0, 0], shared)
    assert torch.equal(own[1, 0, :-30], shared[:-30])
    assert not torch.equal(own[1, 0], shared)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_scaling_stretches_space_and_leaves_time(scale):
    plain = rotary_positions(CONFIG, conditions(), GRID, CPU)[-30:]
    scaled = rotary_positions(CONFIG, conditions(rope_scale=scale), GRID, CPU)[-30:]
    assert torch.equal(scaled[:, :4], plain[:, :4])
    # The slowest frequency of height and of width turns less than half a circle, so angles show.
    for channel in (9, 15):
        torch.testing.assert_close(scaled[:, channel].angle(), scale * plain[:, channel].angle())
