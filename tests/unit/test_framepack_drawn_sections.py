"""Sections that items draw for themselves: what each is, compared with the caches that hold sections."""

from collections import Counter
from typing import Any

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
    FramePackNoiseConfig,
    FramePackSectionsConfig,
    FramePackTrain,
)
from reelwright.families.framepack.training import TRAINING
from reelwright.protocols.training import TrainingData

from .framepack_clips import clip, dataset, encoded, located, pixels, posterior

pytestmark = pytest.mark.usefixtures("small_tiny")
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


def test_videos_of_any_length_end_after_any_section_with_zeros_and_times_of_their_own():
    """Six sections of two latents. The network gets what comes after a section in groups of 1, 2 and 16."""
    (whole,) = encoded(clip(55), dataset(2), form="compact", posterior="mean")
    latents = whole.tensors["clip_latents_float16"]
    paddings = {5: (0, 1, 2, 2, 3), 6: (0, 1, 2, 2, 2, 3)}
    reader = reader_of(drawn_latents(FramePackSectionsConfig(lengths="any")), dataset(2))
    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(600):
        item = reader.read(whole.tensors, 0, generator(seed))
        after = torch.cat(
            [item["latents_clean"][:, 1:], item["latents_clean_2x"], item["latents_clean_4x"]], 1
        )
        num_after = int((after.abs().amax((0, 2, 3)) > 0).sum())
        (section,) = (k for k in range(6) if torch.equal(item["latents"], latents[:, 1 + 2 * k : 3 + 2 * k]))
        length = section + 1 + num_after // 2
        rest = latents[:, 3 + 2 * section : 1 + 2 * length]
        assert torch.equal(after[:, :num_after], rest) and not after[:, num_after:].any()
        padding = paddings.get(length, range(6))[section]
        first = 1 + 2 * padding
        assert item["latent_indices"].tolist() == [first, first + 1]
        assert item["clean_latent_4x_indices"].tolist() == list(range(first + 5, first + 21))
        seen[section, length] += 1
    assert len(seen) == 21  # each length that holds each section
    assert all(seen[5, 6] > 2 * seen[0, length] for length in range(1, 7))


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


def caches_of(config: FramePackTrain, **latents: Any) -> FramePackCacheLatents:
    made = FramePackCacheLatents(**latents)
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
        (
            FramePackTrain(mode="drawn", sections=FramePackSectionsConfig(base=0, f1=1, lengths="any")),
            {"form": "compact"},
            r"^sections\.lengths: .* nothing of what comes after",
        ),
        (
            FramePackTrain(noise=FramePackNoiseConfig(history_noise=0.1)),
            {"mode": "one_frame"},
            r"^noise\.history_noise: .* no history",
        ),
    ],
    ids=("sections", "not drawn", "nothing", "no rest", "no history"),
)
def test_settings_without_an_effect_are_refused(config, latents, said):
    with pytest.raises(ConfigError, match=said):
        caches_of(config, **latents)


# Pictures beside whole clips.


def single_frame(frame: int, *controls: int, at: int) -> dict[str, torch.Tensor]:
    """A frame of the clip as the caches of one-frame mode hold it, made from other frames."""
    autoencoder_of = {
        place: posterior(pixels(55)[place : place + 1])[0].half() for place in (frame, *controls)
    }
    shown = [autoencoder_of[place] for place in controls] or [torch.zeros_like(autoencoder_of[frame])]
    nothing = torch.zeros_like(shown[0])
    return {
        "latents": autoencoder_of[frame],
        "latents_clean": torch.cat([*shown, nothing], dim=1),
        "latents_clean_2x": torch.cat([nothing] * 2, dim=1),
        "latents_clean_4x": torch.cat([nothing] * 16, dim=1),
        "latent_indices": torch.tensor([at]),
        "clean_latent_indices": torch.tensor([0, 3]),
        "clean_latent_2x_indices": torch.arange(4, 6),
        "clean_latent_4x_indices": torch.arange(6, 22),
    }


@pytest.mark.parametrize("stream_frames", [0, 17])
def test_pictures_are_made_of_nothing_or_of_the_first_at_their_own_time(stream_frames):
    """Six sections of two latents: pictures are the frames 0, 8, 16, ..., at the times 2, 2, 4, ..."""
    options = {"form": "compact", "posterior": "mean", "stream_frames": stream_frames}
    whole, beside = encoded(clip(55), dataset(2), pictures=True, **options)
    (alone,) = encoded(clip(55), dataset(2), **options)
    assert is_equal(dict(whole.tensors), dict(alone.tensors))
    assert beside.name == "a_00000-055_0032x0032_fpp.safetensors"
    expected = [single_frame(0, at=2), *(single_frame(8 * k, 0, at=2 * k) for k in range(1, 7))]
    reader = reader_of(drawn_latents(WEIGHTS["base"]), dataset(2))
    seen: set[int] = set()
    for seed in range(40):
        item = reader.read(beside.tensors, 0, generator(seed))
        features = item.pop("image_embeddings")
        (number,) = {
            number
            for number, each in enumerate(expected)
            if torch.allclose(item["latents"].float(), each["latents"].float(), atol=2e-3, rtol=1e-3)
        }
        seen.add(number)
        assert item.keys() == expected[number].keys()
        for name, tensor in expected[number].items():
            torch.testing.assert_close(item[name], tensor, atol=2e-3, rtol=1e-3, check_dtype=False)
        of_first = torch.equal(features, whole.tensors["image_embeddings_float16"])
        assert of_first == (number > 0)
    assert seen == set(range(7))


def test_pictures_are_planned_apart_and_read_where_sections_are_drawn_alone():
    cache = located(form="compact", pictures=True)
    entries = cache.entries(clip(55), dataset(2))
    assert [entry.num_items for entry in entries] == [6, 7]
    assert len({entry.group for entry in entries}) == 2
    assert all(cache.is_own(entry.name) for entry in entries)
    drawn = caches_of(FramePackTrain(mode="drawn"), form="compact", pictures=True)
    data = TrainingData(latents=drawn, texts=FramePackCacheText(), datasets=(dataset(),))
    assert TRAINING.kind(data)["mode"] == "base and one_frame"
    with pytest.raises(ConfigError, match="read where the mode is drawn alone"):
        caches_of(FramePackTrain(), form="compact", pictures=True)
    with pytest.raises(ConfigError, match=r"^pictures: .* --form compact"):
        located(pictures=True)
