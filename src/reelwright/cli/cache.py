"""`reelwright cache latents|text|... FAMILY --dataset data.toml`: encode data sets and look after caches."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from reelwright import families
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import read_recipe, validate
from reelwright.core.errors import ConfigError, suggestion
from reelwright.jobs.job import run_workflow
from reelwright.protocols.cache_configs import CachePruneConfig, CacheTask, CacheVerifyConfig


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
        schema=lambda family: families.configs(family).CACHE_LATENTS,
        workflow="cache",
        arguments={"kind": "latents"},
    ),
    "text": Verb(
        summary="encode captions",
        schema=lambda family: families.configs(family).CACHE_TEXT,
        workflow="cache",
        arguments={"kind": "text"},
    ),
    "verify": Verb(
        summary="read every file and tell what is damaged, foreign, stale or missing",
        schema=lambda _: CacheVerifyConfig,
        workflow="cache_upkeep",
        arguments={"action": "verify"},
    ),
    "prune": Verb(
        summary="remove files that belong to no clip",
        schema=lambda _: CachePruneConfig,
        workflow="cache_upkeep",
        arguments={"action": "prune"},
    ),
    "stats": Verb(
        summary="tell what is there",
        schema=lambda _: CacheTask,
        workflow="cache_upkeep",
        arguments={"action": "stats"},
    ),
}


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright cache` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_help())
        return 0 if arguments else ConfigError.exit_code
    verb, family, config = parse(arguments)
    with open_sinks(output) as sinks:
        job = {"family": family, "config": config, **VERBS[verb].arguments}
        return run_workflow(VERBS[verb].workflow, job, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, str, Any]:
    """The verb, the family and what is asked of it. Raises ConfigError."""
    verb, *rest = arguments
    if verb not in VERBS:
        raise ConfigError(f"cache: {verb!r} is no action. {suggestion(verb, VERBS)}")
    if not rest or (rest[0].startswith("-") and rest[0] not in ("--help", "-h")):
        raise ConfigError(f"{ORIGIN}: the family comes after {verb}: {', '.join(families.names())}.")
    if rest[0] in ("--help", "-h"):
        raise ConfigError(
            f"reelwright cache {verb} FAMILY --help lists the flags: {', '.join(families.names())}."
        )
    family, *words = rest
    schema = VERBS[verb].schema(family)
    line = _read(verb, family, words, schema())
    if line.recipe is not None:
        identity = {"workflow": f"cache {verb}", "family": family}
        line = _read(verb, family, words, read_recipe(line.recipe, schema, identity))
    return verb, family, replace(line, config=validate(line.config, ORIGIN)).config


def _read(verb: str, family: str, words: Sequence[str], default: CacheTask) -> CacheLine:
    return read_command_line(
        CacheLine,
        words,
        command=f"cache {verb} {family}",
        about=str(default.__doc__),
        default=CacheLine(config=default),
    )


def _help() -> str:
    width = max(map(len, VERBS))
    listed = "".join(f"  {name:<{width}}  {verb.summary}\n" for name, verb in VERBS.items())
    return (
        "usage: reelwright cache ACTION FAMILY [recipe.toml] --dataset data.toml [--flags]\n\n"
        f"{listed}\nreelwright cache ACTION FAMILY --help lists the flags.\n"
    )
