"""A preset's options lie over the defaults and under the recipe, which lies under the flags."""

from collections.abc import Callable
from typing import Any, get_args

from reelwright.cli.command_line import ORIGIN
from reelwright.core.errors import ConfigError
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.policy_configs import Preset
from reelwright.protocols.presets import PresetTable, option_of, options_beside, with_options


def with_preset_below(
    line: Any,  # noqa: ANN401 - any line with a configuration
    default: GenerateConfig,
    read_over: Callable[[GenerateConfig], Any],
    table: PresetTable,
) -> Any:  # noqa: ANN401
    """The line again, with the options of the preset that it names under all that recipe and flags give.

    `read_over` reads recipe and flags over a configuration. Raises ConfigError for a preset of which nothing
    is left.
    """
    preset = line.config.execution.preset
    if preset not in get_args(Preset) or not table[preset]:
        return line  # another word than those is refused later, with all else that is wrong
    read = read_over(with_options(default, table[preset]))
    options = options_beside(read.config.execution, table)
    read = read_over(with_options(default, options))
    if not any(option_of(read.config, name) == value for name, value in options.items()):
        raise ConfigError(
            f"{ORIGIN}: execution.preset: {preset} sets {', '.join(table[preset])}, and all of that is given"
            " beside it. Leave that out, or take --execution.preset exact."
        )
    return read
