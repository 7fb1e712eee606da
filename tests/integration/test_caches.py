"""Caches from the command line: encoded once, encoded again exactly where something changed, never stale."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reelwright import families
from reelwright.core.errors import ConfigError, FileError
from reelwright.data.loader import Loader
from reelwright.families.framepack.config import FramePackCacheLatents, FramePackCacheText
from reelwright.media.video_writer import write_mp4
from reelwright.workflows.caching.opening import open_items

FPS = {"framepack": 30, "cogvideox": 8}
FRAMES = {"framepack": 73, "cogvideox": 9}
FORMS = {
    "base": ("framepack", ()),
    "compact": ("framepack", ("--form", "compact")),
    "clips": ("cogvideox", ()),
}


def write_clip(path: Path, seed: int, *, num_frames: int, fps: float) -> None:
    """A colored square that wanders over noise; another for each seed."""
    draw = np.random.default_rng(seed)
    frames = np.repeat(draw.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8), num_frames, axis=0)
    for number in range(num_frames):
        left = (5 * seed + number) % 48
        frames[number, 20:36, left : left + 16] = (40 * seed % 256, 200, 90)
    write_mp4(path, [torch.from_numpy(frames)], fps=fps)


@pytest.fixture
def data(tmp_path: Path):
    """A data set of some clips of a family's rate, and its file."""

    def make(family: str, count: int = 3, keys: str = "") -> Path:
        folder = tmp_path / "clips"
        folder.mkdir()
        for number in range(count):
            clip = folder / f"clip_{number}.mp4"
            write_clip(clip, number, num_frames=FRAMES[family], fps=FPS[family])
            clip.with_suffix(".txt").write_text(f"a square numbered {number}")
        file = tmp_path / "data.toml"
        file.write_text(
            '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\n[[datasets]]\n'
            f'video_directory = "clips"\ncache_directory = "cache"\n{keys}\n'
        )
        return file

    return make


@pytest.fixture
def cache(reelwright):
    """Run `cache` and return what it says of its items."""

    def run(kind: str, family: str, *words: object, code: int = 0) -> dict[str, str]:
        outcome = reelwright("cache", kind, family, "--dataset", "data.toml", *words, "--json")
        assert outcome.code == code, outcome.err
        return next(event["facts"] for event in outcome.events if event["event"] == "facts")

    return run


def files_of(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((tmp_path / "cache").glob("*.safetensors"))}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_is_there_and_fits_is_not_encoded_again(form, data, cache, tmp_path):
    family, words = FORMS[form]
    data(family)
    assert cache("latents", family, *words)["encoded"] == "3"
    assert cache("text", family)["encoded"] == "3"
    before = files_of(tmp_path)
    for kind in ("latents", "text"):
        found = cache(kind, family, *(words if kind == "latents" else ()))
        assert found == {"items": "3", "were there": "3", "encoded": "0", "failed": "0"}
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("form", sorted(FORMS))
def test_encoding_anew_gives_the_same_bytes(form, data, cache, tmp_path):
    family, words = FORMS[form]
    data(family)
    cache("latents", family, *words)
    before = files_of(tmp_path)
    assert cache("latents", family, *words, "--force")["encoded"] == "3"
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("family", sorted(FPS))
def test_one_changed_caption_of_200_is_one_caption_encoded(family, data, cache, tmp_path):
    data(family, count=1)
    for number in range(1, 200):
        shutil.copy(tmp_path / "clips" / "clip_0.mp4", tmp_path / "clips" / f"clip_{number}.mp4")
        (tmp_path / "clips" / f"clip_{number}.txt").write_text(f"a square numbered {number}")
    assert cache("text", family, "--batch-size", 16)["encoded"] == "200"
    before = files_of(tmp_path)
    (tmp_path / "clips" / "clip_77.txt").write_text("a circle instead")
    assert cache("text", family)["encoded"] == "1"
    after = files_of(tmp_path)
    (changed,) = (name for name in before if before[name] != after[name])
    assert changed.startswith("clip_77_")


