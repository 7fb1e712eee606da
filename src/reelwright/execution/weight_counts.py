"""How many numbers the parts of a denoiser hold, and how many bytes these are under a policy."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from reelwright.execution.block_swap import swapped_places
from reelwright.execution.stacks import modulations_of, stacks_of
from reelwright.protocols.policy_configs import PolicyConfig, WeightFormat

_BITS: dict[WeightFormat, float] = {"fp8": 8, "fp8_scaled": 8.5, "int8": 8.1, "int4": 4.5}
"""Of each number that is quantized, with its share of the scales."""

_ON_THE_WAY = 2
"""Swapped blocks that are on the device: one at work, one that comes."""
_SHARE_OF_TABLES = 4
"""Tables are made in turns, each of so much less than the weights."""


@dataclass(frozen=True, kw_only=True)
class BlockCount:
    """Parameters of one block."""

    total: int
    quantized: int
    """Of them, those that may be held in few bits."""
    modulations: int
    """Of them, those that only answer to the timestep."""


@dataclass(frozen=True, kw_only=True)
class WeightCounts:
    """Parameters of a denoiser."""

    blocks: tuple[BlockCount, ...]
    total: int
    outer_modulations: int
    """Outside of the blocks."""
    modulation_rows: int
    """What all modulations answer to one timestep."""

    @property
    def modulations(self) -> int:
        return self.outer_modulations + sum(block.modulations for block in self.blocks)


def count_weights(denoiser: nn.Module, is_quantized: Callable[[str], bool]) -> WeightCounts:
    """Of a network on any device, the meta device too. `is_quantized` is asked by the name in the network."""
    modulations = list(modulations_of(denoiser))
    ids = {id(parameter) for layer in modulations for parameter in layer.parameters()}
    names = {id(module): name for name, module in denoiser.named_modules()}

    def block(module: nn.Module) -> BlockCount:
        linear = (each for each in module.modules() if isinstance(each, nn.Linear))
        chosen = (each for each in linear if is_quantized(names[id(each)]))
        return BlockCount(
            total=_count(module),
            quantized=sum(each.weight.numel() for each in chosen if id(each.weight) not in ids),
            modulations=sum(each.numel() for each in module.parameters() if id(each) in ids),
        )

    blocks = tuple(block(module) for stack in stacks_of(denoiser) for module in stack)
    in_modulations = sum(_count(layer) for layer in modulations)
    return WeightCounts(
        blocks=blocks,
        total=_count(denoiser) + sum(each.numel() for each in denoiser.buffers()),
        outer_modulations=in_modulations - sum(each.modulations for each in blocks),
        modulation_rows=sum(each.out_features for each in modulations if isinstance(each, nn.Linear)),
    )


@dataclass(frozen=True, kw_only=True)
class HeldWeights:
    """Bytes of a denoiser's weights by where they are."""

    on_device: int
    waiting: int
    """In the computer's memory, where that is not the device."""
    tables: int
    moved: int
    """That come to the device in each forward pass."""


def held_weights(
    counts: WeightCounts, policy: PolicyConfig, *, itemsize: int, num_signals: int, has_host: bool
) -> HeldWeights:
    """`num_signals`: answers of the modulations that a run needs, each prompt's of one batch counted.

    has_host: the device has memory of its own, so that answered weights wait in the computer's.
    """
    sizes = [_block_bytes(block, policy, itemsize) for block in counts.blocks]
    places = swapped_places(len(sizes), min(policy.block_swap, max(len(sizes) - 2, 0)))
    swapped = [sizes[place] for place in places]
    rest = counts.total - sum(block.total for block in counts.blocks)
    waiting = sum(swapped) if policy.swap_home == "memory" else 0
    tables = 0
    if policy.modulation_tables:
        rest -= counts.outer_modulations
        rows = num_signals * counts.modulation_rows
        tables = min(rows, counts.modulations // _SHARE_OF_TABLES) * itemsize
        # Those of a processor wait in a file.
        waiting += counts.modulations * itemsize if has_host and policy.swap_home == "memory" else 0
    return HeldWeights(
        on_device=sum(sizes) - sum(swapped) + sum(sorted(swapped)[-_ON_THE_WAY:]) + rest * itemsize,
        waiting=waiting,
        tables=tables,
        moved=sum(swapped),
    )


def _block_bytes(block: BlockCount, policy: PolicyConfig, itemsize: int) -> int:
    plain = block.total - (block.modulations if policy.modulation_tables else 0)
    if policy.weights == "full":
        return plain * itemsize
    return (plain - block.quantized) * itemsize + round(block.quantized * _BITS[policy.weights] / 8)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
