"""`reelwright lora inspect|convert|merge|extract|ema`: LoRA files by themselves."""

from collections.abc import Sequence

from reelwright.cli.actions import list_actions, run_action, take_action
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.protocols.lora_configs import LORA_ACTIONS, EmaLine, MergeLine


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright lora` and return the exit code."""
    return run_action(arguments, output, parse=parse, usage=_usage)


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The workflow and what it is told. Raises ConfigError."""
    action, words = take_action("lora", arguments, LORA_ACTIONS)
    schema = LORA_ACTIONS[action]
    line = read_command_line(schema, words, command=f"lora {action}", about=str(schema.__doc__))
    if isinstance(line, MergeLine | EmaLine) and len(line.files) < 2:
        raise ConfigError(f"lora {action}: give at least two files.")
    return "lora", {"action": action, **vars(validate(line, ORIGIN))}


def _usage() -> str:
    listed = list_actions({action: str(schema.__doc__) for action, schema in LORA_ACTIONS.items()})
    return f"usage: reelwright lora ACTION FILE ...\n\n{listed}\nEach action has --help.\n"
