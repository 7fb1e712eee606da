"""What one call of the denoiser needs besides noisy latents: text, an image, and frames to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from reelwright.families.framepack.config import TransformerConfig
from reelwright.nn.rope import rotary_table

_INDICES = "indices_BT"


@dataclass(frozen=True, kw_only=True)
class CleanLatents:
    """Finished latent frames that a call looks at, and where they lie in time."""

    latents_BCTHW: Tensor
    indices_BT: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, latents_BCTHW=self.latents_BCTHW.to(device, dtype))


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Whole-number indices place frames in time; a group of clean latents that is off is None.

    Indices may stay on the CPU: nothing but the rotary table reads them.
    Raises ValueError for text lengths that the text does not have.
    """

    text_BLD: Tensor
    """States of the text encoder, with whatever padding."""
    text_lengths: tuple[int, ...]
    """How many tokens of each sample are its prompt; at least one."""
    pooled_BD: Tensor
    image_BLD: Tensor
    guidance_B: Tensor
    """The distilled guidance scale times 1000, already rounded as the model is to read it."""
    indices_BT: Tensor
    """Of the noisy frames."""
    clean_1x: CleanLatents | None = None
    """In full size."""
    clean_2x: CleanLatents | None = None
    """To be halved in time, height and width."""
    clean_4x: CleanLatents | None = None
    """To be quartered in time, height and width."""
    rope_scale: float = 1.0
    """Positions in height and width are multiplied by this."""

    def __post_init__(self) -> None:
        batch, longest = self.text_BLD.shape[:2]
        if len(self.text_lengths) != batch or not all(1 <= n <= longest for n in self.text_lengths):
            raise ValueError(f"text_lengths {self.text_lengths} for a text of {batch} x {longest} tokens")

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move everything but indices; the guidance scale keeps its dtype."""

        def move(value: object, name: str) -> object:
            if isinstance(value, CleanLatents):
                return value.to(device, dtype)
            if not isinstance(value, Tensor) or name == _INDICES:
                return value
            return value.to(device) if name == "guidance_B" else value.to(device, dtype)

        return replace(self, **{f.name: move(getattr(self, f.name), f.name) for f in fields(self)})

    @property
    def history(self) -> tuple[tuple[int, CleanLatents], ...]:
        """The clean groups that are on, in token order, each with what it is reduced by."""
        groups = ((4, self.clean_4x), (2, self.clean_2x), (1, self.clean_1x))
        return tuple((reduced, clean) for reduced, clean in groups if clean is not None)


def join(first: Conditions, second: Conditions) -> Conditions:
    """One batch of two that see the same frames, at the same places, beside texts padded alike."""

    def of_both(name: str) -> object:
        one, other = getattr(first, name), getattr(second, name)
        if isinstance(one, CleanLatents):
            return CleanLatents(
                latents_BCTHW=torch.cat([one.latents_BCTHW, other.latents_BCTHW]),
                indices_BT=torch.cat([one.indices_BT, other.indices_BT]),
            )
        return torch.cat([one, other]) if isinstance(one, Tensor) else one

    joined = {f.name: of_both(f.name) for f in fields(first) if f.name != "text_lengths"}
    return replace(first, **joined, text_lengths=(*first.text_lengths, *second.text_lengths))


def guidance_of(scales: Sequence[float], dtype: torch.dtype) -> Tensor:
    """The distilled guidance of each sample, as the model reads it.

    Rounded to the model's format before the multiplication, as released: 10 gives 9984 in bfloat16.
    """
    return torch.tensor(scales, dtype=dtype) * 1000.0


def rotary_positions(
    config: TransformerConfig, conditions: Conditions, grid_HW: tuple[int, int], device: torch.device
) -> Tensor:
    """Rotations of all clean and noisy tokens for a grid of H x W tokens, in token order.

    Returns complex64 [L, K/2], or [B, 1, L, K/2] if the samples lie at different places in time. The table
    of the latest few calls is kept, since all steps of a section share it.
    """
    groups = (
        *((reduced, clean.indices_BT) for reduced, clean in conditions.history),
        (1, conditions.indices_BT),
    )
    rows = [[(reduced, tuple(row)) for row in indices_BT.tolist()] for reduced, indices_BT in groups]
    samples = list(zip(*rows, strict=True))
    tables = [_sample_table(config, sample, grid_HW, conditions.rope_scale, device) for sample in samples]
    return tables[0] if len(set(samples)) == 1 else torch.stack(tables)[:, None]


@lru_cache(maxsize=8)
def _sample_table(
    config: TransformerConfig,
    groups: Sequence[tuple[int, tuple[int, ...]]],
    grid_HW: tuple[int, int],
    rope_scale: float,
    device: torch.device,
) -> Tensor:
    """A group that is reduced k times takes the mean rotations of the k x k x k places of its tokens."""
    height, width = (torch.arange(count) * rope_scale for count in grid_HW)
    # The table outlives this call: training after a preview must be able to use it.
    with torch.inference_mode(mode=False):
        tables = [
            rotary_table(
                [torch.tensor(indices), height, width],
                config.rope_axes_dim,
                theta=config.rope_theta,
                pooled=reduced,
            )
            for reduced, indices in groups
        ]
        return torch.cat(tables).to(device)
