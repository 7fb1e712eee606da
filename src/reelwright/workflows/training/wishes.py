"""What a user asks of a run while it goes on: by a signal, or by a file in its folder."""

import time
from enum import IntEnum
from pathlib import Path

import torch
from accelerate import Accelerator

SAVE_FILE, STOP_FILE = "save", "stop"
"""Files that may be put into a run folder: write weights and state now; or do so and end."""


class Wish(IntEnum):
    """The stronger one holds."""

    NOTHING = 0
    STATE = 1
    SAVE = 2
    STOP = 3
    INTERRUPT = 4


class Wishes:
    """Asked after each step; all processes get the same answer."""

    def __init__(self, folder: Path, accelerator: Accelerator, state_every_minutes: float) -> None:
        self._folder = folder
        self._accelerator = accelerator
        self._seconds = state_every_minutes * 60.0
        self._saved = time.monotonic()

    def ask(self, *, is_interrupted: bool) -> Wish:
        """The strongest wish of any process. A file that was seen is removed."""
        wish = Wish.INTERRUPT if is_interrupted else self._asked_of_main()
        if self._accelerator.num_processes == 1:
            return wish
        wishes = torch.tensor([int(wish)], device=self._accelerator.device)
        told = self._accelerator.gather(wishes)
        assert isinstance(told, torch.Tensor)
        return Wish(int(told.max()))

    def state_was_saved(self) -> None:
        self._saved = time.monotonic()

    def _asked_of_main(self) -> Wish:
        if not self._accelerator.is_main_process:
            return Wish.NOTHING
        if _take(self._folder / STOP_FILE):
            return Wish.STOP
        if _take(self._folder / SAVE_FILE):
            return Wish.SAVE
        is_old = self._seconds and time.monotonic() - self._saved >= self._seconds
        return Wish.STATE if is_old else Wish.NOTHING


def _take(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
