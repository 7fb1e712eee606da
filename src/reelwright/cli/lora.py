"""`reelwright lora inspect|convert|merge`: LoRA files by themselves."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, suggestion
from reelwright.jobs.job import run_workflow


@dataclass(frozen=True, kw_only=True)
class _File:
    family: str = ""
    """Which family's names to go by; empty tries all."""
    alpha: Annotated[float, Ge(0.0)] = 0.0
    """Alpha of a file that says none; 0 is unset."""


@dataclass(frozen=True, kw_only=True)
class InspectLine(_File):
    """Tell what a LoRA file holds: layout, model, ranks, alphas, modules, norms, metadata."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A LoRA, LoHa or LoKr in any known layout."""


@dataclass(frozen=True, kw_only=True)
class ConvertLine(_File):
    """Write a LoRA in another layout; what it changes stays the same."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A LoRA, LoHa or LoKr in any known layout."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The file to write; with --to peft also a folder."""
    to: str = "native"
    """native (kohya and musubi-tuner), peft, diffusers, or hunyuan-fused where the family has it."""


@dataclass(frozen=True, kw_only=True)
class MergeLine(_File):
    """Make one LoRA of several, exactly: it does what they do together, and its rank is the sum of theirs."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = ()
    """LoRAs in any known layouts."""
    out: Path = field(default=Path("merged.safetensors"))
    """The file to write."""
    multipliers: tuple[float, ...] = ()
    """How strongly each is taken; 1 where none is given."""
    to: str = "native"
    """The layout of the file, as for convert."""


Line = InspectLine | ConvertLine | MergeLine
LINES: dict[str, type[Line]] = {"inspect": InspectLine, "convert": ConvertLine, "merge": MergeLine}


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright lora` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_help())
        return 0 if arguments else ConfigError.exit_code
    action, line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("lora", {"action": action, **vars(line)}, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, Line]:
    """The action and its options. Raises ConfigError."""
    action = arguments[0]
    if action not in LINES:
        raise ConfigError(f"lora: {action!r} is no action. {suggestion(action, LINES)}")
    schema = LINES[action]
    line = read_command_line(schema, arguments[1:], command=f"lora {action}", about=str(schema.__doc__))
    if isinstance(line, MergeLine) and len(line.files) < 2:
        raise ConfigError("lora merge: give at least two files.")
    return action, validate(line, ORIGIN)


def _help() -> str:
    lines = "".join(f"  {action:<8}  {schema.__doc__}\n" for action, schema in LINES.items())
    return f"usage: reelwright lora ACTION FILE ...\n\n{lines}\nEach action has --help.\n"
