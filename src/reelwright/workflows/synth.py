"""Write data sets of synthetic scenes: pictures or clips, captions, and the truth about them."""

import json
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
from PIL import Image

from reelwright.core.config import to_mapping, validate
from reelwright.core.errors import ConfigError, FileError
from reelwright.core.events import Event, FileSaved, Finished, Notice, StageStarted, StepDone
from reelwright.core.paths import check_writable, remove_leftovers, write_text_atomic
from reelwright.data.synthetic.checking import check_options
from reelwright.data.synthetic.config import SynthConfig
from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render, render_clip, truth
from reelwright.data.synthetic.scene import SceneDescription
from reelwright.data.synthetic.wording import DETAILS, caption
from reelwright.media.image_ops import write_png
from reelwright.media.video_writer import write_mp4
from reelwright.workflows.caching.holding import hold_folder

RECIPE, DATASET, METADATA = "synth.toml", "dataset.toml", "metadata.jsonl"
CONTROLS, TRUTH = "control", "truth"

# Rises when the same scene would look otherwise: files of both shall not be mixed.
_EDITION = 1
_NUMBERING = ("count", "start")
_USUAL_LONGEST = 129
_LARGEST_RATE = 60
_STEP = 16


def run(out: Path, config: SynthConfig) -> Iterator[Event]:
    """Write the scenes that are not there yet, then what tells of all that are: metadata.jsonl, dataset.toml.

    A folder holds scenes of one recipe, of which `count` and `start` are no part: so a run that was stopped
    goes on, and a data set grows. Raises ConfigError for a folder with anything else.
    """
    started = time.perf_counter()
    config = validate(config, "dataset synth")
    _check_size(config)
    check_options(config)
    recipe = _recipe(config)
    _check_folder(out, recipe)
    check_writable(out)
    if not (out / RECIPE).exists():
        write_text_atomic(out / RECIPE, tomli_w.dumps(recipe))
    with hold_folder(str(out), "synth"):
        for folder in (out, out / TRUTH, out / CONTROLS):  # and not in the cache, where others may write
            remove_leftovers(folder, inner=False)
        yield from _write_scenes(out, config)
        for name, text in ((METADATA, _metadata(out, config)), (DATASET, _dataset(out, config))):
            write_text_atomic(out / name, text)
            yield FileSaved(name.partition(".")[0], str(out / name))
    yield Finished(({"dataset": str(out / DATASET)},), time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class _Files:
    """Those of one scene."""

    media: Path
    control: Path | None
    caption: Path
    truth: Path | None

    @property
    def all(self) -> list[Path]:
        return [path for path in (self.truth, self.caption, self.control, self.media) if path is not None]


def _files(out: Path, config: SynthConfig, index: int) -> _Files:
    name = f"{'clip' if config.kind == 'video' else config.kind}_{index:05d}"
    media = out / f"{name}{'.mp4' if config.kind == 'video' else '.png'}"
    return _Files(
        media=media,
        control=out / CONTROLS / media.name if config.kind == "pair" else None,
        caption=out / f"{name}.txt",
        truth=out / TRUTH / f"{name}.json" if config.truth else None,
    )


def _write_scenes(out: Path, config: SynthConfig) -> Iterator[Event]:
    indices = range(config.start, config.start + config.count)
    missing = [
        index for index in indices if not all(path.is_file() for path in _files(out, config, index).all)
    ]
    if kept := len(indices) - len(missing):
        yield Notice(f"{kept} of {len(indices)} are there already; they are kept.")
    yield StageStarted("render", len(missing))
    before = time.perf_counter()
    for number, index in enumerate(missing, start=1):
        files = _files(out, config, index)
        _write_scene(describe(config.seed, index, config), files, config)
        yield FileSaved("video" if config.kind == "video" else "image", str(files.media))
        seconds, before = time.perf_counter() - before, time.perf_counter()
        yield StepDone("render", number, len(missing), seconds)


def _write_scene(scene: SceneDescription, files: _Files, config: SynthConfig) -> None:
    """The media last: where they are, all is."""
    size = (config.width, config.height)
    num_frames = 1 if config.kind == "image" else config.num_frames
    detail = DETAILS[scene.index % len(DETAILS)] if config.detail == "mixed" else config.detail
    text = caption(scene, detail, is_moving=config.kind != "image")
    if files.truth is not None:
        told = {"caption": text, **truth(scene, size, config.fps, num_frames)}
        write_text_atomic(files.truth, json.dumps(told) + "\n")
    write_text_atomic(files.caption, text + "\n")
    if config.kind == "video":
        frames = render_clip(scene, size, config.fps, num_frames)
        write_mp4(files.media, frames, fps=config.fps, crf=config.crf)
        return
    if files.control is not None:
        write_png(files.control, Image.fromarray(render(scene, 0.0, size)))
    write_png(files.media, Image.fromarray(render(scene, (num_frames - 1) / config.fps, size)))


def _check_size(config: SynthConfig) -> None:
    if config.kind != "video":
        return
    odd = {name: side for name in ("width", "height") if (side := getattr(config, name)) % 2}
    if odd:
        raise ConfigError(
            "\n".join(
                f"{name}: {side} is odd, and clips need even sides. Use {side + 1}."
                for name, side in odd.items()
            )
        )


def _recipe(config: SynthConfig) -> dict[str, object]:
    """All that decides the files, but how many there are; without lists of words that are left open."""
    values: dict[str, object] = to_mapping(config)
    deciding = {key: value for key, value in values.items() if key not in _NUMBERING and value != []}
    return {"edition": _EDITION, **deciding}


def _check_folder(out: Path, recipe: dict[str, object]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out}: is a file. Name a folder.")
    if not (out / RECIPE).exists():
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if others:
            raise ConfigError(f"{out}: holds other files, such as {others[0]}. Choose a new or empty folder.")
        return
    there = _read_recipe(out / RECIPE)
    differing = [
        f"{key} is {there.get(key)}, not {recipe.get(key)}"
        for key in sorted({*there, *recipe})
        if there.get(key) != recipe.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{out}: holds scenes of another recipe: {'; '.join(differing)}."
            " Choose another folder, or remove this one."
        )


def _read_recipe(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error}). Choose another folder.") from error


