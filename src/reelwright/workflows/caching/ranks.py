"""Which of several processes this is, where `torchrun` started them."""

import os
from datetime import timedelta

from torch import distributed

_PATIENCE = timedelta(days=7)
"""How long one rank may work longer than another."""


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """How many processes work together; one where nobody says otherwise."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait_for_all() -> None:
    """Return when every rank is here."""
    if num_ranks() == 1:
        return
    distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
