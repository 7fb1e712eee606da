"""Caches of FramePack: what each section sees, by the documented procedure written out here in numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from reelwright.core.errors import ConfigError, FileError
from reelwright.encoders.siglip import square_pixels
from reelwright.families.framepack.cache_encoding import part_lengths
from reelwright.families.framepack.cache_reading import item_reader
from reelwright.families.framepack.config import FramePackCacheLatents
from reelwright.families.framepack.latent_space import LatentSpace
from reelwright.protocols.caching import CacheFile
from reelwright.protocols.datasets import DatasetConfig

from .framepack_clips import (
    SIDE,
    autoencoder,
    clip,
    dataset,
    drifting_waves,
    encoded,
    encoder,
    frames,
    located,
    pixels,
    posterior,
)

pytestmark = pytest.mark.usefixtures("small_tiny")
Array = NDArray[Any]
CELLS = SIDE // 8


def split(array: Array, sizes: list[int], axis: int) -> list[Array]:
    return np.split(array, np.cumsum(sizes)[:-1], axis=axis)


def base_by_hand(latents: Array, w: int) -> dict[int, dict[str, Array]]:
    """specs: FramePack 4.4 and 2.2, from the last section to the first with a history of true latents."""
    num_sections = (latents.shape[1] - 1) // w
    paddings = list(range(num_sections))[::-1]
    if num_sections > 4:
        paddings = [3, *[2] * (num_sections - 3), 1, 0]
    history = np.zeros((16, 19, *latents.shape[2:]), latents.dtype)
    items = {}
    for k, p in zip(reversed(range(num_sections)), paddings, strict=True):
        target = latents[:, 1 + k * w : 1 + (k + 1) * w]
        line = np.arange(1 + p * w + w + 1 + 2 + 16)
        start, _, own, post, twice, four = split(line, [1, p * w, w, 1, 2, 16], 0)
        items[k] = {
            "latents": target,
            "latents_clean": np.concatenate([latents[:, :1], history[:, :1]], axis=1),
            "latents_clean_2x": history[:, 1:3],
            "latents_clean_4x": history[:, 3:19],
            "latent_indices": own,
            "clean_latent_indices": np.concatenate([start, post]),
            "clean_latent_2x_indices": twice,
            "clean_latent_4x_indices": four,
        }
        history = np.concatenate([target, history], axis=1)
    return items


def f1_by_hand(latents: Array, w: int) -> dict[int, dict[str, Array]]:
    """specs: FramePack 4.4 and 2.3."""
    padded = np.concatenate([np.zeros((16, 19, *latents.shape[2:]), latents.dtype), latents], axis=1)
    items = {}
    for k in range((latents.shape[1] - 1) // w):
        first = 1 + k * w
        four, twice, once = split(padded[:, first : first + 19], [16, 2, 1], 1)
        items[k] = {
            "latents": latents[:, first : first + w],
            "latents_clean": np.concatenate([latents[:, :1], once], axis=1),
            "latents_clean_2x": twice,
            "latents_clean_4x": four,
            "latent_indices": np.arange(20, 20 + w),
            "clean_latent_indices": np.array([0, 19]),
            "clean_latent_2x_indices": np.array([17, 18]),
            "clean_latent_4x_indices": np.arange(1, 17),
        }
    return items


BY_HAND = {"base": base_by_hand, "f1": f1_by_hand}


def documented_names(tensors: dict[str, Any]) -> dict[str, Array]:
    """The reader's rule of specs: FramePack 4.3, as it is told there."""
    items = {}
    for key, tensor in tensors.items():
        name = key.removeprefix("varlen_")
        if not name.endswith("_mask"):
            name = name.rsplit("_", 1)[0]
            if name.startswith("latents_"):
                name = name.rsplit("_", 1)[0]
        items[name] = tensor.numpy()
    return items


def section_of(file: CacheFile) -> int:
    """By the documented name: stem, crop-frames-section, size, fp."""
    return int(file.name.split("_")[-3].split("-")[2])


