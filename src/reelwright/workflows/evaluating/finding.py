"""Clips with the prompts that they were made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.locations import read_lines, read_text
from reelwright.core.prompt_lines import is_blank
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.data.sources.media_names import VIDEO_EXTENSIONS
from reelwright.media.image_ops import read_png_metadata
from reelwright.media.picture_frames import is_picture_clip, numbered_pictures
from reelwright.media.video_reader import read_mp4_metadata
from reelwright.protocols.evaluate_config import EvaluateConfig
from reelwright.workflows.clips.making import PREVIEW, SECTIONS_FOLDER
from reelwright.workflows.clips.sections import MANIFEST

_FRAME_NAMES = "frame_*.png"


@dataclass(frozen=True, kw_only=True)
class PromptedClip:
    """A clip, and what it should show; empty where nobody says."""

    path: Path
    prompt: str


def find_clips(places: Sequence[Path], config: EvaluateConfig) -> list[PromptedClip]:
    """All clips at some places in the order of their names. Raises ConfigError or FileError."""
    if config.prompt and config.prompts is not None:
        raise ConfigError("prompts: there is --prompt too. Give one of them.")
    paths = [path for place in places for path in _clips_at(place)]
    if config.prompts is None:
        return [PromptedClip(path=path, prompt=config.prompt or _own_prompt(path)) for path in paths]
    prompts = _lines(config.prompts)
    if len(prompts) != len(paths):
        raise ConfigError(
            f"prompts: {config.prompts} has {len(prompts)} prompts for {len(paths)} clips."
            " Write one line for each clip, in the order of their names."
        )
    return [PromptedClip(path=path, prompt=prompt) for path, prompt in zip(paths, prompts, strict=True)]


def _lines(path: Path) -> list[str]:
    """The prompts of a file, without the options that `generate --from-file` reads after them."""
    return [text.partition(" --")[0].strip() for _, text in read_lines(str(path)) if not is_blank(text)]


def _clips_at(place: Path) -> list[Path]:
    if not place.exists():
        raise FileError(f"{place}: there is no such file or folder. Name a clip, or a folder of clips.")
    if place.is_file():
        return [place]
    if any(place.glob(_FRAME_NAMES)):
        return [place]
    found = sorted(_clips_inside(place))
    if not found:
        raise FileError(
            f"{place}: holds neither clips nor folders of frames ({_FRAME_NAMES}). Name another folder."
        )
    return found


def _clips_inside(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if _is_part_of_a_clip(path):
            continue
        is_clip = path.is_file() and path.suffix.lower() in VIDEO_EXTENSIONS
        if is_clip or (path.is_dir() and any(path.glob(_FRAME_NAMES))):
            yield path


def _is_part_of_a_clip(path: Path) -> bool:
    """Of a run in sections: one of them, or what was shown of them meanwhile."""
    return (path.parent / MANIFEST).is_file() or (
        path.name == PREVIEW and (path.parent / SECTIONS_FOLDER).is_dir()
    )


def _own_prompt(path: Path) -> str:
    """By the record inside a clip, or the text file beside it."""
    if is_picture_clip(path):
        metadata = read_png_metadata(numbered_pictures(path)[0]) if path.is_dir() else {}
    else:
        metadata = read_mp4_metadata(path)
    if METADATA_KEY in metadata:
        config: dict[str, Any] = Provenance.from_json(metadata[METADATA_KEY], str(path)).config
        return str(config.get("prompt") or "")
    beside = path.with_suffix(".txt")
    return read_text(str(beside)).strip() if beside.is_file() else ""
