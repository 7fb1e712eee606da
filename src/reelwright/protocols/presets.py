"""Sets of options by the loss they may cost against an exact run; each family has a table of its own."""

from collections.abc import Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, TypeVar

from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.policy_configs import DECIDES_NOTHING, PolicyConfig, Preset

G = TypeVar("G", bound=GenerateConfig)

PresetTable = Mapping[Preset, Mapping[str, Any]]
"""Preset -> values of options, by their names with sections as in `execution.step_cache`; exact has none."""
LEAST_PSNR: Mapping[Preset, float] = {"exact": 100.0, "balanced": 30.0, "fast": 25.0}
"""Decibels that clips must keep against those of an exact run, on the model's own clips."""

_CACHE = "execution.step_cache"


def option_of(config: GenerateConfig, name: str) -> Any:  # noqa: ANN401 - options are of any type
    """The value of an option by its name with its section."""
    return attrgetter(name)(config)


def with_options(config: G, options: Mapping[str, Any]) -> G:
    """The configuration with other values of options, by their names with sections."""
    for name, value in options.items():
        section, _, key = name.rpartition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{key: value})})
    return config


def with_preset(config: G, preset: Preset, table: PresetTable) -> G:
    """The configuration with the options of a preset, whatever it had."""
    return with_options(config, {"execution.preset": preset, **table[preset]})


def filled(config: G, table: PresetTable) -> G:
    """A configuration that names a preset with its options, unless some of them are set already.

    Front ends that know which options were given have set them: what was given stays.
    """
    preset = config.execution.preset
    if preset is None:
        return config
    default = type(config)()
    if any(option_of(config, name) != option_of(default, name) for name in table[preset]):
        return config
    return with_preset(config, preset, table)


def options_beside(execution: ExecutionConfig, table: PresetTable) -> dict[str, Any]:
    """What of its preset goes with options that were given: where these choose another step cache, nothing
    that the preset says of its own.
    """
    options = dict(table[execution.preset]) if execution.preset is not None else {}
    if _CACHE in options and execution.step_cache != options[_CACHE]:
        return {name: value for name, value in options.items() if not name.startswith(_CACHE)}
    return options


def exactly(config: G, table: PresetTable) -> G:
    """The same run in its place, device and number format, with nothing left out or rounded by choice."""
    default = type(config)()
    policies = {field.name for field in fields(PolicyConfig)} - DECIDES_NOTHING | {"tiling", "tile_size"}
    names = {f"execution.{name}" for name in policies}
    if config.execution.preset is not None:
        names |= table[config.execution.preset].keys()
    return with_options(config, {name: option_of(default, name) for name in names})