@pytest.mark.parametrize("mode", ["base", "f1"])
@pytest.mark.parametrize(("num_frames", "window"), [(41, 9), (77, 9), (35, 2), (55, 2)])
def test_each_section_sees_the_true_latents_around_it(mode, num_frames, window):
    files = encoded(clip(num_frames), dataset(window), mode=mode, posterior="mean")
    num_sections = (num_frames - 1) // 4 // window
    mean, _ = posterior(pixels(num_frames)[: 4 * window * num_sections + 1])
    expected = BY_HAND[mode](mean.numpy().astype(np.float16), window)
    assert [section_of(file) for file in files] == list(range(num_sections)) == sorted(expected)
    for file in files:
        found = documented_names(dict(file.tensors))
        embeddings = found.pop("image_embeddings")
        assert embeddings.dtype == np.float16
        by_hand = expected[section_of(file)]
        assert found.keys() == by_hand.keys()
        for name, array in by_hand.items():
            assert found[name].dtype == array.dtype
            # float16 of float32 that was computed in another order of frames
            np.testing.assert_allclose(found[name], array, atol=2e-3, rtol=1e-3, err_msg=name)
            if name.endswith("indices"):
                assert found[name].tolist() == array.tolist()


def test_the_padding_trick_of_more_than_four_sections_is_that_of_the_released_program():
    files = encoded(clip(49), dataset(2), posterior="mean")
    starts = [documented_names(dict(file.tensors))["latent_indices"][0] for file in files]
    assert starts == [1, 3, 5, 5, 5, 7]


def test_names_keys_and_metadata_are_those_of_the_other_program():
    (file,) = encoded(clip(41, stem="my_clip_01", start=7), dataset(), mode="f1")
    assert file.name == "my_clip_01_00007-041-0000_0032x0032_fp.safetensors"
    assert {key: (list(tensor.shape), str(tensor.dtype)) for key, tensor in file.tensors.items()} == {
        "latents_9x4x4_float16": ([16, 9, 4, 4], "torch.float16"),
        "latents_clean_9x4x4_float16": ([16, 2, 4, 4], "torch.float16"),
        "latents_clean_2x_9x4x4_float16": ([16, 2, 4, 4], "torch.float16"),
        "latents_clean_4x_9x4x4_float16": ([16, 16, 4, 4], "torch.float16"),
        "latent_indices_int64": ([9], "torch.int64"),
        "clean_latent_indices_int64": ([2], "torch.int64"),
        "clean_latent_2x_indices_int64": ([2], "torch.int64"),
        "clean_latent_4x_indices_int64": ([16], "torch.int64"),
        "image_embeddings_float16": ([144, 32], "torch.float16"),
    }
    assert dict(file.metadata) == {
        **{"architecture": "framepack", "format_version": "1.0.1", "frame_count": "41"},
        **{"width": "32", "height": "32", "reelwright_mode": "f1", "reelwright_window": "9"},
    }


def test_the_image_encoder_sees_the_first_frame_alone():
    (file,) = encoded(clip(41), dataset())
    siglip = located().siglip
    network = siglip.encoder.loaded(torch.device("cpu"), torch.float32)
    first = Image.fromarray(pixels(41)[0].numpy())
    with torch.no_grad():
        expected = network(pixel_values=square_pixels(first, 384)).last_hidden_state[0]
    torch.testing.assert_close(file.tensors["image_embeddings_float16"], expected.half())


# One cache for both modes.


@pytest.mark.parametrize("mode", ["base", "f1"])
@pytest.mark.parametrize("posterior_kind", ["mean", "sample"])
def test_the_compact_form_gives_the_very_same_items(mode, posterior_kind):
    made, data = clip(55), dataset(2)
    sections = encoded(made, data, mode=mode, posterior=posterior_kind)
    other = "f1" if mode == "base" else "base"
    (whole,) = encoded(made, data, mode=other, form="compact", posterior=posterior_kind)
    assert whole.name == "a_00000-055_0032x0032_fpc.safetensors"
    generator = torch.Generator()
    expected_of = item_reader(FramePackCacheLatents(mode=mode), data)
    found_of = item_reader(FramePackCacheLatents(mode=mode, form="compact"), data)
    assert len(sections) == 6
    for section, file in enumerate(sections):
        expected = expected_of.read(file.tensors, 0, generator)
        found = found_of.read(whole.tensors, section, generator)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name
            assert found[name].dtype == tensor.dtype


def test_the_compact_form_is_a_third_of_the_size():
    cache, compact = located(), located(form="compact")
    made, data = clip(361), dataset()
    sections = sum(entry.num_bytes for entry in cache.entries(made, data))
    (whole,) = compact.entries(made, data)
    assert whole.num_items == len(cache.entries(made, data)) == 10
    assert whole.num_bytes < 0.4 * sections


