"""Data as people have it: every layout gives the caches that the same clips give in a plain directory."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reelwright.media.image_ops import fit_image

CAPTIONS = {"ant": "an ant walks", "bee": "a bee flies, and lands"}


@pytest.fixture
def clips(tmp_path: Path, clip_of) -> Path:
    """Two clips of nine frames with captions beside them."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for length, (stem, caption) in zip((9, 17), CAPTIONS.items(), strict=True):
        shutil.copy(clip_of(length), folder / f"{stem}.mp4")
        (folder / f"{stem}.txt").write_text(caption)
    return folder


@pytest.fixture
def cached(reelwright, tmp_path: Path):
    """Encode clips and captions of a data set, told by its keys, and read its cache."""

    def run(keys: str, cache: str = "cache") -> dict[str, dict[str, torch.Tensor]]:
        general = "[general]\nresolution = 64\n" if "resolution" not in keys else ""
        (tmp_path / "data.toml").write_text(
            f'{general}[[datasets]]\n{keys}\ncache_directory = "{cache}"\ntarget_fps = 8\n'
        )
        for kind, words in (("latents", ("--posterior", "mean")), ("text", ())):
            outcome = reelwright("cache", kind, "cogvideox", "--dataset", "data.toml", *words)
            assert outcome.code == 0, outcome.err
        folder = tmp_path / cache
        return {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}

    return run


def pairs(clips: Path, folder: Path) -> str:
    (folder / "deep").mkdir(parents=True)
    for path in clips.iterdir():
        shutil.copy(path, folder / ("deep" if path.stem == "bee" else ".") / path.name)
    return f'folder = "{folder.name}"'


def lists(clips: Path, folder: Path) -> str:
    shutil.copytree(clips, folder / "videos", ignore=shutil.ignore_patterns("*.txt"))
    (folder / "prompts.txt").write_text("\n".join(CAPTIONS.values()))
    (folder / "videos.txt").write_text("\n".join(f"videos/{stem}.mp4" for stem in CAPTIONS))
    return f'folder = "{folder.name}"'


def table(clips: Path, folder: Path) -> str:
    shutil.copytree(clips, folder, ignore=shutil.ignore_patterns("*.txt"))
    rows = [f'{stem}.mp4,"{caption}"' for stem, caption in CAPTIONS.items()]
    (folder / "metadata.csv").write_text("\n".join(["file_name,caption", *rows]))
    return f'folder = "{folder.name}"'


def lines(clips: Path, folder: Path) -> str:
    shutil.copytree(clips, folder, ignore=shutil.ignore_patterns("*.txt"))
    rows = [{"video_path": f"{folder.name}/{stem}.mp4", "caption": text} for stem, text in CAPTIONS.items()]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return f'video_jsonl_file = "{folder.name}/data.jsonl"'


