"""`reelwright plan generate|train|cache ... FAMILY [recipe.toml] [--flags]`: what a run will take."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from reelwright import families
from reelwright.cli.actions import list_actions, take_action, take_family
from reelwright.cli.command_line import ORIGIN
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.cli.plan_table import write_plan
from reelwright.cli.recipe_line import read_recipe_line
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.plan_config import PlanConfig

_ACTIONS = {
    "generate": "clips that are made",
    "train": "a denoiser that is trained",
    "cache": "data sets that are encoded: cache latents, or cache text",
}
_KINDS = {"latents": "CACHE_LATENTS", "text": "CACHE_TEXT"}


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A file with values for any of the flags."""
    plan: Annotated[PlanConfig, tyro.conf.arg(name="")] = field(default_factory=PlanConfig)
    config: Annotated[Any, tyro.conf.arg(name="")]


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright plan` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_usage())
        return 0 if arguments else ConfigError.exit_code
    job = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("plan", job, sinks if output.json else [*sinks, write_plan])


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """What the workflow is told. Raises ConfigError."""
    action, words = take_action("plan", arguments, _ACTIONS)
    command = action
    if action == "cache":
        if not words:
            raise ConfigError(f"{ORIGIN}: cache: say {' or '.join(_KINDS)}, then the family.")
        kind, words = take_action("plan cache", words, _KINDS)
        command = f"cache {kind}"
    family, words = take_family(command, words)
    configs = families.configs(family)
    schemas = {"generate": "GENERATE", "train": "TRAIN", **{f"cache {k}": v for k, v in _KINDS.items()}}
    schema: type[Any] = getattr(configs, schemas[command])
    line = read_recipe_line(
        PlanLine, words, command=f"plan {command}", family=family, schema=schema, workflow=command
    )
    return {
        "family": family,
        "command": action,
        "config": line.config,
        "plan": validate(line.plan, ORIGIN),
    }


def _usage() -> str:
    return (
        "usage: reelwright plan ACTION FAMILY [recipe.toml] [--flags]\n\n"
        f"{list_actions(_ACTIONS)}\n"
        "The flags are those of the command that is planned; --gpu plans for a card that is not here,\n"
        "--execution.vram 8 --execution.ram 16 for so many GB.\n"
        "reelwright plan ACTION FAMILY --help lists all.\n"
    )
