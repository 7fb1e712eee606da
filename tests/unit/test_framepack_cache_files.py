"""Files of FramePack's caches: names there and back, captions, files of the other program, damaged ones."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.cache_imports import foreign_entries
from reelwright.families.framepack.cache_layout import (
    caption_name,
    clip_name,
    is_compact_name,
    is_compatible_name,
    picture_name,
    plain_key,
    read_section_name,
    section_name,
    stem_of_caption,
    stem_of_picture,
)
from reelwright.families.framepack.cache_reading import item_reader
from reelwright.families.framepack.cache_texts import locate_texts
from reelwright.families.framepack.config import FramePackCacheLatents, FramePackCacheText

from .framepack_clips import clip, dataset, encoded, picture

pytestmark = pytest.mark.usefixtures("small_tiny")
STEMS = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
TRICKY = ("a_00000-037-0000", "x_0064x0064_fp", "9", "_", "a_fp_te", "00001-037_0064x0064")


# Names.


def by_the_documented_rule(name: str) -> tuple[str, list[int], tuple[int, int]]:
    """specs: FramePack 4.2: split on `_`; the last but one is the size, before it the span, else the stem."""
    parts = name.removesuffix(".safetensors").split("_")
    width, height = parts[-2].split("x")
    return "_".join(parts[:-3]), [int(each) for each in parts[-3].split("-")], (int(width), int(height))


@given(stem=STEMS, start=st.integers(0, 10**6), length=st.integers(37, 10**5), section=st.integers(0, 10**5))
@example(stem=TRICKY[0], start=0, length=37, section=0)
@example(stem=TRICKY[1], start=99_999, length=999, section=9999)
@settings(max_examples=60)
def test_names_of_sections_go_there_and_back(stem, start, length, section):
    made = clip(length, stem=stem, start=start)
    name = section_name(made, section)
    assert by_the_documented_rule(name) == (stem, [start, length, section], (32, 32))
    found = read_section_name(name)
    assert found is not None
    assert (found.stem, found.start, found.num_frames, found.section) == (stem, start, length, section)
    assert found.size == (32, 32)
    assert is_compatible_name(name)
    assert not is_compact_name(name)
    assert stem_of_caption(name) is None


@given(stem=STEMS)
@settings(max_examples=40)
def test_names_of_pictures_captions_and_clips_go_there_and_back(stem):
    assert stem_of_picture(picture_name(picture(stem=stem))) == stem
    assert stem_of_caption(caption_name(stem)) == stem
    whole = clip_name(clip(41, stem=stem))
    assert is_compact_name(whole)
    # What deletes or lists the other program's files by *_fp.safetensors leaves it alone.
    assert not whole.endswith("_fp.safetensors")
    assert not is_compatible_name(whole)
    assert not is_compatible_name(caption_name(stem))


@pytest.mark.parametrize("stem", TRICKY)
def test_stems_that_look_like_names_are_stems(stem):
    found = read_section_name(section_name(clip(41, stem=stem), 1))
    assert found is not None
    assert found.stem == stem
    assert stem_of_picture(picture_name(picture(stem=stem))) == stem
    assert stem_of_caption(caption_name(stem)) == stem


@given(st.text(max_size=60))
@example("_0032x0032_fp.safetensors")
@example("a_1x1_fp.safetensors")
@settings(max_examples=200)
def test_no_name_is_too_strange(name):
    readers = (read_section_name, stem_of_picture, stem_of_caption, is_compact_name, is_compatible_name)
    for read in readers:
        read(name)
    assert (read_section_name(name) is None) or is_compatible_name(name)


@pytest.mark.parametrize("name", ["_0032x0032_fp.safetensors", "a_1x1_fp.safetensors", "fp.safetensors", ""])
def test_names_that_nobody_writes_are_nobody_s(name):
    assert not is_compatible_name(name)
    assert stem_of_picture(name) is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("latents_9x80x80_float16", "latents"),
        ("latents_clean_2x_9x80x80_bfloat16", "latents_clean_2x"),
        ("latents_clean_1x8x8_float8_e4m3fn", "latents_clean"),
        ("clean_latent_4x_indices_int64", "clean_latent_4x_indices"),
        ("image_embeddings_float32", "image_embeddings"),
        ("varlen_llama_vec_float8_e5m2", "llama_vec"),
        ("llama_attention_mask", "llama_attention_mask"),
    ],
)
def test_keys_lose_what_they_say_of_their_tensors(key, name):
    assert plain_key(key) == name


# Files of the other program, written out here.


def foreign_section(mode: str, *, dtype: torch.dtype = torch.bfloat16, window: int = 9) -> dict[str, Any]:
    """As the other program writes it; keys repeat the target's number format, whatever their own is."""
    first = 20 if mode == "f1" else 1
    context = {"f1": ([0, 19], [17, 18], range(1, 17)), "base": ([0, 10], [11, 12], range(13, 29))}[mode]
    name = str(dtype).removeprefix("torch.")
    return {
        f"latents_{window}x4x4_{name}": torch.rand(16, window, 4, 4).to(dtype),
        f"latents_clean_{window}x4x4_{name}": torch.rand(16, 2, 4, 4),
        f"latents_clean_2x_{window}x4x4_{name}": torch.rand(16, 2, 4, 4),
        f"latents_clean_4x_{window}x4x4_{name}": torch.rand(16, 16, 4, 4),
        "latent_indices_int64": torch.arange(first, first + window),
        "clean_latent_indices_int64": torch.tensor(context[0]),
        "clean_latent_2x_indices_int64": torch.tensor(context[1]),
        "clean_latent_4x_indices_int64": torch.tensor(list(context[2])),
        f"image_embeddings_{name}": torch.rand(729, 1152),
    }


