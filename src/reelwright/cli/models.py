"""`reelwright models list|verify|download|convert`: the files of models by themselves."""

from collections.abc import Sequence

from reelwright.cli.actions import list_actions, run_action, take_action
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags
from reelwright.core.config import validate
from reelwright.protocols.models_configs import MODELS_ACTIONS


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright models` and return the exit code."""
    return run_action(arguments, output, parse=parse, usage=_usage)


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The workflow and what it is told. Raises ConfigError."""
    action, words = take_action("models", arguments, MODELS_ACTIONS)
    schema = MODELS_ACTIONS[action]
    about = " ".join(str(schema.__doc__).split())
    line = read_command_line(schema, words, command=f"models {action}", about=about)
    return "models", {"action": action, **vars(validate(line, ORIGIN))}


def _usage() -> str:
    summaries = {name: " ".join(str(each.__doc__).split()) for name, each in MODELS_ACTIONS.items()}
    return f"usage: reelwright models ACTION ...\n\n{list_actions(summaries)}\nEach action has --help.\n"
