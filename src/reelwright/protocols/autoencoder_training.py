"""What a family brings to have its autoencoder trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.core.errors import ConfigError
from reelwright.nn.posterior import Posterior
from reelwright.protocols.autoencoder_train_configs import (
    AutoencoderInit,
    AutoencoderSizesConfig,
    AutoencoderTrainConfig,
)


class LearningAutoencoder(Protocol):
    """A network that is trained: pixels in [-1, 1] to latents and back, a clip at a time."""

    def encode(self, pixels_BCFHW: Tensor, /) -> Posterior: ...

    def decode(self, latents_BCTHW: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class AutoencoderModel:
    """An autoencoder to train, found and checked, with nothing loaded."""

    fps: float
    """Frames per second of the clips that the model is for."""
    temporal_stride: int
    """Clips have this many times k and one more frames."""
    spatial_stride: int
    """Divides their sides."""
    scaling_factor: float
    """Of its latents, as the files say it; what is trained may need another."""
    key_map: KeyMap
    """The released names of its tensors."""
    settings: Mapping[str, Any]
    """What stands in the config.json beside saved weights, but for the scaling factor."""
    fingerprints: Mapping[str, str]
    """Part of the model -> short name of its files' content; empty for random weights."""
    notices: tuple[str, ...] = ()
    build: Callable[[], nn.Module]
    """The network in float32, with random weights drawn from torch's own generator."""
    load: Callable[[torch.device], nn.Module]
    """The network in float32 with the weights of the files. Raises CheckpointError."""
    edges: tuple[str, ...]
    """Beginnings of the names of parameters in its first and last layers."""
    decoder: tuple[str, ...]
    """Beginnings of the names of parameters that latents go through to become pixels."""
    latent_writer: str
    """The convolution whose outputs are the latents' means, then their log-variances."""
    latent_readers: str
    """A regular expression of the names of all convolutions that read latents."""
    last_layer: str
    """The name of the weight that makes pixels."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    """A family's functions for training its autoencoder."""

    locate: Callable[[AutoencoderTrainConfig], AutoencoderModel]
    """Raises UserError."""


class Sizes(Protocol):
    """Those of a family's autoencoder: a dataclass."""

    @property
    def block_out_channels(self) -> tuple[int, ...]: ...

    @property
    def norm_num_groups(self) -> int: ...


S = TypeVar("S", bound=Sizes)


def with_sizes(config: S, sizes: AutoencoderSizesConfig, init: AutoencoderInit) -> S:
    """The sizes of the network with those that were asked for. Raises ConfigError for what cannot be."""
    asked = {each.name: value for each in fields(sizes) if (value := getattr(sizes, each.name))}
    if asked and init != "random":
        raise ConfigError(
            f"sizes.{next(iter(asked))}: the weights of a checkpoint have sizes of their own. Leave it out,"
            " or start from nothing with --init random."
        )
    changed = replace(config, **asked)  # pyright: ignore[reportArgumentType, reportCallIssue]
    count, before = len(changed.block_out_channels), len(config.block_out_channels)
    if count != before:
        raise ConfigError(
            f"sizes.block_out_channels: has {count} widths, and the network has {before} stages."
        )
    groups = changed.norm_num_groups
    for width in changed.block_out_channels:
        if width % groups:
            raise ConfigError(
                f"sizes.block_out_channels: {width} channels cannot be normalized in {groups} groups. Use"
                " multiples of sizes.norm_num_groups."
            )
    return changed
