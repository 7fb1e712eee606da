"""A running average of weights."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from reelwright.checkpoint.live_parameters import put
from reelwright.core.errors import CheckpointError
from reelwright.protocols.train_configs import EmaConfig


class Averages:
    """Averages of named tensors that learn, in float32 at least, beside them in memory."""

    def __init__(self, config: EmaConfig, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        """tensors: gives the live tensors by name, the same names each time; they may be sharded ones."""
        self._config = config
        self._live = tensors
        self._averages = {name: _averaged(live).clone() for name, live in tensors().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps, if it is time."""
        if step % self._config.every:
            return
        stays = kept_share(self._config, step)
        for name, live in self._live().items():
            average = self._averages[name]
            if average.is_floating_point():
                average.mul_(stays).add_(_averaged(live), alpha=1 - stays)
            else:
                average.copy_(live.detach())

    def tensors(self) -> dict[str, Tensor]:
        """The averages, live, by the names of what they are averages of."""
        return dict(self._averages)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from these. Raises CheckpointError for names or shapes that do not fit."""
        problems = [
            name
            for name, average in self._averages.items()
            if name not in tensors or tensors[name].shape != average.shape
        ]
        problems += [name for name in tensors if name not in self._averages]
        if problems:
            raise CheckpointError(
                f"The average of the weights does not fit in {len(problems)} tensors:"
                f" {', '.join(problems[:3])}."
                " Use a state of a run that trained the same, or set ema.decay to 0."
            )
        for name, average in self._averages.items():
            put(average, tensors[name])

    @contextmanager
    def shown(self) -> Generator[None]:
        """Within, the live tensors hold the averages; afterwards, bit for bit what they held before.

        Needs memory for one more copy of them.
        """
        live = self._live()
        kept = {name: each.detach().clone() for name, each in live.items()}
        _put(live, self._averages)
        try:
            yield
        finally:
            _put(live, kept)


def kept_share(config: EmaConfig, step: int) -> float:
    """How much of an average stays when it takes in the weights of `step`."""
    each = min(config.decay, (1 + step) / (10 + step)) if config.warmup else config.decay
    # Whoever updates rarely must not remember longer.
    return each**config.every


def _averaged(live: Tensor) -> Tensor:
    """In a number format in which small changes add up."""
    return live.detach().float() if live.dtype in (torch.bfloat16, torch.float16) else live.detach()


@torch.no_grad()
def _put(live: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, each in live.items():
        each.detach().copy_(values[name])
