"""Where a job works, under which name, and with which chance, settled when it is added."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reelwright.core.errors import ConfigError
from reelwright.jobs.job_record import Job
from reelwright.jobs.order import Order
from reelwright.jobs.stored_runs import RECIPE

_TITLE_LENGTH = 80
_SEEDS = 2**31


def with_seeds(order: Order) -> Order:
    """The order with every seed that was left to chance drawn, so that a job gone on with makes the same."""
    # A training that goes on from a state has its seed from there.
    draws = order.workflow == "generate" or (order.workflow == "train" and "state" not in order.values)
    if draws and order.values.get("seed", -1) == -1:
        return replace(order, values={**order.values, "seed": secrets.randbelow(_SEEDS)})
    if order.workflow == "redo" and order.options.get("seed") is None:
        return replace(order, options={**order.options, "seed": secrets.randbelow(_SEEDS)})
    return order


def title_of(order: Order) -> str:
    """The prompt, or what is done."""
    words = " ".join(str(order.values.get("prompt", "")).split())
    return words[:_TITLE_LENGTH] or f"{order.workflow} {order.family}".strip()


def run_folder(order: Order, arguments: Mapping[str, Any], identity: str) -> Path | None:
    """The run folder that the order names, or a new one where it says that outputs go; None if it has none.

    Raises ConfigError for a branch into a folder that holds a run.
    """
    if order.workflow == "redo":
        return _redone_folder(arguments)
    said = _said(arguments)
    if not {"run", "out"} <= said.keys():
        return None
    name = "-".join(filter(None, (order.family or order.workflow, identity[:6])))
    return (said["run"] or said["out"] / f"{datetime.now():%Y%m%d-%H%M%S}_{name}").absolute()


def new_run_folder(job: Job, order: Order, arguments: Mapping[str, Any]) -> tuple[Path | None, bool]:
    """Where a job works after its order was changed, and whether that folder is its own.

    Clips give way to those of another order. A training does not: it starts anew in another folder.
    """
    is_named = _said(arguments).get("run") is not None or "run" in {**job.order.values, **job.order.options}
    if is_named or order.workflow == "redo" or job.order.workflow != order.workflow:
        run = run_folder(order, arguments, job.id)
        return run, run is not None and ((run == job.run and job.owns_run) or is_untouched(run))
    if job.run is None or order.workflow == "generate" or order == job.order or is_untouched(job.run):
        return job.run, job.owns_run
    free = (job.run.with_name(f"{job.run.name}-{number}") for number in range(2, 1000))
    return next(folder for folder in free if not folder.exists()), True


def is_untouched(run: Path) -> bool:
    """Whether no run is in this folder."""
    return not (run / RECIPE).exists()


def _said(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where `out` and `run` are, for workflows that have them."""
    return vars(arguments["config"]) if "config" in arguments else arguments


def _redone_folder(arguments: Mapping[str, Any]) -> Path:
    branch: Path | None = arguments["branch"]
    run: Path | None = arguments["config"].run
    if run is None:
        raise ConfigError("run: is missing. Say in which run folder a section is made again.")
    if branch is None:
        return run.absolute()
    if not is_untouched(branch):
        raise ConfigError(f"branch: {branch} holds a run already. Name a new folder.")
    return branch.absolute()
