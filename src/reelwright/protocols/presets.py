"""Sets of options by the loss they may cost against an exact run; each family has a table of its own."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.policy_configs import DECIDES_NOTHING, PolicyConfig, Preset

G = TypeVar("G", bound=GenerateConfig)

PresetTable = Mapping[Preset, Mapping[str, Any]]
"""Preset -> fields of the execution options; exact has none."""
LEAST_PSNR: Mapping[Preset, float] = {"exact": 100.0, "balanced": 30.0, "fast": 25.0}
"""Decibels that clips must keep against those of an exact run, on the model's own clips."""

_CACHE = "step_cache"


def with_preset(config: G, preset: Preset, table: PresetTable) -> G:
    """The configuration with the options of a preset, whatever it had."""
    return replace(config, execution=replace(config.execution, preset=preset, **table[preset]))


def filled(config: G, table: PresetTable) -> G:
    """A configuration that names a preset with its options, unless some of them are set already.

    Front ends that know which options were given have set them: what was given stays.
    """
    execution = config.execution
    if execution.preset is None:
        return config
    default = ExecutionConfig()
    names = table[execution.preset]
    if any(getattr(execution, name) != getattr(default, name) for name in names):
        return config
    return with_preset(config, execution.preset, table)


def options_beside(execution: ExecutionConfig, table: PresetTable) -> dict[str, Any]:
    """What of its preset goes with options that were given: where these choose another step cache, nothing
    that the preset says of its own.
    """
    options = dict(table[execution.preset]) if execution.preset is not None else {}
    if _CACHE in options and execution.step_cache != options[_CACHE]:
        return {name: value for name, value in options.items() if not name.startswith(_CACHE)}
    return options


def exactly(execution: ExecutionConfig) -> ExecutionConfig:
    """The same place, device and number format, with nothing left out or rounded by choice."""
    default = ExecutionConfig()
    names = {field.name for field in fields(PolicyConfig)} - DECIDES_NOTHING | {"tiling", "tile_size"}
    return replace(execution, **{name: getattr(default, name) for name in names})
