"""Is a checkpoint FramePack or F1? Its tensors do not tell; what is written beside them, or its name, may."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeGuard

from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.settings_files import read_json, settings_beside
from reelwright.core.errors import ConfigError
from reelwright.families.framepack.config import Direction, FramePackGenerate
from reelwright.families.framepack.parts import Parts, own_folder
from reelwright.protocols.model_folder import OWN_FACTS, own_facts

Trained = Direction | Literal["both", "unknown"]
"""Which sections weights were trained to make first; random ones may claim to know both."""

_OF_VARIANTS: Mapping[str, Direction] = {"base": "backward", "f1": "forward"}
_NAMED_F1 = re.compile(r"(?<![a-z0-9])f1(?![a-z0-9])", re.IGNORECASE)
_NAMED_BASE = re.compile(r"framepack[_-]?i2v", re.IGNORECASE)
_FLAGS: Mapping[Trained, str] = {
    "backward": "--direction backward (no --f1)",
    "forward": "--direction forward (--f1)",
}
_LEARNED: Mapping[Direction, str] = {
    "backward": "was trained on FramePack, not F1",
    "forward": "was trained on F1",
}
_GUESS = (
    "direction: nothing tells whether this checkpoint is FramePack or F1; it is taken for FramePack."
    " For F1 give --direction forward.",
)


@dataclass(frozen=True)
class Knowledge:
    """What a checkpoint was trained for, and what says so."""

    trained: Trained
    origin: str = ""


def choose_direction(
    config: FramePackGenerate, parts: Parts, learned: Mapping[str, Direction] | None = None
) -> tuple[Direction, Trained, tuple[str, ...]]:
    """The direction to generate in, the one that the weights are for, and remarks.

    learned: LoRA -> the direction it was trained in. Where the weights do not tell, the first one counts.
    Raises ConfigError if a direction is asked for that the checkpoint is known not to be made for.
    """
    direction, trained, said = _choose(config, parts, learned or {})
    others = (
        f"direction: {file} {_LEARNED[other]}; sections are made {direction}, so expect less of it."
        for file, other in (learned or {}).items()
        if other != direction
    )
    return direction, trained, (*said, *others)


def _choose(
    config: FramePackGenerate, parts: Parts, learned: Mapping[str, Direction]
) -> tuple[Direction, Trained, tuple[str, ...]]:
    known = find_direction(config, parts)
    trained = known.trained
    if config.direction == "auto" and learned and trained in ("unknown", "both"):
        file, direction = next(iter(learned.items()))
        said = (f"direction: {file} {_LEARNED[direction]}, so sections are made {direction}.",)
        return direction, direction if trained == "unknown" else trained, said
    if config.direction == "auto":
        return (
            "forward" if trained == "forward" else "backward",
            trained,
            _GUESS if trained == "unknown" else (),
        )
    if trained == "unknown":
        trained = config.direction
    if trained not in ("both", config.direction):
        raise ConfigError(
            f"direction: {parts.transformer} is {'F1' if trained == 'forward' else 'FramePack, not F1'} by"
            f" {known.origin}, which makes sections {trained}. Use {_FLAGS[trained]}, or the other model with"
            " --model or --dit."
        )
    return config.direction, trained, ()


def find_direction(config: FramePackGenerate, parts: Parts) -> Knowledge:
    """What is known without being asked: what is written goes over names, near names over far ones."""
    if parts.drawn_for is not None:
        return Knowledge(parts.drawn_for, "--init random")
    path = parts.transformer
    with open_tensors(path) as source:
        metadata = source.metadata
    folder, described = own_folder(path), settings_beside(path)
    stated = {
        OWN_FACTS: own_facts(folder) if folder else {},
        "the metadata in it": metadata,
        "its config.json": read_json(described) if described else {},
    }
    for origin, facts in stated.items():
        if _is_trained(direction := facts.get("direction")):
            return Knowledge(direction, origin)
    if config.dit is None and (of_variant := _of_variant(parts)):
        return of_variant
    for name in [*(metadata.get(key, "") for key in ("modelspec.title", "title")), *_own_names(path)]:
        if _NAMED_F1.search(name):
            return Knowledge("forward", f"the name {name}")
        if _NAMED_BASE.search(name):
            return Knowledge("backward", f"the name {name}")
    return _of_variant(parts) or Knowledge("unknown")


def direction_of_latents(config: FramePackGenerate, parts: Parts) -> Direction:
    """In which order saved sections were made, as far as this is told without the transformer."""
    if config.direction != "auto":
        return config.direction
    if of_variant := _OF_VARIANTS.get(parts.variant.name if parts.variant else ""):
        return of_variant
    told = "" if config.vae is not None else own_facts(parts.root).get("direction")
    return "forward" if told == "forward" else "backward"


def _is_trained(value: object) -> TypeGuard[Trained]:
    return value in ("backward", "forward", "both")


def _of_variant(parts: Parts) -> Knowledge | None:
    """By the name of the model; where a transformer was given, it may not be that model's own."""
    name = parts.variant.name if parts.variant else ""
    return Knowledge(_OF_VARIANTS[name], f"--model {name}") if name in _OF_VARIANTS else None


def _own_names(path: Path) -> list[str]:
    """The names that somebody gave to this checkpoint, the nearest first.

    Those are of the file, of the folder that holds it alone, and of the repository in a cache of downloads;
    not of the folders around them.
    """
    folder = own_folder(path)
    names = [path.name] if path.is_file() else []
    if folder is None:
        return names
    is_snapshot = folder.parent.name == "snapshots"
    return [*names, folder.name, folder.parents[1].name if is_snapshot else ""]
