"""Commands of several actions: `reelwright COMMAND ACTION ...`."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from reelwright import families
from reelwright.cli.command_line import ORIGIN
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.errors import ConfigError, suggestion
from reelwright.jobs.job import run_workflow

Parse = Callable[[Sequence[str]], tuple[str, Mapping[str, object]]]
"""From the words after the command to the name of a workflow and what it is told. Raises ConfigError."""


def run_action(
    arguments: Sequence[str], output: OutputFlags, *, parse: Parse, usage: Callable[[], str]
) -> int:
    """Run what the words after the command ask for and return the exit code; without words, the usage."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(usage())
        return 0 if arguments else ConfigError.exit_code
    workflow, job = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow(workflow, job, sinks)


def take_action(command: str, arguments: Sequence[str], actions: Iterable[str]) -> tuple[str, list[str]]:
    """The action and the words after it. Raises ConfigError for what is none."""
    action, *words = arguments
    if action not in (known := list(actions)):
        raise ConfigError(f"{command}: {action!r} is no action. {suggestion(action, known)}")
    return action, words


def take_family(action: str, words: Sequence[str]) -> tuple[str, list[str]]:
    """The family that comes after an action, and the words after it. Raises ConfigError."""
    if not words or words[0].startswith("-"):
        raise ConfigError(
            f"{ORIGIN}: the family comes after {action}: {', '.join(families.names())}."
            " After it, --help lists the flags."
        )
    return words[0], list(words[1:])


def list_actions(summaries: Mapping[str, str]) -> str:
    """A line for each, for the usage."""
    width = max(map(len, summaries))
    return "".join(f"  {name:<{width}}  {summary}\n" for name, summary in summaries.items())