def test_a_change_encodes_again_what_it_touches_and_nothing_else(data, cache, tmp_path):
    file = data("framepack")
    assert cache("latents", "framepack")["encoded"] == "3"
    write_clip(tmp_path / "clips" / "clip_1.mp4", 9, num_frames=73, fps=30)
    assert cache("latents", "framepack")["encoded"] == "1"
    assert cache("latents", "framepack", "--mode", "f1")["encoded"] == "3"
    assert cache("latents", "framepack", "--mode", "f1", "--posterior", "mean")["encoded"] == "3"
    smaller = file.read_text().replace("[64, 64]", "[48, 48]")
    file.write_text(smaller)
    assert cache("latents", "framepack", "--mode", "f1", "--posterior", "mean")["encoded"] == "3"
    assert cache("text", "framepack")["encoded"] == "3"
    (tmp_path / "clips" / "clip_2.txt").write_text("another")
    assert cache("text", "framepack")["encoded"] == "1"
    assert cache("latents", "framepack", "--mode", "f1", "--posterior", "mean")["encoded"] == "0"


def test_another_autoencoder_encodes_all_again(data, cache, tmp_path):
    data("cogvideox")
    model = tmp_path / "model"
    shutil.copytree(Path(families.__file__).parents[1] / "assets" / "cogvideox-tiny", model)
    assert cache("latents", "cogvideox", "--model", model)["encoded"] == "3"
    assert cache("latents", "cogvideox", "--model", model)["encoded"] == "0"
    (weights,) = (model / "vae").glob("*.safetensors")
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name] * 1.5}, weights, {"format": "pt"})
    assert cache("latents", "cogvideox", "--model", model)["encoded"] == "3"


def test_a_bad_clip_is_listed_and_the_others_are_encoded(data, reelwright, cache, tmp_path):
    data("framepack")
    bad = tmp_path / "clips" / "clip_1.mp4"
    bad.write_bytes(bad.read_bytes()[:900])
    write_clip(tmp_path / "clips" / "clip_2.mp4", 2, num_frames=20, fps=30)
    outcome = reelwright("cache", "latents", "framepack", "--dataset", "data.toml")
    assert outcome.code == 1
    assert "clip_1.mp4" in outcome.err and "clip_2.mp4" in outcome.err
    assert len(files_of(tmp_path)) == 2  # the sections of the one that is left
    assert cache("latents", "framepack", code=1) == {
        "items": "1",
        "were there": "1",
        "encoded": "0",
        "failed": "2",
    }


def test_a_wrong_line_of_a_list_is_told_at_the_end_and_the_others_are_encoded(data, reelwright, tmp_path):
    data("cogvideox", count=2)
    lines = ['{"video_path": "gone.mp4", "caption": "x"}', "{"]
    lines += [f'{{"video_path": "clips/clip_{number}.mp4", "caption": "x"}}' for number in range(2)]
    (tmp_path / "clips.jsonl").write_text("\n".join(lines))
    file = tmp_path / "data.toml"
    file.write_text(file.read_text().replace('video_directory = "clips"', 'video_jsonl_file = "clips.jsonl"'))
    outcome = reelwright("cache", "latents", "cogvideox", "--dataset", "data.toml")
    assert outcome.code == 1
    told = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert [line.partition(":")[2].partition(":")[0] for line in told] == [
        " clips.jsonl line 1",
        " clips.jsonl line 2",
    ]
    assert len(files_of(tmp_path)) == 2


@pytest.mark.parametrize(
    ("family", "words", "said"),
    [
        ("cogvideox", "--force --import-from old", "import_from"),
        ("cogvideox", "--ray-address 127.0.0.1:6379", "ray_address"),
        ("cogvideox", "--execution.tile-size 64", "execution.tile_size"),
        ("cogvideox", "--execution.vae-chunk 8", "execution.vae_chunk"),
        ("framepack", "--one-frame-no-2x", "one_frame_no_2x"),
        ("framepack", "--mode one_frame --stream-frames 37", "stream_frames"),
        ("framepack", "--mode one_frame --form compact", "form"),
        ("framepack", "--posterior moments", "posterior"),
    ],
)
def test_a_flag_that_would_have_no_effect_is_refused(family, words, said, data, reelwright):
    data(family, count=1)
    outcome = reelwright("cache", "latents", family, "--dataset", "data.toml", *words.split())
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {said}")


