"""What training an autoencoder may be told, whatever the family: one group for each question. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

_FORBID_UNKNOWN = {"extra": "forbid"}

Weight = Annotated[float, Ge(0.0)]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How far a clip may be from its reconstruction, and latents from a Gaussian: weights, 0 leaves out."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    l1: Weight = 1.0
    """Of the mean absolute difference of pixel values in [-1, 1]."""
    l2: Weight = 0.0
    """Of the mean squared difference."""
    kl: Weight = 1e-6
    """Of the posterior's divergence from the unit Gaussian, summed over the latents and divided by the number
    of pixel values."""
    perceptual: Weight = 0.0
    """Of LPIPS over VGG16, which needs `perceptual_weights`."""
    perceptual_weights: Path | None = None
    """A file of VGG16's and LPIPS' weights, or a folder of both; nothing is downloaded."""
    perceptual_frames: Annotated[int, Ge(0)] = 0
    """How many frames of each clip LPIPS looks at, evenly spread and others at each step; 0 takes all."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """A second network that learns to tell clips from reconstructions, for the autoencoder to deceive."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    weight: Weight = 0.0
    """How strongly the autoencoder tries to deceive it, beside what the gradients' sizes ask for; 0 trains
    without it."""
    start: Annotated[int, Ge(0)] = 2000
    """Steps of warm-up before either of them sees the other."""
    kind: Literal["hinge", "vanilla"] = "hinge"
    """Its loss: hinge, or cross-entropy (vanilla)."""
    channels: Annotated[int, Ge(4)] = 64
    """Width of its first layer; it doubles with each halving of the frames, up to 512."""
    adaptive_limit: Annotated[float, Gt(0.0)] = 1e4
    """The ratio of the gradients' sizes counts at most so much."""
    learning_rate_factor: Annotated[float, Gt(0.0)] = 1.0
    """It learns so many times as fast as the autoencoder."""
