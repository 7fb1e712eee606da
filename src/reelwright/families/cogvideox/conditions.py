"""What one call of the denoiser needs besides noisy latents: text, positions, latents of images."""

from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import torch
from torch import Tensor

from reelwright.families.cogvideox.config import ImageLatentScale, RopeGrid, TransformerConfig
from reelwright.nn.embeddings import sincos_position_table
from reelwright.nn.rope import rotary_table

ImageScale = Literal["raw", "scaled", "inverse"]

_LATENT_CELL = 8
"""Pixels to a side, in all released models; how they are told what is released is in pixels."""
OFS = 2.0
"""The one value of the second time embedding that 1.5-I2V was trained with."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Fields a model has no use for are None."""

    text_BLD: Tensor
    rotary_LK: Tensor | None = None
    """Of the video tokens."""
    positions_LD: Tensor | None = None
    image_BCTHW: Tensor | None = None
    """Channels put after the noise: an image, a control clip, or a mask and a masked clip."""
    ofs_B: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move everything; only text, positions and latents take the dtype."""

        def move(name: str, value: Tensor | None) -> Tensor | None:
            if value is None or name in ("rotary_LK", "ofs_B"):
                return value if value is None else value.to(device)
            return value.to(device, dtype)

        return replace(self, **{f.name: move(f.name, getattr(self, f.name)) for f in fields(self)})

    def with_negative(self, negative_text_BLD: Tensor) -> Self:
        """Both halves of a guided call, the negative one first; everything but the text is shared."""
        return replace(
            self,
            text_BLD=torch.cat([negative_text_BLD, self.text_BLD]),
            image_BCTHW=None if self.image_BCTHW is None else self.image_BCTHW.repeat(2, 1, 1, 1, 1),
            ofs_B=None if self.ofs_B is None else self.ofs_B.repeat(2),
        )


def position_conditions(
    config: TransformerConfig, latent_grid_THW: tuple[int, int, int], rope_grid: RopeGrid = "exact"
) -> dict[str, Tensor]:
    """The position fields of `Conditions` for latents of T x H x W."""
    frames, height, width = latent_grid_THW
    grid = (frames // (config.patch_size_t or 1), height // config.patch_size, width // config.patch_size)
    if config.use_rotary_positional_embeddings:
        return {"rotary_LK": rotary_positions(config, grid, rope_grid)}
    if config.use_learned_positional_embeddings:
        return {}
    table = sincos_position_table(
        config.width,
        grid,
        spatial_scale=config.spatial_interpolation_scale,
        temporal_scale=config.temporal_interpolation_scale,
        places_HW=_places(config, grid[1:], rope_grid),
    )
    return {"positions_LD": table}


def rotary_positions(
    config: TransformerConfig, grid_THW: tuple[int, int, int], rope_grid: RopeGrid = "exact"
) -> Tensor:
    """Rotations of every video token; a head's channels go to time, height and width as 1 : 1.5 : 1.5."""
    frames, height, width = grid_THW
    head = config.attention_head_dim
    axis_widths = (head // 4, head // 8 * 3, head // 8 * 3)
    places = _places(config, (height, width), rope_grid)
    return rotary_table([torch.arange(frames), *places], axis_widths)


def _places(
    config: TransformerConfig, grid_HW: tuple[int, int], rope_grid: RopeGrid
) -> tuple[Tensor, Tensor]:
    """Of rows and of columns; in time all models count.

    Models of 1.0 with rotary positions fit the token grid into the one they were trained on, keeping its
    aspect; others, and SAT, count integers (specs: CogVideoX 2.4).
    """
    height, width = grid_HW
    is_spread = config.use_rotary_positional_embeddings and not config.is_second_generation
    if rope_grid == "integer" or (rope_grid != "fitted" and not is_spread):
        return torch.arange(height), torch.arange(width)
    (top, left), (bottom, right) = fit_grid(grid_HW, _own_grid(config))
    return _spread(top, bottom, height, rope_grid), _spread(left, right, width, rope_grid)


def _own_grid(config: TransformerConfig) -> tuple[int, int]:
    """Rows and columns of tokens that a model was trained on."""
    height, width = config.native_size(_LATENT_CELL)
    return height // _LATENT_CELL // config.patch_size, width // _LATENT_CELL // config.patch_size


def fit_grid(grid_HW: tuple[int, int], base_HW: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The centered box of the base grid that has the grid's aspect, as (top, left), (bottom, right)."""
    height, width = grid_HW
    base_height, base_width = base_HW
    if height / width > base_height / base_width:
        box = (base_height, round(base_height / height * width))
    else:
        box = (round(base_width / width * height), base_width)
    top, left = round((base_height - box[0]) / 2), round((base_width - box[1]) / 2)
    return (top, left), (top + box[0], left + box[1])


def _spread(start: int, stop: int, count: int, rope_grid: RopeGrid) -> Tensor:
    if rope_grid == "released":
        # Ends where start = 0 would end, so a box away from the edge gets too small a step.
        return torch.linspace(start, stop * (count - 1) / count, count)
    return start + (stop - start) * torch.arange(count) / count


def chosen_rope_grid(name: Literal["auto"] | RopeGrid, transformer: TransformerConfig) -> RopeGrid:
    """What `auto` comes to: as the model was trained."""
    return transformer.rope_grid if name == "auto" else name


def chosen_image_scale(name: ImageLatentScale, transformer: TransformerConfig) -> ImageScale:
    """What `auto` comes to: models of 1.5 read images as they are encoded (SAT; specs: CogVideoX 5.2)."""
    if name != "auto":
        return name
    return "raw" if transformer.is_second_generation else "scaled"


def image_scale(name: ImageScale, scale: float) -> float:
    """What the latents of an image are multiplied by, where those of clips are by `scale`."""
    return {"raw": 1.0, "scaled": scale, "inverse": 1.0 / scale}[name]


def pad_front(latents_BCTHW: Tensor, count: int) -> Tensor:
    """Repeat the first frame `count` times in front; those frames are dropped after sampling."""
    return torch.cat([latents_BCTHW[:, :, :1].expand(-1, -1, count, -1, -1), latents_BCTHW], dim=2)
