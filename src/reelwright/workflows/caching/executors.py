"""Who encodes: this process, several of them, the ranks of torchrun, or the machines of a Ray cluster."""

import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import torch

from reelwright.protocols.cache_configs import CacheConfig
from reelwright.workflows.caching.encoding import encode_orders, forget_networks
from reelwright.workflows.caching.orders import Item, Order, Outcome
from reelwright.workflows.caching.ranks import num_ranks, rank
from reelwright.workflows.caching.worker_processes import on_device, run_in_processes


def run_orders(orders: Iterable[Order], config: CacheConfig) -> Generator[Outcome]:
    """Encode what is ordered and yield the outcome of each item as it comes, in any order.

    An item that fails is an ItemFailed, and a worker that is lost only costs what it had not finished. Under
    torchrun only this rank's share is encoded. Raises UserError for what concerns all items. However this
    ends, what it started ends with it.
    """
    if num_ranks() > 1:
        share = (on_device(order, _device_of_rank(config)) for order in shares(orders, rank(), num_ranks()))
        return _run_here(share)
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


def shares(orders: Iterable[Order], share: int, num_shares: int) -> Iterator[Order]:
    """What one of several encoders takes.

    Told by the items alone: each encoder plans for itself, and may find other items missing than the one that
    began before it.
    """
    for order in orders:
        items = tuple(item for item in order.items if _number(item) % num_shares == share)
        if items:
            yield replace(order, items=items)


def _number(item: Item) -> int:
    name = f"{item.folder}\n{item.entries[0].name}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


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
