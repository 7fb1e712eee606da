"""Caches of one-frame mode: pictures, the pictures they are made from, and their places in time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reelwright.core.errors import ConfigError
from reelwright.families.framepack.cache_reading import item_reader
from reelwright.families.framepack.config import FramePackCacheLatents
from reelwright.protocols.caching import CacheFile
from reelwright.protocols.datasets import DatasetConfig

from .framepack_clips import SIDE, dataset, encoded, encoder, frames, located, picture, pixels, posterior

pytestmark = pytest.mark.usefixtures("small_tiny")
CELLS = SIDE // 8


def saved(path: Path, seed: int, *, alpha: np.ndarray[Any, Any] | None = None) -> Path:
    """A PNG of the target's size."""
    array = pixels(1, seed)[0].numpy()
    if alpha is not None:
        array = np.concatenate([array, alpha[..., None]], axis=2)
    Image.fromarray(array).save(path)
    return path


def one(of: Any, data: DatasetConfig, **options: Any) -> CacheFile:
    (file,) = encoded(of, data, mode="one_frame", posterior="mean", **options)
    return file


def latent(seed: int) -> Tensor:
    """Of a picture alone, [C, 1, h, w]."""
    mean, _ = posterior(pixels(1, seed))
    return mean


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=1e-3)


@pytest.fixture
def controls(tmp_path) -> tuple[Path, Path]:
    return saved(tmp_path / "one.png", 1), saved(tmp_path / "two.png", 2)


def test_each_picture_is_encoded_alone_and_zeros_follow(controls):
    """specs: FramePack 4.3, 9: the recipe of several controls."""
    data = dataset(fp_1f_clean_indices=(0, 1), fp_1f_target_index=9)
    file = one(picture(*controls, stem="my_9_picture"), data)
    assert file.name == "my_9_picture_0080x0060_fp.safetensors"
    assert {key: list(tensor.shape) for key, tensor in file.tensors.items()} == {
        "latents_1x4x4_float16": [16, 1, CELLS, CELLS],
        "latents_clean_1x4x4_float16": [16, 3, CELLS, CELLS],
        "latent_indices_int64": [1],
        "clean_latent_indices_int64": [3],
        "clean_latent_2x_indices_int64": [2],
        "clean_latent_4x_indices_int64": [16],
        "image_embeddings_float16": [144, 32],
    }
    assert (file.metadata["width"], file.metadata["height"]) == ("80", "60")
    assert "frame_count" not in file.metadata
    close(file.tensors["latents_1x4x4_float16"], latent(0))
    close(
        file.tensors["latents_clean_1x4x4_float16"],
        torch.cat([latent(1), latent(2), torch.zeros(16, 1, CELLS, CELLS)], dim=1),
    )
    indices = {key: tensor.tolist() for key, tensor in file.tensors.items() if "indices" in key}
    assert indices == {
        "latent_indices_int64": [9],
        "clean_latent_indices_int64": [0, 1, 10],
        "clean_latent_2x_indices_int64": [11, 12],
        "clean_latent_4x_indices_int64": [*range(13, 29)],
    }


def test_options_leave_out_what_they_say(controls):
    """specs: FramePack 9: kisekaeichi."""
    data = dataset(fp_1f_clean_indices=(0, 10), fp_1f_target_index=1, fp_1f_no_post=True)
    file = one(picture(*controls), data, one_frame_no_2x=True, one_frame_no_4x=True)
    assert file.tensors["clean_latent_indices_int64"].tolist() == [0, 10]
    assert file.tensors["latent_indices_int64"].tolist() == [1]
    assert not any("2x" in key or "4x" in key for key in file.tensors if "indices" in key)


def test_the_image_encoder_sees_the_first_control_picture(controls):
    data = dataset(fp_1f_clean_indices=(0, 1), fp_1f_target_index=9)
    both = one(picture(*controls), data).tensors["image_embeddings_float16"]
    alone = one(picture(controls[0]), dataset(fp_1f_target_index=9)).tensors["image_embeddings_float16"]
    other = one(picture(controls[1]), dataset(fp_1f_target_index=9)).tensors["image_embeddings_float16"]
    assert torch.equal(both, alone)
    assert not torch.equal(both, other)


def test_without_a_control_picture_there_is_black_to_start_from_and_a_latent_of_zeros():
    file = one(picture(), dataset(fp_1f_target_index=9))
    assert file.tensors["clean_latent_indices_int64"].tolist() == [0, 10]
    assert not file.tensors["latents_clean_1x4x4_float16"].any()
    black = located().siglip.encode([Image.new("RGB", (SIDE, SIDE))], device="cpu", dtype=torch.float32)
    torch.testing.assert_close(file.tensors["image_embeddings_float16"], black[0].half())


def test_transparency_erases_its_latents_and_what_lies_beneath_is_encoded(tmp_path):
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, : SIDE // 2] = 0
    control = saved(tmp_path / "half.png", 1, alpha=alpha)
    file = one(picture(control), dataset(fp_1f_target_index=9))
    found = file.tensors["latents_clean_1x4x4_float16"][:, 0].float()
    # Lanczos rings by one cell beside the edge.
    assert not found[..., :1].any()
    close(found[..., 3:], latent(1)[:, 0, :, 3:])