@pytest.mark.parametrize("mode", ["base", "f1"])
def test_moments_are_drawn_anew_with_their_own_mean_and_spread(mode):
    made, data = clip(77), dataset()
    (file,) = encoded(made, data, form="compact", posterior="moments")
    mean, deviation = posterior(pixels(73))
    reader = item_reader(FramePackCacheLatents(mode=mode, form="compact", posterior="moments"), data)
    draws = [
        reader.read(file.tensors, 1, torch.Generator().manual_seed(seed))["latents"].float()
        for seed in range(20)
    ]
    deviates = (torch.stack(draws) - mean[:, 10:19]) / deviation[:, 10:19]
    # 46,080 values: the mean has an error of 0.005, the variance one of 0.007.
    assert abs(deviates.mean()) < 0.03
    assert abs(deviates.var() - 1) < 0.03
    again = reader.read(file.tensors, 1, torch.Generator().manual_seed(3))["latents"].float()
    assert torch.equal(again, draws[3])
    assert not torch.equal(draws[0], draws[1])


def test_one_frame_of_a_clip_is_drawn_once_wherever_a_section_sees_it():
    made, data = clip(41), dataset()
    (file,) = encoded(made, data, form="compact", posterior="moments")
    reader = item_reader(FramePackCacheLatents(mode="f1", form="compact", posterior="moments"), data)
    item = reader.read(file.tensors, 0, torch.Generator().manual_seed(1))
    start, before = item["latents_clean"].unbind(dim=1)
    assert torch.equal(start, before)


# Draws.


def sampled(seed: int = 0, **facts: Any) -> torch.Tensor:
    (file,) = encoded(clip(37, **facts), dataset(), seed=0, mode="f1", **{"posterior": "sample"})
    return file.tensors["latents_9x4x4_float16"]


def test_a_draw_belongs_to_its_clip_wherever_it_lies_and_beside_whatever():
    data = dataset()
    alone = encoded(clip(37), data)
    moved = encoded(clip(37, stem="elsewhere"), data)
    together = encoder().encode([frames(clip(37, content="d"), data, 1), frames(clip(37), data)])
    key = "latents_9x4x4_float16"
    assert torch.equal(alone[0].tensors[key], moved[0].tensors[key])
    torch.testing.assert_close(together[1][0].tensors[key], alone[0].tensors[key], atol=2e-3, rtol=1e-3)
    other = encoded(clip(37), data, posterior="mean")[0].tensors[key]
    assert not torch.equal(other, alone[0].tensors[key])


@pytest.mark.parametrize("change", [{"content": "d"}, {"start": 4}])
def test_other_clips_are_drawn_otherwise(change):
    assert not torch.equal(sampled(), sampled(**change))


def test_a_draw_has_the_mean_and_the_spread_that_the_autoencoder_says():
    (file,) = encoded(clip(145), dataset(36), mode="f1")
    mean, deviation = posterior(pixels(145))
    drawn = file.tensors["latents_36x4x4_float16"].float()
    deviates = (drawn - mean[:, 1:]) / deviation[:, 1:]
    # 9,216 values
    assert abs(deviates.mean()) < 0.05
    assert abs(deviates.var() - 1) < 0.07


# Long clips.


@pytest.mark.parametrize(
    ("num_frames", "stream_frames", "expected"),
    [
        (145, 0, [145]),
        (181, 0, [89, 92]),
        (433, 0, [145, 144, 144]),
        (433, 500, [433]),
        (73, 37, [37, 36]),
        (73, 1, [5, *[4] * 17]),
        (37, 16, [13, 12, 12]),
    ],
)
def test_long_clips_are_cut_evenly_into_whole_latents(num_frames, stream_frames, expected):
    assert part_lengths(num_frames, stream_frames) == expected


def test_a_clip_that_is_not_cut_is_encoded_as_one():
    made, data = clip(181), dataset()
    (file,) = encoded(made, data, form="compact", posterior="mean", stream_frames=181)
    mean, _ = posterior(pixels(181))
    torch.testing.assert_close(file.tensors["clip_latents_float16"], mean.half(), atol=2e-3, rtol=1e-3)