def _metadata(out: Path, config: SynthConfig) -> str:
    """A line for every scene in the folder, of this run or of others."""
    lines: list[str] = []
    for text in sorted(out.glob("*_*.txt")):
        files = _files(out, config, int(text.stem.rpartition("_")[2]))
        if not files.media.is_file():
            continue
        line = {"file_name": files.media.name, "caption": text.read_text(encoding="utf-8").strip()}
        if files.control is not None:
            line["control_path"] = f"{CONTROLS}/{files.control.name}"
        lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def _dataset(out: Path, config: SynthConfig) -> str:
    """A file of data sets that every family understands."""
    folder = out.absolute()
    sides = [side // _STEP * _STEP for side in (config.width, config.height)]
    entry: dict[str, object] = {"cache_directory": str(folder / "cache")}
    if config.kind == "video":
        longest = int(np.ceil(config.num_frames / config.fps * _LARGEST_RATE)) + 1
        entry |= {
            "video_directory": str(folder),
            "frame_extraction": "full",
            "max_frames": max(longest, _USUAL_LONGEST),
        }
    else:
        entry["image_directory"] = str(folder)
    if config.kind == "pair":
        entry["control_directory"] = str(folder / CONTROLS)
    content = {"general": {"resolution": sides, "caption_extension": ".txt"}, "datasets": [entry]}
    return (
        "# Written by `reelwright dataset synth`. For any family:\n"
        f"# reelwright cache latents FAMILY --dataset {out / DATASET}\n"
        "# Paths are absolute: change them if the folder is moved, or give the folder itself as --dataset.\n"
        + tomli_w.dumps(content)
    )