def shards(clips: Path, folder: Path) -> str:
    folder.mkdir()
    for number, stem in enumerate(CAPTIONS):
        with tarfile.open(folder / f"shard-{number:06}.tar", "w") as shard:
            for suffix in (".mp4", ".txt"):
                content = (clips / f"{stem}{suffix}").read_bytes()
                member = tarfile.TarInfo(f"{stem}{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return f'folder = "{folder.name}"'


def remote(clips: Path, folder: Path) -> str:
    system = fsspec.filesystem("memory")
    system.put(f"{clips}/", f"/{folder.name}/", recursive=True)
    return f'video_directory = "memory://{folder.name}"'


LAYOUTS = {each.__name__: each for each in (pairs, lists, table, lines, shards, remote)}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_layout_gives_the_caches_of_the_plain_directory(layout, clips, cached, tmp_path):
    expected = cached('video_directory = "plain"', "expected")
    found = cached(LAYOUTS[layout](clips, tmp_path / f"as_{layout}_{tmp_path.name}"))
    assert len(expected) == 4
    assert found.keys() == expected.keys()
    for name, tensors in expected.items():
        assert found[name].keys() == tensors.keys()
        assert all(torch.equal(found[name][key], tensor) for key, tensor in tensors.items()), name


def test_a_picture_given_to_a_clip_is_what_it_starts_from(clips, reelwright, tmp_path, picture):
    folder = tmp_path / "lists"
    lists(clips, folder)
    shutil.copy(picture, folder / f"start{picture.suffix}")
    (folder / "images.txt").write_text(f"start{picture.suffix}\n" * 2)
    (tmp_path / "data.toml").write_text('[[datasets]]\nresolution = 64\nfolder = "lists"\ntarget_fps = 8\n')
    words = ("--dataset", "data.toml", "--first-frame", "pixels")
    assert reelwright("cache", "latents", "cogvideox", *words).code == 0
    found = sorted((folder / "reelwright-cache").glob("*.safetensors"))
    assert len(found) == 2
    with Image.open(picture) as opened:
        expected = np.asarray(fit_image(opened.convert("RGB"), 64, 64)).transpose(2, 0, 1)
    for path in found:
        assert (load_file(path)["first_frame_pixels"].numpy() == expected).all()
    with Image.open(picture) as opened:
        opened.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(folder / f"start{picture.suffix}")
    assert "encoded: 2" in reelwright("cache", "latents", "cogvideox", *words).out


def test_a_cache_at_a_url_is_written_skipped_and_verified(clips, reelwright, tmp_path):
    remote(clips, tmp_path / f"data_{tmp_path.name}")
    cache = f"memory://cache_{tmp_path.name}"
    (tmp_path / "data.toml").write_text(
        f'[[datasets]]\nresolution = 64\nvideo_directory = "memory://data_{tmp_path.name}"\n'
        f'cache_directory = "{cache}"\n'
    )
    words = ("cogvideox", "--dataset", "data.toml")
    for expected in ("encoded: 2", "encoded: 0"):
        outcome = reelwright("cache", "text", *words)
        assert (outcome.code, expected in outcome.out) == (0, True), outcome.err
    assert reelwright("cache", "latents", *words).code == 0
    written = fsspec.filesystem("memory").ls(cache.removeprefix("memory:/"), detail=False)
    names = sorted(Path(name).name for name in written)
    assert [name for name in names if name.endswith(".sqlite")] == [
        ".reelwright-cogvideox-latents.sqlite",
        ".reelwright-cogvideox-text.sqlite",
    ]
    assert len(names) == 6
    outcome = reelwright("cache", "verify", *words)
    assert outcome.code == 0, outcome.err
    assert "problems: 0" in outcome.out


def test_latents_of_the_official_trainer_are_taken_over(clips, reelwright, tmp_path):
    """CogVideo's finetune folder: named by clip and by the hash of its prompt, with one tensor each."""
    (tmp_path / "data.toml").write_text(
        '[[datasets]]\nresolution = 64\nvideo_directory = "plain"\ncache_directory = "cache"\n'
        'target_frames = 9\nframe_extraction = "head"\ntarget_fps = 8\n'
    )
    words = ("cogvideox", "--dataset", "data.toml")
    settings = ("--first-frame", "none")
    assert reelwright("cache", "latents", *words, *settings).code == 0
    assert reelwright("cache", "text", *words).code == 0
    expected = {path.name: load_file(path) for path in (tmp_path / "cache").glob("*.safetensors")}
    theirs = tmp_path / "theirs" / "cache"
    latents = theirs / "video_latent" / "cogvideox-tiny" / "9x64x64"
    prompts = theirs / "prompt_embeddings"
    for folder in (latents, prompts):
        folder.mkdir(parents=True)
    for name, tensors in expected.items():
        (tensor,) = tensors.values()
        stem = name.split("_")[0]
        if name.endswith("_te.safetensors"):
            digest = hashlib.sha256(CAPTIONS[stem].encode()).hexdigest()
            save_file({"prompt_embedding": tensor}, prompts / f"{digest}.safetensors")
        else:
            save_file({"encoded_video": tensor}, latents / f"{stem}.safetensors")
    shutil.rmtree(tmp_path / "cache")
    for kind, more in (("latents", settings), ("text", ())):
        outcome = reelwright("cache", kind, *words, *more, "--import-from", "theirs")
        assert outcome.code == 0, outcome.err
        assert "encoded: 0" in outcome.out
    found = {path.name: load_file(path) for path in (tmp_path / "cache").glob("*.safetensors")}
    assert found.keys() == expected.keys()
    for name, tensors in expected.items():
        assert all(torch.equal(found[name][key], tensor) for key, tensor in tensors.items())


def test_pictures_with_controls_become_one_frame_items(reelwright, tmp_path):
    draw = reelwright("dataset", "synth", "pairs", "--kind", "pair", "--count", "3", "--width", "64")
    assert draw.code == 0, draw.err
    file = tmp_path / "pairs" / "dataset.toml"
    file.write_text(file.read_text() + "fp_1f_target_index = 9\nfp_1f_clean_indices = [0]\n")
    words = ("framepack", "--dataset", "pairs/dataset.toml")
    outcome = reelwright("cache", "latents", *words, "--mode", "one_frame")
    assert outcome.code == 0, outcome.err
    files = sorted((tmp_path / "pairs").rglob("*_fp.safetensors"))
    assert len(files) == 3
    with safe_open(files[0], "pt") as source:
        shapes = {name: list(source.get_slice(name).get_shape()) for name in list(source.keys())}
        metadata = source.metadata()
    with Image.open(next((tmp_path / "pairs").rglob("*.png"))) as picture:
        width, height = picture.size
    assert shapes["latent_indices_int64"] == [1]
    assert shapes["clean_latent_indices_int64"] == [2]
    assert any(name.startswith("latents_clean_1x") for name in shapes)
    assert (metadata["architecture"], metadata["width"], metadata["height"]) == (
        "framepack",
        str(width),
        str(height),
    )
