"""`reelwright evaluate CLIP_OR_FOLDER ...`: do clips show what their prompts say?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.evaluate_config import EvaluateConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateLine:
    """Tell whether clips of synthetic scenes show the shapes, colors, motions and backgrounds that their
    prompts name, and how much they flicker and drift."""

    clips: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLIP_OR_FOLDER")] = ()
    """Clips, folders of numbered pictures, or folders in which such are looked for."""
    config: Annotated[EvaluateConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluateConfig)


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright evaluate` and return the exit code."""
    line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("evaluate", vars(line), sinks)


def parse(arguments: Sequence[str]) -> EvaluateLine:
    """What to look at, and the flags. Raises ConfigError."""
    about = " ".join(str(EvaluateLine.__doc__).split())
    line = read_command_line(EvaluateLine, arguments, command="evaluate", about=about)
    if not line.clips:
        raise ConfigError("evaluate: name clips, or folders of clips.")
    return EvaluateLine(clips=line.clips, config=validate(line.config, ORIGIN))
