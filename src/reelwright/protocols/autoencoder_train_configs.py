"""What training an autoencoder may be told, whatever the family: one group for each question. No torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from reelwright.protocols.train_configs import LearningConfig, LearningExecutionConfig, Share

_FORBID_UNKNOWN = {"extra": "forbid"}

Weight = Annotated[float, Ge(0.0)]
AutoencoderInit = Literal["checkpoint", "random", "inflated"]


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


@dataclass(frozen=True, kw_only=True)
class AutoencoderStageConfig:
    """One stretch of an autoencoder's training, with clips of one length and size."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    steps: Annotated[int, Ge(0)] = 0
    """Steps of this stage; 0 goes on to the last step of all, so only the last stage may say that."""
    frames: Annotated[int, Ge(1)] = 17
    """Of each clip, 4k+1; 1 learns from single frames: pictures, and frames of clips."""
    width: Annotated[int, Ge(16)] = 256
    """Pixels."""
    height: Annotated[int, Ge(16)] = 256
    """Pixels."""
    batch_size: Annotated[int, Ge(1)] = 4
    """Clips of a batch."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderSizesConfig:
    """Sizes of a network that starts from random weights, where they are not those of the model."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    block_out_channels: tuple[Annotated[int, Ge(1)], ...] = ()
    """Width of each stage, from the pixels to the latents; none takes the model's."""
    layers_per_block: Annotated[int, Ge(0)] = 0
    """Residual blocks of a stage of the encoder; 0 takes the model's."""
    norm_num_groups: Annotated[int, Ge(0)] = 0
    """Groups of channels that are normalized together; 0 takes the model's."""
    latent_channels: Annotated[int, Ge(0)] = 0
    """0 takes the model's."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderValidationConfig:
    """Reconstructions of clips that are not trained on: the same stretches each time."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    dataset: Path | None = None
    """A file of data sets, or a folder; none leaves validation out."""
    every_steps: Annotated[int, Ge(0)] = 500
    """0 never."""
    num_clips: Annotated[int, Ge(1)] = 16
    """At most so many, the first stretch of each source."""
    frames: Annotated[int, Ge(0)] = 0
    """Of each clip, 4k+1; 0 takes that of the last stage. Pictures are judged as they are."""
    at_start: bool = True
    """Also before the first step."""
    picture: bool = True
    """Keep a picture of originals above their reconstructions in the folder `reconstructions` of the run."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderExecutionConfig(LearningExecutionConfig):
    """How training an autoencoder runs; what it computes follows from the clips alone."""

    time_parallel: Annotated[int, Ge(1)] = 1
    """How many processes share each clip, for clips that are too long for one: each works on consecutive
    frames, and norms see the whole clip."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderTrainConfig(LearningConfig):
    """Train an autoencoder on clips and pictures as they are, from nothing or from the model's weights."""

    stage: Literal["autoencoder"] = "autoencoder"
    """What is trained."""
    vae: Path | None = None
    """A file or folder with the autoencoder instead of the model's own. For random weights a config.json is
    enough."""
    init: AutoencoderInit = "checkpoint"
    """Start from the weights of the model (checkpoint), from random ones, or from weights that have learned
    single frames alone and will learn clips now (inflated): kernels then begin with the present frame."""
    learned: Literal["all", "decoder"] = "all"
    """What learns. With the decoder alone latents keep their meaning, for the denoisers that know them."""
    balanced: bool = False
    """In saved weights, give each channel of latents a mean of 0 and a deviation of 1, as measured on the
    held-out clips: for denoisers that are trained from nothing."""
    dataset: Path | None = None
    """A file of data sets, or a folder: pixels are read as they are, no caches are needed, nor captions."""
    fps: Annotated[float, Ge(0.0)] = 0.0
    """Frames per second that clips are read at, where their data set says none; 0 takes the model's rate."""
    stages: tuple[AutoencoderStageConfig, ...] = (AutoencoderStageConfig(),)
    """Short clips, then long ones, as [[stages]] tables of a recipe; each goes on with the weights of the one
    before."""
    fit: Literal["resize", "crop"] = "resize"
    """How frames come to the size of a stage: resized until they cover it, then cut at a random place
    (resize), or cut at a random place from the frames as they are (crop), which must then be large enough."""
    image_share: Share = 0.0
    """Of the batches in stages of clips, how many are of single frames instead."""
    memory: Annotated[float, Ge(0.0)] = 2.0
    """Gigabytes of decoded frames that stay in memory, so that a source is read once; 0 keeps none. What is
    learned does not depend on it."""

    execution: AutoencoderExecutionConfig = field(default_factory=AutoencoderExecutionConfig)
    sizes: AutoencoderSizesConfig = field(default_factory=AutoencoderSizesConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    validation: AutoencoderValidationConfig = field(default_factory=AutoencoderValidationConfig)
