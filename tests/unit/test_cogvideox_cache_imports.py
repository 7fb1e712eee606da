"""Caches of CogVideo's own trainer, laid out by hand as it leaves them, taken over."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reelwright.core.errors import ConfigError, FileError
from reelwright.families.cogvideox.cache_imports import foreign_entries
from reelwright.families.cogvideox.config import CogVideoXCacheLatents, CogVideoXCacheText

pytestmark = pytest.mark.usefixtures("small_tiny")
CLIPS = "cache/video_latent/cogvideox-t2v/17x48x64"
LATENTS = torch.randn(16, 5, 6, 8, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
CAPTIONS = {
    "a_cvx_te.safetensors": "A red ball.",
    "b_cvx_te.safetensors": "A red ball.",
    "c_cvx_te.safetensors": "Ein grüner Würfel",
}


def write(path: Path, **tensors: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def prompt_file(root: Path, caption: str) -> Path:
    digest = hashlib.sha256(caption.encode()).hexdigest()
    return root / "cache" / "prompt_embeddings" / f"{digest}.safetensors"


@pytest.mark.parametrize("above", [".", "cache", "cache/video_latent", CLIPS])
def test_latents_are_found_by_the_folders_they_lie_in(tmp_path, above):
    write(tmp_path / CLIPS / "my_clip.safetensors", encoded_video=LATENTS.bfloat16())
    write(tmp_path / "cache" / "video_latent" / "loose.safetensors", encoded_video=LATENTS)
    (entry,) = foreign_entries(tmp_path / above, CogVideoXCacheLatents(), {})
    assert entry.name == "my_clip_00000-017_0064x0048_cvx.safetensors"
    assert entry.convert is not None
    file = entry.convert()
    assert file.name == entry.name
    assert list(file.tensors) == ["latents_5x6x8_float16"]
    # They are scaled already, and so are ours.
    assert torch.equal(file.tensors["latents_5x6x8_float16"], LATENTS.bfloat16().half())
    assert file.metadata == {
        **{"architecture": "cogvideox", "format_version": "1.0.1"},
        **{"frame_count": "17", "width": "64", "height": "48"},
    }


def test_prompts_are_found_by_the_digest_of_the_caption(tmp_path):
    for caption in ("A red ball.", "Nobody's caption"):
        write(prompt_file(tmp_path, caption), prompt_embedding=FEATURES.half())
    entries = foreign_entries(tmp_path, CogVideoXCacheText(), CAPTIONS)
    assert [entry.name for entry in entries] == ["a_cvx_te.safetensors", "b_cvx_te.safetensors"]
    for entry in entries:
        assert entry.convert is not None
        file = entry.convert()
        assert file.name == entry.name
        assert torch.equal(file.tensors["prompt_embeds_float16"], FEATURES.half())
        assert file.metadata["caption1"] == "A red ball."


def test_captions_beyond_ascii_are_found(tmp_path):
    write(prompt_file(tmp_path, "Ein grüner Würfel"), prompt_embedding=FEATURES.half())
    (entry,) = foreign_entries(tmp_path, CogVideoXCacheText(), CAPTIONS)
    assert entry.name == "c_cvx_te.safetensors"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"latent": LATENTS}, "no such tensor"),
        ({"encoded_video": LATENTS[:, :3].contiguous()}, r"\[16, 3, 6, 8\]"),
        ({"encoded_video": LATENTS[None]}, r"\[1, 16, 5, 6, 8\]"),
    ],
    ids=("another name", "another length", "another rank"),
)
def test_what_is_not_as_its_folder_says_is_refused(tmp_path, tensors, message):
    write(tmp_path / CLIPS / "a.safetensors", **tensors)
    (entry,) = foreign_entries(tmp_path, CogVideoXCacheLatents(), {})
    assert entry.convert is not None
    with pytest.raises(FileError, match=message):
        entry.convert()


def test_features_of_another_length_are_refused(tmp_path):
    write(prompt_file(tmp_path, "A red ball."), prompt_embedding=FEATURES[:32].clone())
    entries = foreign_entries(tmp_path, CogVideoXCacheText(), CAPTIONS)
    assert entries[0].convert is not None
    with pytest.raises(FileError, match=r"\[64, 64\] is needed"):
        entries[0].convert()


def test_two_models_latents_of_one_clip_are_refused(tmp_path):
    write(tmp_path / CLIPS / "a.safetensors", encoded_video=LATENTS)
    write(tmp_path / CLIPS.replace("t2v", "lora") / "a.safetensors", encoded_video=LATENTS)
    with pytest.raises(FileError, match="of one clip"):
        foreign_entries(tmp_path, CogVideoXCacheLatents(), {})
    assert len(foreign_entries(tmp_path / CLIPS, CogVideoXCacheLatents(), {})) == 1


def test_a_model_that_reads_images_is_told_what_is_missing(tmp_path):
    write(tmp_path / CLIPS / "a.safetensors", encoded_video=LATENTS)
    with pytest.raises(FileError, match="--first-frame none"):
        foreign_entries(tmp_path, CogVideoXCacheLatents(first_frame="both"), {})


def test_lengths_that_the_model_cannot_read_are_refused(tmp_path):
    write(tmp_path / CLIPS.replace("17x", "16x") / "a.safetensors", encoded_video=LATENTS)
    with pytest.raises(ConfigError, match="Use 9 or 17"):
        foreign_entries(tmp_path, CogVideoXCacheLatents(), {})


@pytest.mark.parametrize("config", [CogVideoXCacheLatents(), CogVideoXCacheText()], ids=("latents", "text"))
def test_a_folder_of_something_else_is_refused(tmp_path, config):
    with pytest.raises(FileError, match="Known are the folders"):
        foreign_entries(tmp_path, config, CAPTIONS)
    write(tmp_path / "precomputed" / "latent-0.pt", latents=LATENTS)
    with pytest.raises(FileError, match="numbered files"):
        foreign_entries(tmp_path, config, CAPTIONS)