def test_a_mask_is_cropped_with_its_picture(tmp_path):
    """A wide picture whose outer parts are transparent: after the crop nothing of it is."""
    array = np.zeros((SIDE, 3 * SIDE, 4), np.uint8)
    array[:, SIDE : 2 * SIDE, :3] = pixels(1, 1)[0].numpy()
    array[:, SIDE : 2 * SIDE, 3] = 255
    Image.fromarray(array).save(tmp_path / "wide.png")
    file = one(picture(tmp_path / "wide.png"), dataset(fp_1f_target_index=9))
    close(file.tensors["latents_clean_1x4x4_float16"][:, :1], latent(1))


def test_pictures_of_a_batch_do_not_mix(controls):
    data = dataset(fp_1f_target_index=9)
    made = [picture(control, stem=stem) for control, stem in zip(controls, ("a", "b"), strict=True)]
    options: dict[str, Any] = {"mode": "one_frame", "posterior": "mean"}
    together = encoder(**options).encode([frames(each, data, seed) for seed, each in enumerate(made)])
    for seed, each in enumerate(made):
        (alone,) = encoded(each, data, seed, **options)
        for key, tensor in alone.tensors.items():
            torch.testing.assert_close(together[seed][0].tensors[key], tensor, atol=2e-3, rtol=1e-3)


def test_the_reader_gives_the_zeros_that_no_file_holds(controls):
    data = dataset(fp_1f_target_index=9)
    file = one(picture(controls[0]), data)
    reader = item_reader(FramePackCacheLatents(mode="one_frame"), data)
    item = reader.read(file.tensors, 0, torch.Generator())
    assert {name: list(tensor.shape) for name, tensor in item.items()} == {
        "latents": [16, 1, CELLS, CELLS],
        "latents_clean": [16, 2, CELLS, CELLS],
        "latents_clean_2x": [16, 2, CELLS, CELLS],
        "latents_clean_4x": [16, 16, CELLS, CELLS],
        "latent_indices": [1],
        "clean_latent_indices": [2],
        "clean_latent_2x_indices": [2],
        "clean_latent_4x_indices": [16],
        "image_embeddings": [144, 32],
    }
    assert not item["latents_clean_2x"].any()
    assert item["latents_clean_4x"].dtype == torch.float16


def test_what_is_planned_is_what_is_written_and_groups_can_be_stacked(controls):
    cache = located(mode="one_frame")
    two = dataset(fp_1f_clean_indices=(0, 1), fp_1f_target_index=9)
    alone = dataset(fp_1f_target_index=9)
    (entry,) = cache.entries(picture(*controls), two)
    assert entry.name == one(picture(*controls), two).name
    assert cache.is_own(entry.name)
    (other,) = cache.entries(picture(controls[0]), alone)
    without = located(mode="one_frame", one_frame_no_2x=True).entries(picture(controls[0]), alone)
    assert len({entry.group, other.group, without[0].group}) == 3
    assert cache.rule(alone).kinds == ("image",)


def test_a_data_set_without_a_target_index_is_told_so():
    with pytest.raises(ConfigError, match="fp_1f_target_index: is missing"):
        located(mode="one_frame").rule(dataset())


def test_as_many_indices_as_control_pictures_are_needed(controls):
    with pytest.raises(ConfigError, match="has 1 numbers for 2 control pictures"):
        located(mode="one_frame").entries(picture(*controls), dataset(fp_1f_target_index=9))


def test_a_data_set_without_clean_indices_is_announced():
    (notice,) = [each for each in located(mode="one_frame").notices if "fp_1f_clean_indices" in each]
    assert "at time 0" in notice
    assert not any("fp_1f" in each for each in located().notices)


@pytest.mark.parametrize(
    ("mode", "keys", "said"),
    [
        ("base", {"image_directory": "data"}, "one-frame mode alone"),
        ("f1", {"image_jsonl_file": "data.jsonl"}, "one-frame mode alone"),
        ("one_frame", {"video_directory": "data"}, "trains on pictures"),
        ("one_frame", {"image_directory": "data", "no_resize_control": True}, "no_resize_control"),
        ("one_frame", {"image_directory": "data", "control_resolution": (64, 64)}, "control_resolution"),
    ],
)
def test_data_sets_of_the_other_kind_are_refused(mode, keys, said):
    with pytest.raises(ConfigError, match=said):
        located(mode=mode).rule(DatasetConfig(**keys))


@pytest.mark.parametrize(
    "change", [{"fp_1f_target_index": 5}, {"fp_1f_clean_indices": (3,)}, {"fp_1f_no_post": True}]
)
def test_places_in_time_are_among_the_facts(change):
    cache = located(mode="one_frame")
    plain = {"fp_1f_target_index": 9}
    assert cache.facts(dataset(**{**plain, **change})) != cache.facts(dataset(**plain))
    assert cache.facts(dataset(**plain, fp_1f_clean_indices=(0,))) == cache.facts(dataset(**plain))
