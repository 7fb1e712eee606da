"""What is written of a clip while it is decoded begins again, in smaller tiles, when memory runs out."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from reelwright.core.errors import MemoryLimitError, is_out_of_memory
from reelwright.core.events import Event, Notice
from reelwright.execution.smaller_tiles import RAISED, SMALLEST, release_memory
from reelwright.protocols.configs import GenerateConfig


def until_it_fits(write: Callable[[], Iterator[Event]], lessen: Callable[[], str]) -> Iterator[Event]:
    """The events of `write`, which is called again each time that memory runs out.

    lessen: has it need less, and says how; "" where it cannot. Raises MemoryLimitError then. `write` leaves
    nothing behind when it fails.
    """
    while True:
        try:
            yield from write()
        except RAISED as error:
            if not is_out_of_memory(error):
                raise
            change = lessen()
            if not change:
                raise MemoryLimitError(
                    f"There is not enough memory to decode: {_first_line(error)}"
                ) from error
        else:
            return
        release_memory()
        yield Notice(change)


def how_to_decode(family: str, latents: Path, config: GenerateConfig) -> str:
    """What to do with latents that could not be decoded; alone, they leave memory to the autoencoder."""
    side = min(config.execution.tile_size or SMALLEST, SMALLEST)
    words = ("reelwright", "generate", family, "--from-latent", str(latents), "--execution.tiling")
    command = shlex.join([*words, "--execution.tile-size", str(side)])
    return f"The latents are kept in {latents}. With no other network in memory they may fit: {command}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
