"""Any command line that makes something, as an order for the queue."""

from collections.abc import Callable, Mapping, Sequence

from reelwright.cli import cache, generate, resume, train
from reelwright.core.errors import ConfigError
from reelwright.jobs.order import Order, order_of

Call = tuple[str, Mapping[str, object]]
"""The name of a workflow, and what it is called with."""


def _generate(words: Sequence[str]) -> Call:
    family, line = generate.parse(words)
    if line.interactive:
        raise ConfigError(
            "interactive: prompts are typed while it runs. Give them with --prompt or --from-file."
        )
    return "generate", {"family": family, "config": line.config}


def _train(words: Sequence[str]) -> Call:
    train.check_installed()
    family, line = train.parse(words)
    return "train", {"family": family, "config": line.config}


def _resume(words: Sequence[str]) -> Call:
    return resume.call_of(resume.parse(words))


COMMANDS: Mapping[str, Callable[[Sequence[str]], Call]] = {
    "generate": _generate,
    "train": _train,
    "cache": cache.parse,
    "resume": _resume,
}
"""Those whose work a job can do."""


def order_from(words: Sequence[str]) -> Order:
    """What a command line asks for. Raises ConfigError as the command itself does."""
    command, *rest = words
    if not rest:
        raise ConfigError(f"{command}: needs more words. reelwright {command} --help tells which.")
    return order_of(*COMMANDS[command](rest))
