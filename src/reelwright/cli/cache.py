"""`reelwright cache latents|text|... FAMILY --dataset data.toml`: encode data sets and look after caches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from reelwright.cli.actions import list_actions, run_action, take_action, take_family
from reelwright.cli.output import OutputFlags
from reelwright.cli.recipe_line import read_recipe_line
from reelwright.jobs.schemas import UPKEEP, cache_schema
from reelwright.protocols.cache_configs import CacheTask


@dataclass(frozen=True, kw_only=True)
class CacheLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A file with values for any of the flags."""
    config: Annotated[CacheTask, tyro.conf.arg(name="")]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One word after `reelwright cache`."""

    summary: str
    schema: Callable[[str], type[Any]]
    """Family -> what it may be told."""
    workflow: str
    arguments: Mapping[str, object]
    """Those that the workflow takes besides family and config."""


VERBS = {
    "latents": Verb(
        summary="encode clips and pictures",
        schema=lambda family: cache_schema(family, "latents"),
        workflow="cache",
        arguments={"kind": "latents"},
    ),
    "text": Verb(
        summary="encode captions",
        schema=lambda family: cache_schema(family, "text"),
        workflow="cache",
        arguments={"kind": "text"},
    ),
    "verify": Verb(
        summary="read every file and tell what is damaged, foreign, stale or missing",
        schema=lambda _: UPKEEP["verify"],
        workflow="cache_upkeep",
        arguments={"action": "verify"},
    ),
    "prune": Verb(
        summary="remove files that belong to no clip",
        schema=lambda _: UPKEEP["prune"],
        workflow="cache_upkeep",
        arguments={"action": "prune"},
    ),
    "stats": Verb(
        summary="tell what is there",
        schema=lambda _: UPKEEP["stats"],
        workflow="cache_upkeep",
        arguments={"action": "stats"},
    ),
}


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright cache` and return the exit code."""
    return run_action(arguments, output, parse=parse, usage=_usage)


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The workflow and what it is told. Raises ConfigError."""
    action, words = take_action("cache", arguments, VERBS)
    family, words = take_family(action, words)
    verb = VERBS[action]
    schema = verb.schema(family)
    line = read_recipe_line(CacheLine, words, command=f"cache {action}", family=family, schema=schema)
    return verb.workflow, {"family": family, "config": line.config, **verb.arguments}


def _usage() -> str:
    return (
        "usage: reelwright cache ACTION FAMILY [recipe.toml] --dataset data.toml [--flags]\n\n"
        f"{list_actions({name: verb.summary for name, verb in VERBS.items()})}\n"
        "reelwright cache ACTION FAMILY --help lists the flags.\n"
    )
