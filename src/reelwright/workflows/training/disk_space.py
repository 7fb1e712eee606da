"""Whether there is room for what a run will write, before it trains."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.core.paths import check_writable
from reelwright.core.sizes import size_text
from reelwright.workflows.training.setting import Setting

# Bytes that an optimizer keeps for each value that learns, once it has taken a step. Of those that are not
# here nobody knows, and none are counted: what is asked for is never more than what will be needed.
_OPTIMIZER_BYTES: Mapping[str, float] = {
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "RAdam", "Adamax"), 8.0),
    **dict.fromkeys(("AdamWScheduleFree", "RAdamScheduleFree"), 8.0),
    **dict.fromkeys(("Lion", "SGDScheduleFree", "CAME"), 4.0),
    **dict.fromkeys(("AdamW8bit", "PagedAdamW8bit", "Adam8bit"), 2.0),
    **dict.fromkeys(("Lion8bit", "PagedLion8bit"), 1.0),
}


def check_room(setting: Setting, optimizer: torch.optim.Optimizer, *, has_averages: bool) -> None:
    """Raises FileError, with numbers, if not even one state and one file of weights can be written."""
    tensors = setting.trainables.tensors()
    saving = setting.config.saving
    weights = sum(tensor.numel() for tensor in tensors.values()) * getattr(torch, saving.dtype).itemsize
    needed: dict[Path, dict[str, float]] = {saving.folder or setting.folder: {"saved weights": weights}}
    if saving.state_every_steps or saving.state_every_minutes or saving.state_at_end:
        needed.setdefault(setting.folder, {}).update(
            state_sizes(tensors, optimizer, has_averages=has_averages)
        )
    for folder, sizes in needed.items():
        try:
            check_writable(folder, int(sum(sizes.values())))
        except FileError as error:
            parts = ", ".join(f"{name} {size_text(size)}" for name, size in sizes.items())
            raise FileError(f"{error} At least this run will write there: {parts}.") from error


def state_sizes(
    tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, *, has_averages: bool
) -> dict[str, float]:
    """Bytes of what a state holds, by its kind; at least so many."""
    count = sum(tensor.numel() for tensor in tensors.values())
    bare = getattr(optimizer, "optimizer", optimizer)
    sizes = {
        "weights of a state": float(sum(tensor.nbytes for tensor in tensors.values())),
        "averages": 4.0 * count if has_averages else 0.0,
        "optimizer": _OPTIMIZER_BYTES.get(type(bare).__name__, 0.0) * count,
    }
    return {name: size for name, size in sizes.items() if size}
