"""Who encodes: this process, several of them, the ranks of torchrun, or the machines of a Ray cluster."""

import os
from collections.abc import Generator, Iterable
from contextlib import closing

import torch

from reelwright.protocols.cache_configs import CacheConfig
from reelwright.workflows.caching.encoding import encode_orders, forget_networks
from reelwright.workflows.caching.orders import Order, Outcome
from reelwright.workflows.caching.ranks import num_ranks, rank
from reelwright.workflows.caching.worker_processes import on_device, run_in_processes

_MOST_ALONE, _MOST_SHARED = 64, 8
_ORDERS_EACH = 4
_WORKERS_OF_A_CLUSTER = 16  # a guess: nobody knows how large it will be


def run_orders(orders: Iterable[Order], config: CacheConfig) -> Generator[Outcome]:
    """Encode what is ordered and yield the outcome of each item as it comes, in any order.

    An item that fails is an ItemFailed, and a worker that is lost only costs what it had not finished. Under
    torchrun a rank encodes what it is given, on its own device. Raises UserError for what concerns all items.
    However this ends, what it started ends with it.
    """
    if num_ranks() > 1:
        return _run_here(on_device(order, _device_of_rank(config)) for order in orders)
    if config.executor == "ray":
        from reelwright.workflows.caching.ray_tasks import run_in_cluster  # noqa: PLC0415 - needs an extra

        return run_in_cluster(orders, config)
    devices = devices_of(config)
    return _run_here(orders) if len(devices) == 1 else run_in_processes(orders, devices)


def devices_of(config: CacheConfig) -> list[str]:
    """The device of each process: GPUs in turn, unless one is named."""
    name, num_gpus = config.execution.device, _num_gpus(config)
    count = config.processes or max(num_gpus, 1)
    return [f"cuda:{number % num_gpus}" if num_gpus else name for number in range(count)]


def order_size(num_items: int, config: CacheConfig) -> int:
    """Items to an order: many where one process takes all, else so few that none idles while others end."""
    if num_ranks() > 1 or (config.executor == "local" and len(devices_of(config)) == 1):
        return _MOST_ALONE
    num_workers = _WORKERS_OF_A_CLUSTER if config.executor == "ray" else len(devices_of(config))
    return max(min(num_items // (_ORDERS_EACH * num_workers), _MOST_SHARED), 1)


def _run_here(orders: Iterable[Order]) -> Generator[Outcome]:
    with closing(encode_orders(orders)) as outcomes:
        try:
            yield from outcomes
        finally:
            forget_networks()


def _num_gpus(config: CacheConfig) -> int:
    """Those that may be chosen from; 0 where one device is named, or there are none."""
    if config.execution.device not in ("auto", "cuda"):
        return 0
    return torch.cuda.device_count()


def _device_of_rank(config: CacheConfig) -> str:
    num_gpus = _num_gpus(config)
    local_rank = int(os.environ.get("LOCAL_RANK", str(rank())))
    return f"cuda:{local_rank % num_gpus}" if num_gpus else config.execution.device
