"""What a family tells of the modules that LoRA files may change, and of what those files call them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.loading import expected_shapes

_WEIGHT = ".weight"


@dataclass(frozen=True, kw_only=True)
class AdapterLayout:
    """One way in which files name the modules of a network."""

    key_map: KeyMap
    """Of whole checkpoints in that layout: files of adapters name modules as those name tensors."""
    default_alpha: float | None = None
    """Alpha of files that carry none; None: their rank, that is scale 1."""
    fused_export: str = ""
    """How users call this layout when a file is converted to it; empty where none is."""


@dataclass(frozen=True, kw_only=True)
class AdapterTargets:
    """The modules of one network that have a weight matrix or kernel."""

    name: str
    """Of the network, as users know it."""
    shapes: Mapping[str, tuple[int, ...]]
    """Our module name -> shape of its weight."""
    layouts: tuple[AdapterLayout, ...]
    """The released one first: files that we write use its names."""
    usual: str = ""
    """A regular expression of our names of the modules that trainers change unless told otherwise."""
    attention: str = ""
    """As `usual`, of queries, keys, values and outputs of the blocks' attention."""
    blocks: str = ""
    """As `usual`, of all modules inside the blocks."""

    def usual_modules(self) -> list[str]:
        """The modules that a LoRA usually has, in the network's order."""
        return self._found(self.usual)

    def attention_modules(self) -> list[str]:
        """Those of `attention`, in the network's order."""
        return self._found(self.attention)

    def linear_modules(self) -> list[str]:
        """Every linear layer of the blocks, in the network's order."""
        return [name for name in self._found(self.blocks) if len(self.shapes[name]) == 2]

    def _found(self, pattern: str) -> list[str]:
        return [name for name in self.shapes if re.fullmatch(pattern, name)]


def weight_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of the weight of every linear layer and convolution, by module name."""
    return {
        name.removesuffix(_WEIGHT): shape
        for name, shape in expected_shapes(network).items()
        if name.endswith(_WEIGHT) and len(shape) > 1
    }


ReleasedTargets = Callable[[], tuple[AdapterTargets, ...]]
"""The targets of every released size of a family."""
