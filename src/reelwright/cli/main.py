"""`reelwright COMMAND ...`: finds the command and runs it; imports nothing that the command does not need."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from reelwright import __version__
from reelwright.cli.output import OutputFlags, failure_sinks, split_output_flags
from reelwright.core.errors import ConfigError, UserError, suggestion
from reelwright.core.events import Failed


@dataclass(frozen=True)
class Command:
    """One word after `reelwright`. Its `module` has `run(arguments, output_flags) -> exit code`."""

    module: str
    usage: str
    summary: str


COMMANDS = {
    "generate": Command(
        "reelwright.cli.generate",
        "generate FAMILY [recipe.toml] [--flags]",
        "make video from words, an image or a clip",
    ),
    "replay": Command(
        "reelwright.cli.replay",
        "replay FILE [--flags]",
        "make an output again from the record inside it",
    ),
    "resume": Command(
        "reelwright.cli.resume",
        "resume RUN",
        "go on with a run that was stopped",
    ),
    "cache": Command(
        "reelwright.cli.cache",
        "cache latents|text|... FAMILY --dataset data.toml",
        "encode data sets for training",
    ),
    "train": Command(
        "reelwright.cli.train",
        "train FAMILY recipe.toml [--flags]",
        "fine-tune a model on encoded data sets",
    ),
    "plan": Command(
        "reelwright.cli.plan",
        "plan generate|train|cache ... FAMILY [--flags]",
        "tell what a run will take in memory, disk and time, and what makes it fit",
    ),
    "lora": Command(
        "reelwright.cli.lora",
        "lora inspect|convert|merge FILE ...",
        "look into LoRA files, write them in another layout, make one of several",
    ),
    "models": Command(
        "reelwright.cli.models",
        "models list|verify|download|convert ...",
        "tell which models are here, read them, fetch what is missing, write them in another form",
    ),
    "dataset": Command(
        "reelwright.cli.dataset",
        "dataset ACTION ...",
        "make data sets of synthetic clips, look at what will be trained on",
    ),
    "comfy": Command(
        "reelwright.cli.comfy",
        "comfy install DIR",
        "put the nodes for ComfyUI into its folder",
    ),
    "bench": Command(
        "reelwright.cli.bench",
        "bench FAMILY [recipe.toml] [--flags]",
        "measure what shortcuts save and what they cost, beside the exact run",
    ),
    "doctor": Command(
        "reelwright.cli.doctor",
        "doctor [FAMILY]",
        "tell what this machine can do, and the command that mends each problem",
    ),
    "studio": Command(
        "reelwright.cli.studio",
        "studio [--flags]",
        "serve the pages in the browser and REST",
    ),
    "queue": Command(
        "reelwright.cli.queue",
        "queue ACTION ...",
        "let jobs wait for their turn, and do them",
    ),
    "curves": Command(
        "reelwright.cli.curves",
        "curves RUN ...",
        "draw how training went",
    ),
    "evaluate": Command(
        "reelwright.cli.evaluate",
        "evaluate CLIP_OR_FOLDER ...",
        "tell whether clips show what their prompts say, and how steady they are",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 usage, 3 memory, 130/143 stopped."""
    return run_guarded(_dispatch, arguments)


def run_guarded(
    command: Callable[[Sequence[str], OutputFlags], int], arguments: Sequence[str] | None = None
) -> int:
    """Run a command with the words of this process, or others; what goes wrong becomes its exit code."""
    flags, words = split_output_flags(sys.argv[1:] if arguments is None else arguments)
    if flags.debug:
        _log_to_stderr()
    try:
        return command(words, flags)
    except UserError as error:
        for sink in failure_sinks(flags):
            sink(Failed(type(error).__name__, str(error)))
        return error.exit_code
    except SystemExit as stop:
        if stop.code:
            raise
        return 0  # the help of a command was shown
    except BrokenPipeError:  # a reader that left early, as `head` does, is no error
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        _flush()


def _dispatch(words: Sequence[str], flags: OutputFlags) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        sys.stdout.write(_help())
        return 0
    if words[0] in ("--version", "-V"):
        sys.stdout.write(f"reelwright {__version__}\n")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        raise ConfigError(f"{words[0]}: unknown command. {suggestion(words[0], COMMANDS)}")
    return import_module(command.module).run(list(words[1:]), flags)


def _help() -> str:
    width = max(len(command.usage) for command in COMMANDS.values())
    commands = "".join(f"  {item.usage:<{width}}  {item.summary}\n" for item in COMMANDS.values())
    return (
        "Generate video with open diffusion models.\n\n"
        "usage: reelwright COMMAND ...\n\n"
        f"{commands}\n"
        "Each command has --help. Everywhere: --json (events as JSON lines on stdout), --quiet, --debug.\n"
        "reelwright --version prints the version.\n"
    )


def _log_to_stderr() -> None:
    import logging  # noqa: PLC0415 - only where asked for; --help should not wait for it

    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("reelwright").setLevel(logging.DEBUG)


def _flush() -> None:
    """Write out what is buffered now, while a reader that left early can still be forgiven."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