def foreign_picture(target_index: int = 9) -> dict[str, Any]:
    return {
        "latents_1x4x4_float16": torch.rand(16, 1, 4, 4).half(),
        "latents_clean_1x4x4_float16": torch.rand(16, 2, 4, 4).half(),
        "latent_indices_int64": torch.tensor([target_index]),
        "clean_latent_indices_int64": torch.tensor([0, 10]),
        "clean_latent_2x_indices_int64": torch.tensor([11, 12]),
        "clean_latent_4x_indices_int64": torch.arange(13, 29),
        "image_embeddings_float16": torch.rand(729, 1152).half(),
    }


def put(path: Path, tensors: dict[str, Any], architecture: str = "framepack") -> Path:
    save_file(tensors, path, {"architecture": architecture, "format_version": "1.0.1"})
    return path


def section_path(folder: Path, section: int = 0, stem: str = "a_b") -> Path:
    return folder / f"{stem}_00000-073-{section:04d}_0032x0032_fp.safetensors"


@pytest.mark.parametrize("mode", ["base", "f1"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_files_of_the_other_program_are_read_as_their_tensors_are(mode, dtype):
    tensors = foreign_section(mode, dtype=dtype)
    item = item_reader(FramePackCacheLatents(mode=mode), dataset()).read(tensors, 0, torch.Generator())
    assert item["latents"].dtype == dtype
    assert item["latents_clean"].dtype == torch.float32
    assert set(item) == {
        *("latents", "latents_clean", "latents_clean_2x", "latents_clean_4x", "image_embeddings"),
        *("latent_indices", "clean_latent_indices", "clean_latent_2x_indices", "clean_latent_4x_indices"),
    }


@pytest.mark.parametrize(
    ("tensors", "mode", "data"),
    [
        (foreign_section("f1"), "base", dataset()),
        (foreign_section("base"), "f1", dataset()),
        (foreign_section("base", window=4), "base", dataset(9)),
        (foreign_picture(), "base", dataset()),
        (foreign_section("base"), "one_frame", dataset(fp_1f_target_index=9)),
        (foreign_picture(5), "one_frame", dataset(fp_1f_target_index=9)),
        (foreign_picture(), "one_frame", dataset(fp_1f_target_index=9, fp_1f_no_post=True)),
    ],
    ids=["f1", "base", "window", "picture", "section", "target index", "post"],
)
def test_what_is_laid_out_otherwise_is_not_trained_on(tensors, mode, data):
    with pytest.raises(FileError, match="Encode it again"):
        item_reader(FramePackCacheLatents(mode=mode), data).read(tensors, 0, torch.Generator())


def test_a_file_without_its_tensors_is_refused():
    reader = item_reader(FramePackCacheLatents(), dataset())
    complete = foreign_section("base")
    for key in complete:
        left = {name: tensor for name, tensor in complete.items() if name != key}
        with pytest.raises(FileError, match=re.escape(plain_key(key))):
            reader.read(left, 0, torch.Generator())


def test_a_clip_of_another_window_is_refused():
    (file,) = encoded(clip(41), dataset(2), form="compact", posterior="mean")
    reader = item_reader(FramePackCacheLatents(form="compact"), dataset(9))
    with pytest.raises(FileError, match="no sections of 9"):
        reader.read(file.tensors, 0, torch.Generator())


@pytest.mark.parametrize("mode", ["base", "f1"])
def test_the_mode_of_foreign_files_is_told_by_their_indices(tmp_path, mode):
    paths = [put(section_path(tmp_path, section), foreign_section(mode)) for section in range(2)]
    put(tmp_path / "a_b_fp_te.safetensors", {"llama_vec_float16": torch.rand(2, 2)})
    found = foreign_entries(tmp_path, FramePackCacheLatents(mode=mode), {})
    assert [each.path for each in found] == paths
    assert [each.name for each in found] == [path.name for path in paths]
    other = "f1" if mode == "base" else "base"
    with pytest.raises(
        FileError, match=rf"0000_0032x0032_fp.safetensors: is of mode {mode}, and {other} was"
    ):
        foreign_entries(tmp_path, FramePackCacheLatents(mode=other), {})


def test_pictures_and_captions_of_the_other_program_are_found(tmp_path):
    put(tmp_path / "my_cat_0800x0600_fp.safetensors", foreign_picture())
    put(tmp_path / "my_cat_fp_te.safetensors", {"llama_vec_float16": torch.rand(2, 2)})
    (latents,) = foreign_entries(tmp_path, FramePackCacheLatents(mode="one_frame"), {})
    (text,) = foreign_entries(tmp_path, FramePackCacheText(), {})
    assert latents.name == "my_cat_0800x0600_fp.safetensors"
    assert text.name == "my_cat_fp_te.safetensors"


def test_a_file_of_another_caption_than_the_one_now_is_left_out(tmp_path):
    tensors = {"llama_vec_float16": torch.rand(2, 2)}
    for stem, caption in {"same": "a cat", "other": "a dog"}.items():
        metadata = {"architecture": "framepack", "caption1": caption}
        save_file(tensors, tmp_path / f"{stem}_fp_te.safetensors", metadata)
    captions = {f"{stem}_fp_te.safetensors": "a cat" for stem in ("same", "other")}
    (found,) = foreign_entries(tmp_path, FramePackCacheText(), captions)
    assert found.name == "same_fp_te.safetensors"


def test_a_mixture_of_modes_is_refused_with_the_file_named(tmp_path):
    put(section_path(tmp_path, 0), foreign_section("base"))
    odd = put(section_path(tmp_path, 1), foreign_section("f1"))
    with pytest.raises(FileError, match=re.escape(f"{odd}: is of mode f1")):
        foreign_entries(tmp_path, FramePackCacheLatents(), {})


def test_files_of_another_architecture_are_refused(tmp_path):
    path = put(section_path(tmp_path), foreign_section("base"), "hunyuan_video")
    with pytest.raises(FileError, match=re.escape(f"{path}: says of its architecture hunyuan_video")):
        foreign_entries(tmp_path, FramePackCacheLatents(), {})


def test_a_name_that_tells_another_size_than_the_file_holds_is_refused(tmp_path):
    put(tmp_path / "a_00000-073-0000_0064x0032_fp.safetensors", foreign_section("base"))
    with pytest.raises(FileError, match="its name says otherwise"):
        foreign_entries(tmp_path, FramePackCacheLatents(), {})


def test_a_folder_without_any_and_the_compact_form_are_refused(tmp_path):
    with pytest.raises(FileError, match="holds no latents"):
        foreign_entries(tmp_path, FramePackCacheLatents(), {})
    with pytest.raises(FileError, match="holds no captions"):
        foreign_entries(tmp_path, FramePackCacheText(), {})
    with pytest.raises(ConfigError, match="compact"):
        foreign_entries(tmp_path, FramePackCacheLatents(form="compact"), {})


def test_damaged_files_are_told_and_never_crash(tmp_path):
    whole = put(section_path(tmp_path), foreign_section("base")).read_bytes()
    draws = random.Random(7)
    for _ in range(60):
        content = bytearray(whole[: draws.randrange(len(whole))] if draws.random() < 0.5 else whole)
        for _ in range(draws.randrange(4)):
            if content:
                content[draws.randrange(min(len(content), 1200))] = draws.randrange(256)
        section_path(tmp_path).write_bytes(content)
        try:
            foreign_entries(tmp_path, FramePackCacheLatents(), {})
        except FileError as error:
            assert section_path(tmp_path).name in str(error)


def test_our_own_files_are_found_as_those_of_the_other_program_are(tmp_path):
    for file in encoded(clip(77), dataset(), mode="f1", posterior="mean"):
        save_file(dict(file.tensors), tmp_path / file.name, dict(file.metadata))
    found = foreign_entries(tmp_path, FramePackCacheLatents(mode="f1"), {})
    assert [each.name for each in found] == sorted(path.name for path in tmp_path.iterdir())


# Captions.


@pytest.fixture(scope="module")
def captions() -> Any:
    cache = locate_texts(FramePackCacheText())
    return cache, cache.open()


CAPTIONS = ("a red ball", "", "a blue cube falls " * 120)


def test_captions_have_the_documented_names_keys_and_metadata(captions):
    cache, encoder = captions
    (tensors, *_) = encoder.encode(CAPTIONS)
    assert {key: (list(tensor.shape), str(tensor.dtype)) for key, tensor in tensors.items()} == {
        "llama_vec_float16": ([512, 64], "torch.float16"),
        "llama_attention_mask": ([512], "torch.bool"),
        "clip_l_pooler_float16": ([32], "torch.float16"),
    }
    assert cache.entry(picture(stem="a_1").source).name == "a_1_fp_te.safetensors"
    assert cache.is_own("a_1_fp_te.safetensors")
    assert dict(cache.metadata("a red ball")) == {
        "architecture": "framepack",
        "caption1": "a red ball",
        "format_version": "1.0.1",
    }


def test_the_mask_is_true_where_tokens_are_and_features_are_zero_elsewhere(captions):
    cache, encoder = captions
    for caption, tensors in zip(CAPTIONS, encoder.encode(CAPTIONS), strict=True):
        mask, states = tensors["llama_attention_mask"], tensors["llama_vec_float16"]
        length = min(cache.count_tokens(caption), cache.max_tokens)
        assert mask.tolist() == [True] * length + [False] * (512 - length)
        assert not states[length:].any()
        assert states[:length].any(dim=1).all()
    assert cache.count_tokens(CAPTIONS[2]) > cache.max_tokens == 256


def test_captions_do_not_depend_on_their_neighbors(captions):
    _, encoder = captions
    together = encoder.encode(CAPTIONS)
    for caption, expected in zip(CAPTIONS, together, strict=True):
        (alone,) = encoder.encode([caption])
        assert all(torch.equal(alone[key], tensor) for key, tensor in expected.items())


def test_captions_are_read_by_the_names_that_the_trainer_knows(captions):
    _, encoder = captions
    (tensors,) = encoder.encode(["a red ball"])
    reader = item_reader(FramePackCacheLatents(), dataset())
    assert list(reader.read_text(tensors)) == ["llama_vec", "llama_attention_mask", "clip_l_pooler"]
    foreign = {"varlen_llama_vec_bfloat16": torch.rand(512, 8), "clip_l_pooler_bfloat16": torch.rand(8)}
    with pytest.raises(FileError, match="llama_attention_mask"):
        reader.read_text(foreign)
    assert reader.read_text({**foreign, "llama_attention_mask": torch.ones(512, dtype=torch.bool)})


def test_the_words_before_a_caption_are_among_the_facts():
    other = locate_texts(FramePackCacheText(system_prompt="Describe the cat."))
    assert other.facts() != locate_texts(FramePackCacheText()).facts()
