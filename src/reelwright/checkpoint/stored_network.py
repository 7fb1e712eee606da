"""A network as it lies in files: what it is and what its tensors are called there, with nothing read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.layout_fit import Shape
from reelwright.checkpoint.loading import check_shapes, expected_shapes


@dataclass(frozen=True, kw_only=True)
class StoredNetwork:
    """Files that were described: enough to check them, and to write the same network in another form."""

    path: Path
    """A file or folder."""
    make: Callable[[], nn.Module]
    """The network on the meta device. Raises CheckpointError if its settings are of none."""
    layouts: tuple[KeyMap, ...]
    """In which its files are read; it is written in the first."""
    settings: Callable[[], Mapping[str, Any]]
    """What stands in the config.json beside released files. Raises CheckpointError if that is not known."""
    shapes: Callable[[], Mapping[str, Shape]] | None = None
    """What the network needs from its files, by our names, where that is known before it is made."""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """What goes into the metadata, because tensors do not tell it."""
    keeps_float32: Callable[[str, torch.dtype], bool] = lambda name, dtype: False
    """Whether a tensor, by our name, stays in float32 when the others become that format."""
    roundable: Callable[[nn.Module], Iterable[str]] | None = None
    """The layers whose weights may be written in 8 bits; None where programs expect none."""
    keeps_unread: bool = False
    """Whether tensors that are never read here are written too, since other programs may read them."""
    prefix: str = ""
    """What stands before every name in released files."""
    stem: str = "diffusion_pytorch_model"
    """What released files are called."""

    def check(self) -> None:
        """Raise CheckpointError unless the files hold all tensors of the network, with their shapes."""
        expected = self.shapes() if self.shapes else expected_shapes(self.make())
        check_shapes(expected, self.path, self.layouts)
