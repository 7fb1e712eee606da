"""`reelwright comfy install DIR`: have ComfyUI find the nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reelwright.cli.actions import list_actions, run_action, take_action
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags
from reelwright.core.config import validate


@dataclass(frozen=True, kw_only=True)
class InstallLine:
    """Put the nodes for video models into a ComfyUI, where its page then lists them under Reelwright."""

    comfyui: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The folder with ComfyUI's main.py."""
    copy: bool = False
    """Copy them; without it a link is made, where the system allows one, which stays up to date."""


LINES: Mapping[str, type] = {"install": InstallLine}
"""For the reference pages."""
_SUMMARIES = {"install DIR": "put the nodes into a ComfyUI"}


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright comfy` and return the exit code."""
    return run_action(arguments, output, parse=parse, usage=_usage)


def parse(arguments: Sequence[str]) -> tuple[str, Mapping[str, object]]:
    """The workflow and what it is told. Raises ConfigError."""
    _, words = take_action("comfy", arguments, LINES)
    about = " ".join(str(InstallLine.__doc__).split())
    line = read_command_line(InstallLine, words, command="comfy install", about=about)
    return "install_nodes", vars(validate(line, ORIGIN))


def _usage() -> str:
    return f"usage: reelwright comfy ACTION ...\n\n{list_actions(_SUMMARIES)}"
