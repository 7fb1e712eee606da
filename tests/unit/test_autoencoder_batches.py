"""The batches that autoencoders learn from: which clips, which stretches, and that memory changes nothing."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reelwright.core.errors import ConfigError
from reelwright.media.video_writer import write_mp4
from reelwright.protocols.autoencoder_train_configs import AutoencoderStageConfig, AutoencoderTrainConfig
from reelwright.protocols.clips import ClipRule
from reelwright.workflows.autoencoder_training.clip_batches import PIXELS, ClipBatches, draw, stage_starts
from reelwright.workflows.autoencoder_training.supply import open_supply, plan_stage

RULE = ClipRule(fps=8.0, frame_step=4, default_size=(32, 32))
STAGES = (
    AutoencoderStageConfig(steps=4, frames=1, width=16, height=16, batch_size=2),
    AutoencoderStageConfig(frames=5, width=32, height=16, batch_size=1),
)
LENGTHS = (9, 9, 4)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips whose frames tell their clip by their red and their time by their green."""
    folder = tmp_path_factory.mktemp("clips")
    for number, length in enumerate(LENGTHS):
        frames = np.zeros((length, 32, 48, 3), np.uint8)
        frames[..., 0] = 60 * (number + 1)
        frames[..., 1] = 20 * np.arange(length)[:, None, None]
        frames[..., 2] = 4 * np.arange(48)
        write_mp4(folder / f"{number}.mp4", [torch.from_numpy(frames)], fps=8.0)
    return folder


@pytest.fixture
def batches(clips: Path) -> Callable[..., ClipBatches]:
    def build(rank: int = 0, num_ranks: int = 1, **more: Any) -> ClipBatches:
        config = AutoencoderTrainConfig(**{"steps": 10, "seed": 3, "stages": STAGES, **more})
        supply = open_supply(clips, RULE)
        stages = [plan_stage(supply, config, number)[0] for number in range(len(config.stages))]
        return ClipBatches(supply, stages, config, rank=rank, num_ranks=num_ranks)

    return build


def same(first: Any, second: Any) -> bool:
    return (first.names, first.seeds, first.number) == (
        second.names,
        second.seeds,
        second.number,
    ) and torch.equal(first.tensors[PIXELS], second.tensors[PIXELS])


def test_batches_have_the_shapes_of_their_stages_and_sources_that_are_long_enough(batches):
    found = list(batches())
    assert [tuple(batch.tensors[PIXELS].shape) for batch in found] == [
        *([(2, 1, 16, 16, 3)] * 4),
        *([(1, 5, 16, 32, 3)] * 6),
    ]
    assert {Path(name).stem for batch in found[4:] for name in batch.names} == {"0", "1"}
    assert {Path(name).stem for batch in found[:4] for name in batch.names} == {"0", "1", "2"}


def test_stretches_are_of_adjacent_frames_of_one_clip(batches):
    for batch in list(batches())[4:]:
        green = batch.tensors[PIXELS][0, :, :, :, 1].float().mean((1, 2))
        # The codec rounds a little.
        assert (green.diff() - 20).abs().max() < 3


@pytest.mark.parametrize("taken", [0, 3, 4, 7])
def test_batches_that_follow_a_state_are_those_that_would_have_come(batches, taken):
    whole = list(batches())
    first = batches()
    events = iter(first)
    for _ in range(taken):
        next(events)
    events.close()
    second = batches()
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert len(rest) == 10 - taken
    assert all(same(one, other) for one, other in zip(whole[taken:], rest, strict=True))


def test_what_comes_does_not_depend_on_what_is_kept_in_memory(batches):
    kept, read = list(batches(memory=1.0)), list(batches(memory=0.0))
    some = list(batches(memory=2.0e-5))  # one clip
    assert all(same(one, other) for one, other in zip(kept, read, strict=True))
    assert all(same(one, other) for one, other in zip(kept, some, strict=True))


def test_processes_share_out_what_one_would_take(batches):
    one = list(batches(steps=8, accumulation=2))
    two = [list(batches(rank, 2, steps=8)) for rank in range(2)]
    assert [seed for batch in one for seed in batch.seeds] == [
        seed for pair in zip(*two, strict=True) for batch in pair for seed in batch.seeds
    ]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_single_frames_come_as_often_as_asked_in_stages_of_clips(batches, share):
    found = batches(steps=24, image_share=share)
    places = [found.place(number) for number in range(24)]
    assert [place.stage for place in places] == [0] * 4 + [1] * 20
    assert sum(place.is_single for place in places[4:]) == 20 * share
    assert not any(place.is_single for place in places[:4])
    for kind in (True, False):
        numbers = [place.number for place in places[4:] if place.is_single is kind]
        assert numbers == list(range(len(numbers)))


def test_every_source_comes_once_before_any_comes_again():
    pool = [3, 5, 8, 13]
    found = [index for start in range(0, 12, 3) for index, _ in draw(pool, "use", start, 3)]
    turns = [found[start : start + 4] for start in range(0, 12, 4)]
    assert all(Counter(turn) == Counter(pool) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
    assert found == [index for index, _ in draw(pool, "use", 0, 12)]


def test_stages_begin_where_those_before_them_end():
    config = AutoencoderTrainConfig(stages=(*STAGES[:1], AutoencoderStageConfig(steps=6), STAGES[1]))
    assert stage_starts(config) == [0, 4, 10]


@pytest.mark.parametrize(("key", "value"), [("seed", 4), ("items", "others")])
def test_a_state_of_other_batches_is_refused(batches, key, value):
    state = {**batches().state_dict(), key: value}
    with pytest.raises(ConfigError, match="Resume with"):
        batches().load_state_dict(state)
