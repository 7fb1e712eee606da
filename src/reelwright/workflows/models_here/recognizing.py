"""What a single file is, by its tensors: a part of a model of some family, a LoRA, or nothing known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reelwright import families
from reelwright.adapters.matching import ForeignAdapterError
from reelwright.checkpoint.layout_fit import is_lora
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.errors import CheckpointError
from reelwright.protocols.model_part import ModelPart
from reelwright.workflows.adapter_origin import find_origin

LORA = "lora"
"""What takes the place of a part's name."""


@dataclass(frozen=True, kw_only=True)
class Recognized:
    """What a file is for one family."""

    family: str
    part: str
    """The name of a part, or LORA."""
    model: str = ""
    """Of a LoRA: what it was made for."""


def recognize_file(path: Path, family: str = "", part: str = "") -> list[Recognized]:
    """What a file or the folder of a part is; empty for what no family knows.

    Raises CheckpointError if it is damaged.
    """
    with open_tensors(path) as source:
        has_adapters = is_lora(source.names())
    if has_adapters:
        return list(_as_lora(path, family))
    return list(_as_part(path, family, part))


def is_known(family: str, paths: Mapping[str, Path]) -> bool:
    """Whether any part of a model, by the paths of its parts, is one of the family's."""
    return any(_is(part, paths[part.name]) for part in families.load(family).parts if part.name in paths)


def _as_lora(path: Path, family: str) -> Iterator[Recognized]:
    try:
        origin = find_origin([path], family)
    except ForeignAdapterError:
        return
    yield Recognized(family=origin.family, part=LORA, model=origin.targets.name)


def _as_part(path: Path, family: str, wanted: str) -> Iterator[Recognized]:
    for name in [family] if family else families.names():
        for part in families.load(name).parts:
            if wanted in ("", part.name) and _is(part, path):
                yield Recognized(family=name, part=part.name)


def _is(part: ModelPart, path: Path) -> bool:
    """Whether a network of that kind is there."""
    if part.describe is None:
        return False
    try:
        part.describe(path).check()
    except CheckpointError:
        return False
    return True
