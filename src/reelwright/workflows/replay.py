"""Make an output again from the record inside it."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.config import from_mapping
from reelwright.core.errors import FileError
from reelwright.core.events import Event
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.media.image_ops import read_png_metadata
from reelwright.media.video_reader import read_mp4_metadata
from reelwright.workflows import generate

_READERS = {".mp4": read_mp4_metadata, ".png": read_png_metadata, ".safetensors": read_safetensors_metadata}


def run(
    file: Path,
    out: Path,
    run: Path | None = None,
    *,
    step_cache_ratios: Path | None = None,
    **moved: Path | tuple[Path, ...] | str | None,
) -> Iterator[Event]:
    """Make the clip of `file` again, the same bytes, given the same model, inputs and library versions.

    step_cache_ratios, moved: where an input or a part of the model of that name lies now. Raises FileError
    for a file without a record, or if a model or an input is not the one that was used.
    """
    record = read_record(file)
    schema = families.configs(record.family).GENERATE
    config = from_mapping(schema, record.config, str(file))
    named = {field.name for field in fields(config)}
    now: dict[str, Any] = {
        name: place for name, place in moved.items() if place is not None and name in named
    }
    if step_cache_ratios is not None:
        now["execution"] = replace(config.execution, step_cache_ratios=step_cache_ratios)
    yield from generate.run(record.family, replace(config, out=out, run=run, **now), record)


def read_record(file: Path) -> Provenance:
    """The record in a clip, a picture, a latent, or the first picture of a folder of frames."""
    if file.is_dir():
        file = min(file.glob("*.png"), default=file / "frame_00000.png")
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise FileError(
            f"{file}: is no output of Reelwright. Give an .mp4, .png or .safetensors file, or a frame folder."
        )
    text = reader(file).get(METADATA_KEY)
    if text is None:
        raise FileError(
            f"{file}: carries no record of how it was made; it was stripped or written with --no-metadata."
        )
    return Provenance.from_json(text, str(file))
