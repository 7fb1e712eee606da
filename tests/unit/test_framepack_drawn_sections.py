"""Sections that items draw for themselves: what each is, compared with the caches that hold sections."""

from collections import Counter

import pytest
import torch

from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.cache_drawing import draw_kind, reader_of
from reelwright.families.framepack.cache_reading import item_reader
from reelwright.families.framepack.config import (
    FramePackCacheLatents,
    FramePackCacheText,
    FramePackDrawnLatents,
    FramePackSectionsConfig,
    FramePackTrain,
)
from reelwright.families.framepack.training import TRAINING
from reelwright.protocols.training import TrainingData

from .framepack_clips import clip, dataset, encoded

WEIGHTS = {
    "base": FramePackSectionsConfig(),
    "f1": FramePackSectionsConfig(base=0, f1=1),
    "both": FramePackSectionsConfig(base=1, f1=1),
}


def drawn_latents(sections: FramePackSectionsConfig) -> FramePackDrawnLatents:
    return FramePackDrawnLatents(form="compact", sections=sections)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sections_of_caches(num_frames: int, mode: str) -> list[dict[str, torch.Tensor]]:
    """What the caches of sections hold of the same clip, first in time first."""
    files = encoded(clip(num_frames), dataset(2), mode=mode, posterior="mean")
    reader = item_reader(FramePackCacheLatents(mode=mode), dataset(2))  # type: ignore[arg-type]
    return [reader.read(file.tensors, 0, generator(0)) for file in files]


def is_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("weights", list(WEIGHTS))
def test_each_drawn_item_is_tensor_for_tensor_one_that_the_caches_of_sections_hold(weights):
    """Six sections, so that base's usual paddings are 3, 2, 2, 2, 1, 0."""
    (whole,) = encoded(clip(55), dataset(2), form="compact", posterior="mean")
    reader = reader_of(drawn_latents(WEIGHTS[weights]), dataset(2))
    modes = ("base", "f1") if weights == "both" else (weights,)
    known = [(mode, item) for mode in modes for item in enumerate(sections_of_caches(55, mode))]
    seen: Counter[tuple[str, int]] = Counter()
    for seed in range(120):
        item = reader.read(whole.tensors, seed % 6, generator(seed))
        found = [(mode, section) for mode, (section, held) in known if is_equal(item, held)]
        assert len(found) == 1
        seen[found[0]] += 1
    assert len(seen) == 6 * len(modes)
    assert max(seen.values()) < 4 * min(seen.values()) + 20


def test_what_is_drawn_follows_from_the_seed_alone():
    (whole,) = encoded(clip(55), dataset(2), form="compact", posterior="moments")
    reader = reader_of(drawn_latents(WEIGHTS["both"]), dataset(2))
    first = reader.read(whole.tensors, 0, generator(7))
    assert is_equal(first, reader.read(whole.tensors, 3, generator(7)))
    assert not is_equal(first, reader.read(whole.tensors, 0, generator(8)))


@pytest.mark.parametrize(
    ("chance", "expected"), [(0.0, "base"), (0.24, "base"), (0.26, "f1"), (0.999_999, "f1")]
)
def test_weights_divide_the_line_from_0_to_1(chance, expected):
    assert draw_kind(FramePackSectionsConfig(base=0.5, f1=1.5), chance) == expected


def test_a_file_of_one_section_is_no_clip_to_draw_from():
    (section,) = encoded(clip(37), dataset(9), mode="base")
    with pytest.raises(FileError, match="no sections of 9"):
        reader_of(drawn_latents(WEIGHTS["base"]), dataset(9)).read(section.tensors, 0, generator(0))


# What training makes of the configuration.


def caches_of(config: FramePackTrain, **latents: str) -> FramePackCacheLatents:
    made = FramePackCacheLatents(**latents)  # type: ignore[arg-type]
    return TRAINING.caches(config, made, FramePackCacheText())[0]  # type: ignore[return-value]


def test_drawn_sections_reach_what_reads_the_caches():
    config = FramePackTrain(mode="drawn", sections=WEIGHTS["both"])
    latents = validate(caches_of(config, form="compact"), "cache latents")
    assert isinstance(latents, FramePackDrawnLatents)
    assert latents.sections == WEIGHTS["both"]
    data = TrainingData(latents=latents, texts=FramePackCacheText(), datasets=(dataset(),))
    assert TRAINING.kind(data)["mode"] == "base and f1"
    model = TRAINING.locate(config, data)
    assert "ss_fp_variant" not in model.metadata


@pytest.mark.parametrize(
    ("config", "latents", "said"),
    [
        (FramePackTrain(mode="drawn"), {}, r"^mode: .* --form compact"),
        (FramePackTrain(sections=WEIGHTS["f1"]), {"form": "compact"}, r"^sections: .* --mode drawn"),
        (
            FramePackTrain(mode="drawn", sections=FramePackSectionsConfig(base=0)),
            {"form": "compact"},
            "all weights are 0",
        ),
    ],
    ids=("sections", "not drawn", "nothing"),
)
def test_settings_without_an_effect_are_refused(config, latents, said):
    with pytest.raises(ConfigError, match=said):
        caches_of(config, **latents)
