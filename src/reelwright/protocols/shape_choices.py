"""Sizes and lengths that a model makes, for who chooses before anything is looked for. No torch here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelwright.media.geometry import Size, size_of_area
from reelwright.protocols.variant import ASSETS, Variant

_ASPECTS: tuple[Size, ...] = ((16, 9), (3, 2), (1, 1), (2, 3), (9, 16))


@dataclass(frozen=True, kw_only=True)
class Length:
    """A length that a model makes."""

    frames: int
    seconds: float
    values: Mapping[str, Any]
    """What of the configuration asks for it."""


@dataclass(frozen=True, kw_only=True)
class ShapeChoices:
    """Legal shapes of a clip. Other sizes than those listed are legal too where their sides are multiples."""

    sizes: tuple[Size, ...]
    """Widths and heights; those that suit the model best come first."""
    side_step: int
    """Sides are multiples of this."""
    is_only_size: bool = False
    """Whether the first size is the only one."""
    size: Size
    """What the configuration comes to."""
    lengths: tuple[Length, ...]
    length: Length
    """What the configuration comes to."""


def sizes_like(own: Size, step: int) -> tuple[Size, ...]:
    """A model's own size, and others of its area in common shapes."""
    area = own[0] * own[1]
    return tuple(dict.fromkeys((own, *(size_of_area(aspect, area, step) for aspect in _ASPECTS))))


def nearest_length(lengths: Iterable[Length], frames: int) -> Length:
    """The length closest to so many frames; of two as close, the shorter."""
    return min(lengths, key=lambda length: (abs(length.frames - frames), length.frames))


def told_settings(model: str, variants: Sequence[Variant], file: str) -> Mapping[str, Any] | None:
    """What a settings file of a model says, where the model is at hand: part of this package, or a folder."""
    embedded = next((each.embedded for each in variants if each.name == model and each.embedded), "")
    root = ASSETS / embedded if embedded else Path(model)
    try:
        return dict(json.loads((root / file).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