def test_parts_are_an_approximation_that_longer_parts_better():
    """Random weights: at 64 x 64 they are off by 16 % of the deviation in parts of 37 frames; at 128 x 128
    a clip of 145 frames is off by 11 % in parts of 37 and by 6 % in parts of 73."""
    video = drifting_waves(73, 64)
    with torch.no_grad():
        whole = autoencoder().encode(video).mean

    def error(length: int) -> float:
        space = LatentSpace(autoencoder=autoencoder())
        parts = torch.cat(list(space.encode_stream(video.split(part_lengths(73, length), dim=2))), dim=2)
        return float((parts.chunk(2, dim=1)[0] - whole).pow(2).mean().sqrt() / whole.std())

    assert error(73) < 1e-5
    assert 0.02 < error(37) < error(19) < 0.4


def test_the_noise_of_a_draw_does_not_depend_on_the_parts():
    made, data = clip(73), dataset()
    options: dict[str, Any] = {"form": "compact", "stream_frames": 37}
    values = {
        kind: encoded(made, data, posterior=kind, **options)[0].tensors for kind in ("sample", "moments")
    }
    whole = {
        kind: encoded(made, data, posterior=kind, form="compact")[0].tensors for kind in ("sample", "moments")
    }

    def noise(found: dict[str, Any]) -> torch.Tensor:
        moments = {key: tensor.float() for key, tensor in found["moments"].items()}
        drawn = found["sample"]["clip_latents_float16"].float()
        return (drawn - moments["clip_mean_float16"]) / moments["clip_deviation_float16"]

    torch.testing.assert_close(noise(values), noise(whole), atol=2e-2, rtol=0)


# What is planned, and what it follows from.


@pytest.mark.parametrize("form", ["compatible", "compact"])
def test_what_is_planned_is_what_is_written(form):
    cache, made, data = located(form=form), clip(77, stem="b_2"), dataset()
    entries = cache.entries(made, data)
    files = encoded(made, data, form=form)
    assert [entry.name for entry in entries] == [file.name for file in files]
    assert all(cache.is_own(entry.name) for entry in entries)
    assert not any(
        located(form="compact" if form == "compatible" else "compatible").is_own(entry.name)
        for entry in entries
    )
    for entry, file in zip(entries, files, strict=True):
        tensors = {key: value for key, value in file.tensors.items() if not key.startswith("image")}
        assert sum(tensor.nbytes for tensor in tensors.values()) < entry.num_bytes
    assert sum(entry.num_items for entry in entries) == 2


def test_items_can_be_stacked_whatever_the_length_of_their_clips():
    cache = located()
    groups = {entry.group for length in (37, 77, 400) for entry in cache.entries(clip(length), dataset())}
    assert len(groups) == 1
    assert groups != {entry.group for entry in cache.entries(clip(77), dataset(4))}


def facts(data: Any = None, **options: Any) -> Any:
    return located(**options).facts(data or dataset())


@pytest.mark.parametrize(
    "change",
    [
        *({"mode": "f1"}, {"form": "compact"}, {"posterior": "mean"}, {"seed": 1}, {"stream_frames": 37}),
        {"stream_passes": 1},
        {"data": dataset(4)},
    ],
)
def test_whatever_changes_latents_is_among_the_facts(change):
    assert facts(**change) != facts()


@pytest.mark.parametrize(
    ("options", "other"),
    [
        ({"form": "compact"}, {"form": "compact", "mode": "f1"}),
        ({"posterior": "mean"}, {"posterior": "mean", "seed": 5}),
        ({}, {"batch_size": 3, "num_workers": 2, "force": True, "prune": True}),
    ],
)
def test_what_changes_nothing_is_not_among_the_facts(options, other):
    assert facts(**options) == facts(**other)


def test_clips_have_thirty_frames_a_second_and_hold_a_section():
    rule = located().rule(dataset(4))
    assert (rule.fps, rule.frame_step, rule.min_frames, rule.size_step) == (30, 4, 17, 16)
    assert rule.kinds == ("video",)
    assert rule.default_size == (128, 128)
    with pytest.raises(FileError, match="36 frames hold no section of 9 latents, which takes 37"):
        located().entries(clip(36), dataset())


def test_options_that_exclude_each_other_are_refused():
    with pytest.raises(ConfigError, match="moments are kept by the compact form alone"):
        located(posterior="moments")
    with pytest.raises(ConfigError, match="a picture has no sections"):
        located(form="compact", mode="one_frame")


def test_control_pictures_of_clips_are_refused():
    clips = DatasetConfig(video_directory="clips", control_directory="poses")
    with pytest.raises(ConfigError, match=r"^clips: control_directory: control pictures go with pictures"):
        located().rule(clips)
