"""Orders as tasks of a Ray cluster: one that is started on this machine, or one of many machines."""

import logging
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from reelwright.core.errors import ConfigError, UserError
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.workflows.caching.backlog import Attempt, Backlog
from reelwright.workflows.caching.encoding import encode_order
from reelwright.workflows.caching.orders import Order, Outcome

_SECONDS_TO_LEAVE = 10.0
_QUIET = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
_STORE_BYTES = 80 * 2**20
"""Of Ray's own memory for results, which are a few lines each; about the least that it takes."""


def run_in_cluster(orders: Iterable[Order], config: CacheConfig) -> Generator[Outcome]:
    """Encode orders as Ray tasks, and yield each item's outcome as it comes.

    A worker or a machine that is lost costs the items that it has not reported: they are tried again
    elsewhere. Raises ConfigError where there is no Ray or no cluster, UserError for what concerns all items.
    """
    with _connected(config) as ray:
        share = _share_of_task(ray, config)
        encode = ray.remote(
            # What is lost is tried again by the backlog, which knows what was reported before.
            **{"num_returns": "streaming", "max_retries": 0, "num_cpus": share.cpus, "num_gpus": share.gpus}
        )(_encode)
        backlog = Backlog(orders)
        running: dict[Any, Attempt] = {}
        try:
            while True:
                while len(running) < 2 * share.number_in(ray) and (attempt := backlog.take()) is not None:
                    running[encode.remote(attempt.order, str(Path.cwd()))] = attempt
                if not running:
                    return
                for task in ray.wait(list(running), num_returns=1)[0]:
                    yield from _hear(ray, task, running, backlog)
        finally:
            _cancel(ray, list(running))


def _hear(
    ray: ModuleType, task: Iterator[Any], running: dict[Any, Attempt], backlog: Backlog
) -> Iterator[Outcome]:
    """What a task has to say next."""
    errors = ray.exceptions
    try:
        outcome: Outcome = ray.get(next(task))
    except StopIteration:
        del running[task]
    except errors.RayTaskError as error:
        raise _raised_in_task(error.cause) from error
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError):
        yield from backlog.lose(running.pop(task))
    except errors.RayError as error:
        raise UserError(f"Ray cannot go on: {_first_line(error)} Look after the cluster.") from error
    else:
        backlog.note(running[task], outcome)
        yield outcome


def _encode(order: Order, folder: str) -> Iterator[Outcome]:
    """A task. `folder` is where whoever ordered works: paths may be relative to it."""
    if Path(folder).is_dir():
        os.chdir(folder)
    yield from encode_order(order)


def _raised_in_task(error: BaseException) -> Exception:
    if isinstance(error, UserError):
        return error
    return RuntimeError(f"A worker failed: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _cancel(ray: ModuleType, tasks: Sequence[Any]) -> None:
    """End tasks that nobody waits for any more; they remove what they have half written."""
    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS_TO_LEAVE)


@dataclass(frozen=True, kw_only=True)
class _Share:
    """What a task takes of a machine."""

    cpus: int
    gpus: int

    def number_in(self, ray: ModuleType) -> int:
        """How many tasks the cluster, as large as it is now, can run at a time."""
        there: dict[str, float] = ray.cluster_resources()
        by_cpu = int(there.get("CPU", 1) // self.cpus)
        return max(min(by_cpu, int(there.get("GPU", 0) // self.gpus)) if self.gpus else by_cpu, 1)


def _share_of_task(ray: ModuleType, config: CacheConfig) -> _Share:
    """A GPU where there are any, and the processors that fall to each task."""
    machines: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = max((int(machine.get("GPU", 0)) for machine in machines), default=0)
    takes_gpu = gpus > 0 and config.execution.device in ("auto", "cuda")
    at_a_time = config.processes or (gpus if takes_gpu else 1)
    cpus = min((int(machine.get("CPU", 1)) for machine in machines), default=1)
    return _Share(cpus=max(cpus // at_a_time, 1), gpus=int(takes_gpu))


@contextmanager
def _connected(config: CacheConfig) -> Generator[ModuleType]:
    """Ray, connected to a cluster; what was started for this is stopped at the end."""
    ray = _import_ray(is_local=not config.ray_address)
    if ray.is_initialized():
        yield ray
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if config.ray_address:
            ray.init(address=config.ray_address, **_QUIET)
        else:
            cpus = max(torch.get_num_threads(), config.processes)
            ray.init("local", num_cpus=cpus, object_store_memory=_STORE_BYTES, **_QUIET)
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        place = config.ray_address or "a cluster on this machine"
        raise ConfigError(f"ray_address: {place} cannot be used: {_first_line(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
    try:
        yield ray
    finally:
        ray.shutdown()


def _import_ray(*, is_local: bool) -> ModuleType:
    """Ray, told to send nothing anywhere and to print nothing; on this machine alone where it is started.

    It reads these settings when it is imported.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its reports of lost workers go to stdout
    if is_local:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listens on 127.0.0.1 everywhere
    else:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # else it waits ten minutes for no cluster
    try:
        return import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "executor: ray is not installed. Run: pip install 'reelwright[cluster]', or use local."
        ) from error