def test_two_data_sets_in_one_folder_are_refused_with_both_named(data, reelwright, tmp_path):
    file = data("framepack")
    shutil.copytree(tmp_path / "clips", tmp_path / "more")
    file.write_text(file.read_text() + '[[datasets]]\nvideo_directory = "more"\ncache_directory = "cache"\n')
    outcome = reelwright("cache", "latents", "framepack", "--dataset", "data.toml")
    assert outcome.code == 2
    assert "clips" in outcome.err and "more" in outcome.err and "cache_directory" in outcome.err
    file.write_text('[[datasets]]\nresolution = 64\nvideo_directory = "clips"\ncache_directory = "cache"\n')
    assert reelwright("cache", "latents", "framepack", "--dataset", "data.toml").code == 0
    file.write_text(file.read_text().replace('"clips"', '"more"'))
    outcome = reelwright("cache", "latents", "framepack", "--dataset", "data.toml")
    assert outcome.code == 2
    assert "clips" in outcome.err and "more" in outcome.err


def test_files_of_another_program_are_taken_over(data, cache, tmp_path):
    """As musubi-tuner writes them: the same names and tensors, and no metadata but its own."""
    data("framepack")
    cache("latents", "framepack")
    cache("text", "framepack")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for path in (tmp_path / "cache").glob("*.safetensors"):
        with safe_open(path, "pt") as source:
            metadata = {
                key: text for key, text in source.metadata().items() if not key.startswith("reelwright")
            }
            save_file(
                {name: source.get_tensor(name) for name in list(source.keys())}, theirs / path.name, metadata
            )
    shutil.rmtree(tmp_path / "cache")
    for kind in ("latents", "text"):
        found = cache(kind, "framepack", "--import-from", "theirs")
        assert (found["encoded"], found["taken over"], found["were there"]) == ("0", "3", "0")
        assert cache(kind, "framepack")["were there"] == "3"
    for name, content in files_of(tmp_path).items():
        mine, their = load_file(tmp_path / "cache" / name), load_file(theirs / name)
        assert mine.keys() == their.keys()
        assert all(torch.equal(mine[key], their[key]) for key in mine), content[:0]


def settings(tmp_path: Path, **latents: object):
    file = tmp_path / "data.toml"
    return (
        "framepack",
        FramePackCacheLatents(dataset=file, **latents),
        FramePackCacheText(dataset=file),
    )


def test_training_sees_each_section_of_each_clip_and_no_stranger(data, cache, tmp_path):
    data("framepack")
    cache("latents", "framepack", "--form", "compact")
    cache("text", "framepack")
    (compact,) = list((tmp_path / "cache").glob("clip_0_*_fpc.safetensors"))
    shutil.copy(compact, compact.with_name(compact.name.replace("clip_0", "stranger")))
    for mode in ("base", "f1"):
        items = open_items(*settings(tmp_path, mode=mode, form="compact"))
        seen = [name for batch in Loader(items) for name in batch.names]
        assert len(seen) == len(set(seen)) == 6
        assert not any("stranger" in name for name in seen)


def test_training_refuses_what_has_changed_since(data, cache, tmp_path):
    file = data("framepack")
    with pytest.raises(FileError, match="cache"):
        open_items(*settings(tmp_path))
    cache("latents", "framepack")
    cache("text", "framepack")
    assert len(Loader(open_items(*settings(tmp_path)))) == 6
    with pytest.raises(ConfigError, match="mode"):
        open_items(*settings(tmp_path, mode="f1"))
    text = file.read_text()
    file.write_text(text.replace("[64, 64]", "[48, 48]"))
    with pytest.raises(ConfigError, match="resolution"):
        open_items(*settings(tmp_path))
    file.write_text(text)
    (tmp_path / "clips" / "clip_0.txt").write_text("another caption")
    with pytest.raises(FileError, match="clip_0"):
        open_items(*settings(tmp_path))


def test_strangers_are_removed_only_where_asked(data, cache, reelwright, tmp_path):
    data("framepack")
    cache("latents", "framepack")
    mine = tmp_path / "cache" / "notes.safetensors"
    save_file({"a": torch.zeros(1)}, mine)
    (tmp_path / "clips" / "clip_0.mp4").unlink()
    (tmp_path / "clips" / "clip_0.txt").unlink()
    cache("latents", "framepack")
    assert any(name.startswith("clip_0") for name in files_of(tmp_path))
    cache("latents", "framepack", "--prune")
    left = files_of(tmp_path)
    assert not any(name.startswith("clip_0") for name in left)
    assert mine.exists() and len(left) == 5
