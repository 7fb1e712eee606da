"""Which of several processes this is, where `torchrun` started them."""

import hashlib
import os
from collections.abc import Iterable
from datetime import timedelta

from torch import distributed

from reelwright.workflows.caching.orders import Item

_PATIENCE = timedelta(days=7)
"""How long one rank may work longer than another."""


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """How many processes work together; one where nobody says otherwise."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_share(items: Iterable[Item]) -> list[Item]:
    """What this process encodes of the items that are missing; everything where it is the only one.

    Told by the items alone: each rank finds for itself what is missing, and one that begins later finds less.
    """
    return [item for item in items if _number(item) % num_ranks() == rank()]


def _number(item: Item) -> int:
    name = f"{item.folder}\n{item.entries[0].name}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def wait_for_all() -> None:
    """Return when every rank is here."""
    if num_ranks() == 1:
        return
    distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
