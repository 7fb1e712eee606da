"""What kind of sections a run teaches: that of its caches, that of the model, or several that are drawn."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from reelwright.core.errors import ConfigError
from reelwright.families.framepack.cache_drawing import drawn_kinds
from reelwright.families.framepack.config import (
    FramePackCacheLatents,
    FramePackDrawnLatents,
    FramePackGenerate,
    FramePackSectionsConfig,
    FramePackTrain,
    TrainingMode,
)
from reelwright.families.framepack.direction import Knowledge, find_direction
from reelwright.families.framepack.lora_facts import DIRECTIONS
from reelwright.families.framepack.parts import Parts

_NAMES = {"base": "FramePack", "f1": "FramePack-F1", "one_frame": "single frames"}
_FLAGS = {"base": "--mode base (no --f1)", "f1": "--mode f1 (--f1)"}
_MODES: Mapping[str, TrainingMode] = {direction: mode for mode, direction in DIRECTIONS.items()}


def as_trained(
    config: FramePackTrain, latents: FramePackCacheLatents, wanted: FramePackGenerate, parts: Parts
) -> FramePackCacheLatents:
    """The configuration of caches, read in the mode that is trained.

    Compact caches, which are for both kinds of sections, are read as the model needs them. Raises ConfigError
    for settings that exclude each other.
    """
    if config.noise.history_noise and latents.mode == "one_frame":
        raise ConfigError(
            "noise.history_noise: single frames are made of control pictures,"
            " which are no history. Leave it out."
        )
    if config.mode == "drawn":
        return _drawn(config.sections, latents)
    if config.sections != FramePackSectionsConfig():
        raise ConfigError(
            "sections: are drawn where the mode is drawn alone. Add --mode drawn, or leave sections out."
        )
    if latents.pictures:
        raise ConfigError(
            "mode: the caches hold pictures beside whole clips, which are read where the mode is drawn alone."
            " Add --mode drawn, or make caches without --pictures."
        )
    if config.mode != "auto":
        return replace(latents, mode=config.mode)
    if latents.form == "compact":
        return replace(latents, mode=_MODES.get(find_direction(wanted, parts).trained, latents.mode))
    return latents


def kinds_of(latents: FramePackCacheLatents) -> tuple[TrainingMode, ...]:
    """What is trained: one kind of sections, or several that are drawn beside each other."""
    if isinstance(latents, FramePackDrawnLatents):
        pictures: tuple[TrainingMode, ...] = ("one_frame",) if latents.pictures else ()
        return (*drawn_kinds(latents.sections), *pictures)
    return (latents.mode,)


def check_kinds(latents: FramePackCacheLatents, known: Knowledge, parts: Parts) -> list[str]:
    """What is to be said of a model that is trained on such caches. Raises ConfigError if it is another."""
    if known.trained in ("both", "unknown"):
        return []
    for kind in kinds_of(latents):
        if known.trained != DIRECTIONS.get(kind, known.trained):
            mode = _MODES[known.trained]
            raise ConfigError(
                f"mode: the caches are of {_NAMES[kind]}, and {parts.transformer} is {_NAMES[mode]} by"
                f" {known.origin}. Train the other model (--model, --dit), or make caches with"
                f" {_FLAGS[mode]}."
            )
    if "one_frame" in kinds_of(latents) and known.trained == "forward":
        return ["mode: single frames are made for the base model; expect little of F1."]
    return []


def _drawn(sections: FramePackSectionsConfig, latents: FramePackCacheLatents) -> FramePackDrawnLatents:
    if latents.form != "compact":
        raise ConfigError(
            "mode: sections are drawn out of whole clips, and these caches hold each section in a file. Make"
            " caches with --form compact, or leave out --mode drawn."
        )
    kinds = list(drawn_kinds(sections))
    if not kinds:
        raise ConfigError("sections: all weights are 0. Give base or f1 a weight, 1 say.")
    if sections.lengths == "any" and "base" not in kinds:
        raise ConfigError(
            "sections.lengths: sections that are made forward see nothing of what comes after them. Leave it"
            " out, or give base a weight."
        )
    # A compact cache does not follow from its mode; it is that of the first kind for who asks.
    first = replace(latents, mode=kinds[0])
    kept: dict[str, Any] = {each.name: getattr(first, each.name) for each in fields(FramePackCacheLatents)}
    return FramePackDrawnLatents(**kept, sections=sections)
