"""Sizes of the networks, the released models, and what `generate` may be asked. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from reelwright.core.prompt_lines import SHARED_LETTERS, PromptOption, prompt_options
from reelwright.core.released_settings import ReleasedSettings
from reelwright.families.cogvideox.presets import PRESETS_OF_FAMILY
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig, ClipsConfig
from reelwright.protocols.configs import SAME_FOR_ALL_PROMPTS, GenerateConfig, SamplerName
from reelwright.protocols.encoder_train_configs import EncoderTrainConfig
from reelwright.protocols.shape_choices import (
    Length,
    ShapeChoices,
    nearest_length,
    sizes_like,
    told_settings,
)
from reelwright.protocols.train_configs import SamplesConfig, Share, TrainConfig
from reelwright.protocols.variant import ReleasedPart, Variant

RopeGrid = Literal["exact", "released", "integer", "fitted"]
"""How tokens are counted at sizes other than the model's own. exact and released: rotary positions of 1.0 are
spread over the model's own grid (released: as diffusers spaces them), all others count on. integer: all count
on (as SAT). fitted: all are spread over the model's own grid (specs: CogVideoX 2.4)."""
FirstFrame = Literal["both", "latents", "pixels", "none"]
ImageLatentScale = Literal["auto", "raw", "scaled", "inverse"]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(ReleasedSettings):
    """Sizes of the denoiser; defaults are those of 2B (specs: CogVideoX 2.1)."""

    FIXED: ClassVar[Mapping[str, Any]] = {
        "activation_fn": "gelu-approximate",
        "timestep_activation_fn": "silu",
        "norm_elementwise_affine": True,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }

    num_layers: int = 30
    num_attention_heads: int = 30
    attention_head_dim: int = 64
    in_channels: int = 16
    out_channels: int = 16
    time_embed_dim: int = 512
    ofs_embed_dim: int | None = None
    text_embed_dim: int = 4096
    max_text_seq_length: int = 226
    patch_size: int = 2
    patch_size_t: int | None = None
    patch_bias: bool = True
    attention_bias: bool = True
    norm_eps: float = 1e-5
    sample_height: int = 60
    sample_width: int = 90
    sample_frames: int = 49
    spatial_interpolation_scale: float = 1.875
    temporal_interpolation_scale: float = 1.0
    temporal_compression_ratio: int = 4
    use_rotary_positional_embeddings: bool = False
    use_learned_positional_embeddings: bool = False
    rope_grid: RopeGrid = "exact"
    """How it was trained to count tokens at sizes other than its own; in files of ours alone."""

    OWN: ClassVar[frozenset[str]] = frozenset({"rope_grid"})

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def patch_volume(self) -> int:
        return self.patch_size**2 * (self.patch_size_t or 1)

    @property
    def num_positions(self) -> int:
        """Rows of the learned table: the prompt's tokens, then the video's."""
        frames = (self.sample_frames - 1) // self.temporal_compression_ratio + 1
        area = (self.sample_height // self.patch_size) * (self.sample_width // self.patch_size)
        return self.max_text_seq_length + frames * area

    @property
    def is_second_generation(self) -> bool:
        """CogVideoX 1.5: two latent frames in a token, 16 frames per second, first latent dropped."""
        return self.patch_size_t is not None

    @property
    def fps(self) -> float:
        """Frames per second of the clips that it was trained on."""
        return 16.0 if self.is_second_generation else 8.0

    @property
    def frame_step(self) -> int:
        """Legal lengths are one frame more than a multiple of this (specs: CogVideoX 5.5)."""
        return 16 if self.is_second_generation else 8

    @property
    def longest(self) -> int:
        """Frames of the longest clips that it was trained on."""
        return 161 if self.is_second_generation else self.sample_frames

    def native_size(self, spatial_stride: int) -> tuple[int, int]:
        """Height and width in pixels that it was trained on."""
        if self.sample_height == self.sample_width == 300:
            # Converted files of 1.5 give the size of a table, not of clips.
            return 768, 1360
        return self.sample_height * spatial_stride, self.sample_width * spatial_stride

    @property
    def condition_channels(self) -> int:
        """Channels beside the noise: 16 an image or control clip, 17 a mask and a masked clip."""
        return self.in_channels - self.out_channels


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(ReleasedSettings):
    """Sizes of the autoencoder (specs: CogVideoX 1.1)."""

    FIXED: ClassVar[Mapping[str, Any]] = {
        "act_fn": "silu",
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "pad_mode": "first",
        "shift_factor": None,
        "latents_mean": None,
        "latents_std": None,
    }

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    layers_per_block: int = 3
    norm_num_groups: int = 32
    norm_eps: float = 1e-6
    temporal_compression_ratio: int = 4
    scaling_factor: float = 1.15258426
    sample_height: int = 480
    sample_width: int = 720

    @property
    def spatial_stride(self) -> int:
        """Pixels to a latent cell, in height and in width."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def num_temporal_stages(self) -> int:
        return self.temporal_compression_ratio.bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig(ReleasedSettings):
    """The noise schedule; defaults are those of the released 5B files, not of any library class."""

    FIXED: ClassVar[Mapping[str, Any]] = {
        "prediction_type": "v_prediction",
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": True,
        "trained_betas": None,
    }

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    snr_shift_scale: float = 1.0
    rescale_betas_zero_snr: bool = True
    timestep_spacing: Literal["trailing", "leading", "linspace"] = "trailing"
    steps_offset: int = 0


_5B = TransformerConfig(num_layers=42, num_attention_heads=48, use_rotary_positional_embeddings=True)
_SECOND_GENERATION = replace(
    _5B, patch_size_t=2, patch_bias=False, sample_height=96, sample_width=170, sample_frames=81
)

TRANSFORMERS: dict[str, TransformerConfig] = {
    "2b": TransformerConfig(),
    "5b": _5B,
    "5b-i2v": replace(_5B, in_channels=32, use_learned_positional_embeddings=True),
    "1.5-5b": _SECOND_GENERATION,
    "1.5-5b-i2v": replace(
        _SECOND_GENERATION, in_channels=32, ofs_embed_dim=512, sample_height=300, sample_width=300
    ),
    "fun-2b-inp": TransformerConfig(in_channels=33),
    "fun-5b-inp": replace(_5B, in_channels=33),
    "fun-5b-control": replace(_5B, in_channels=32),
}
"""The released denoisers, for single files, which carry no config.json."""


_PARTS = (
    ReleasedPart(name="transformer", patterns=("transformer/*",), flag="--dit"),
    ReleasedPart(name="vae", patterns=("vae/*",), flag="--vae"),
    ReleasedPart(name="text_encoder", patterns=("text_encoder/*",), flag="--text-encoder"),
    ReleasedPart(name="tokenizer", patterns=("tokenizer/*",), flag="--tokenizer"),
    ReleasedPart(name="scheduler", patterns=("scheduler/*",)),
    ReleasedPart(name="index", patterns=("model_index.json",), is_at_top=True),
)


def _official(name: str, title: str, license_name: str, dtype: Literal["float16", "bfloat16"]) -> Variant:
    """A model that moved between two organizations; downloads under either name are found."""
    return Variant(
        name=name,
        title=title,
        repositories=(f"zai-org/{title}", f"THUDM/{title}"),
        license=license_name,
        dtype=dtype,
        parts=_PARTS,
    )


def _fun(name: str, title: str) -> Variant:
    license_name = "CogVideoX License" if "5b" in name else "Apache-2.0"
    repositories = (f"alibaba-pai/{title}",)
    return Variant(
        name=name,
        title=title,
        repositories=repositories,
        license=license_name,
        dtype="bfloat16",
        parts=_PARTS,
    )


VARIANTS: tuple[Variant, ...] = (
    Variant(
        name="tiny",
        title="tiny CogVideoX, part of this package",
        embedded="cogvideox-tiny",
        license="Apache-2.0",
        dtype="float16",
        parts=_PARTS,
    ),
    _official("2b", "CogVideoX-2b", "Apache-2.0", "float16"),
    _official("5b", "CogVideoX-5b", "CogVideoX License", "bfloat16"),
    _official("5b-i2v", "CogVideoX-5b-I2V", "CogVideoX License", "bfloat16"),
    _official("1.5-5b", "CogVideoX1.5-5B", "CogVideoX License", "bfloat16"),
    _official("1.5-5b-i2v", "CogVideoX1.5-5B-I2V", "CogVideoX License", "bfloat16"),
    _fun("fun-2b-inp", "CogVideoX-Fun-V1.1-2b-InP"),
    _fun("fun-5b-inp", "CogVideoX-Fun-V1.1-5b-InP"),
    _fun("fun-5b-control", "CogVideoX-Fun-V1.1-5b-Control"),
)


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """Where released programs disagree; each first value is the default (specs: CogVideoX 10)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    previous_timestep: Literal["neighbor", "released"] = "neighbor"
    """What a step leads to: the next listed timestep, or t - 1000 // steps as in the released schedulers."""
    zero_snr: Literal["table", "steps"] = "table"
    """Rescale to zero terminal SNR over all 1000 timesteps, or over the steps used (SAT)."""
    rope_grid: Literal["auto"] | RopeGrid = "auto"
    """Positions at sizes other than the model's own. auto does as the model was trained. Rotary positions of
    1.0 are spread over its own grid (exact, or released: as diffusers spaces them) or counted on (integer, as
    SAT); fitted spreads those of other models too."""
    norm_eps: Literal["released", "sat"] = "released"
    """LayerNorm epsilon: that of config.json (1e-5), or SAT's 1e-6."""
    vae_chunk: Literal["released", "whole"] = "released"
    """Frames that the VAE's norms see at once: 8 pixel and 2 latent frames, or the whole clip (SAT)."""
    noise_draws: Literal["released", "one"] = "released"
    """Noise drawn per step by `dpm`: twice on inner steps, as released, or once."""
    text_tokens: Annotated[int, Ge(0)] = 0
    """Length of the prompt in tokens; 0 takes config.json's (226; SAT uses 224 for 1.5)."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXGenerate(GenerateConfig):
    """CogVideoX: text, an image or a clip to video."""

    sampler: Literal["auto"] | SamplerName = "auto"
    """How noise levels are crossed; auto takes the one the model was released with."""
    timestep_spacing: Literal["auto", "trailing", "leading", "linspace"] = "auto"
    """Which timesteps are visited; auto takes the released spacing."""
    guidance_schedule: Literal["constant", "ramp", "legacy"] = "constant"
    """Guidance over the steps: constant, a smooth ramp, or the released `use_dynamic_cfg` wave (legacy)."""
    negative: Literal["text", "zero"] = "text"
    """What the negative pass sees: the encoded negative prompt, or zeros as in training (SAT)."""
    control_video: Path | None = None
    """A clip of poses, edges or depth for models with a control layout."""
    image_latent_scale: ImageLatentScale = "auto"
    """Scale s of image latents: raw 1, scaled s, inverse 1/s; auto: scaled for 1.0, raw for 1.5 (SAT)."""
    compatibility: Compatibility = field(default_factory=Compatibility)
    """Switches between behaviors of released programs."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXCacheLatents(CacheLatentsConfig):
    """Encode clips, and their first frames for models that start from an image."""

    dit: Path | None = None
    """A single file with the transformer instead of the model's own: it tells the frame rate."""
    first_frame: Literal["auto", "both", "latents", "pixels", "none"] = "auto"
    """What is kept of the first frame beside the clip: its pixels, to which training adds noise before it
    encodes them, its latents for training without noise, or both; auto is both for models of images."""
    vae_chunk: Literal["released", "whole"] = "released"
    """Frames that the VAE's norms see at once: 8, or the whole clip (SAT), which takes far more memory."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXCacheText(CacheTextConfig):
    """Encode captions with T5."""

    dit: Path | None = None
    """A single file with the transformer instead of the model's own: it tells how long prompts are."""
    text_tokens: Annotated[int, Ge(0)] = 0
    """Length of captions in tokens; 0 takes the model's (226; SAT uses 224 for 1.5)."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXDatasetKeys:
    """This family knows no keys of its own in a data set."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class CogVideoXNoiseConfig:
    """How clips are noised, and what is left out now and then."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    timestep_sampling: Literal["uniform", "logit_normal"] = "uniform"
    """Which timesteps are trained: all alike, as the released models were, or most in the middle."""
    logit_mean: float = 0.0
    """Of logit_normal: below 0 there is less noise, above more."""
    logit_std: Annotated[float, Gt(0.0)] = 1.0
    """Of logit_normal: how far timesteps spread from the middle."""
    num_timestep_buckets: Annotated[int, Ge(0)] = 0
    """Give items of an epoch in turn a timestep from each of so many equal shares; 0 and 1 draw each on its
    own."""
    explicit_uniform: bool = False
    """The paper's explicit uniform sampling: the items of each step, on all ranks together, get timesteps
    from ranges of their own, which makes losses less noisy. Best with 2, 4, 8, ... items to a step."""
    min_timestep: Annotated[int, Ge(0)] = 0
    """The lowest timestep that is trained: the least noise."""
    max_timestep: Annotated[int, Ge(0)] = 0
    """The highest; 0 takes the last there is, 999."""
    weighting: Literal["none", "min_snr"] = "none"
    """Weight of each timestep in the loss of velocities: 1, as released, or min(SNR, gamma) / (SNR + 1)
    (arXiv 2303.09556), which is next to nothing at the noisiest."""
    min_snr_gamma: Annotated[float, Gt(0.0)] = 5.0
    """Of min_snr."""
    zero_terminal_snr: Literal["auto", "on", "off"] = "auto"
    """Whether the last timestep is noise alone; auto does as the model's scheduler says."""
    noise_offset: Annotated[float, Ge(0.0)] = 0.0
    """Shift the noise of each channel by so much times a draw: darker and brighter clips are learned."""

    caption_dropout: Share = 0.1
    """How often the caption is left out. Guidance compares with a model that sees none, so with 0, which
    other trainers of these models have, it weakens the longer training goes on."""
    caption_dropout_to: Literal["zero", "empty"] = "zero"
    """What stands for no caption: zeros, as in the released models' training (generate: --negative zero), or
    the encoded empty prompt, which programs put there when they make clips."""
    condition_dropout: Share = 0.05
    """How often the image or control clip is left out, for models that read one."""
    image_noise: Literal["auto", "on", "off"] = "auto"
    """Noise the pixels of first frames before they are encoded, so that the model does not hold on to them;
    it takes the autoencoder. auto is on where the caches hold pixels."""
    image_noise_mean: float = -3.0
    """Of the logarithm of that noise's strength."""
    image_noise_std: Annotated[float, Ge(0.0)] = 0.5
    """Of the logarithm of that noise's strength."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXSamples(SamplesConfig):
    """Clips made while training goes on, where their prompts say no more."""

    height: Annotated[int, Ge(0), Le(8192)] = 0
    """Pixels; 0 takes the model's own size."""
    width: Annotated[int, Ge(0), Le(8192)] = 0
    """Pixels; 0 takes the model's own size."""
    num_frames: Annotated[int, Ge(0)] = 0
    """Frames of video; 0 takes the model's own length."""
    steps: Annotated[int, Ge(1), Le(1000)] = 50
    """Denoising steps."""
    guidance_scale: Annotated[float, Ge(0.0)] = 6.0
    """How strongly to follow the prompt; 1 or less skips the negative pass."""
    negative: Literal["text", "zero"] = "text"
    """What the negative pass sees: the encoded negative prompt, or zeros."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXTrain(TrainConfig):
    """Fine-tune CogVideoX on cached clips."""

    noise: CogVideoXNoiseConfig = field(default_factory=CogVideoXNoiseConfig)
    """How clips are noised, and what is left out now and then."""
    samples: CogVideoXSamples = field(default_factory=CogVideoXSamples)
    condition: Literal["auto", "image", "control", "inpaint"] = "auto"
    """What a transformer of 32 channels reads beside the noise; auto is an image for the released image
    models, else a control clip. With --init widened, what it is to read from now on."""
    image_latent_scale: ImageLatentScale = "auto"
    """Scale s of image latents: raw 1, scaled s, inverse 1/s; auto: scaled for 1.0, raw for 1.5 (SAT)."""
    rope_grid: Literal["auto"] | RopeGrid = "auto"
    """Positions at sizes other than the model's own. auto does as the model was trained. Rotary positions of
    1.0 are spread over its own grid (exact, or released: as diffusers spaces them) or counted on (integer, as
    SAT); fitted spreads those of other models too. Whole models remember it; adapters have to be told of."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXTrainEncoders(EncoderTrainConfig):
    """Teach T5 the words of captions that are hidden from it."""

    masked_share: Annotated[float, Gt(0.0), Le(1.0)] = 0.3
    """How many tokens of a caption are hidden, at least one."""
    text_tokens: Annotated[int, Ge(0)] = 0
    """Tokens that captions are padded or cut to, as they are cached; 0 takes what the model was trained
    with."""


_SPATIAL_STRIDE = 8
"""Of every released autoencoder."""


def shape_choices(config: CogVideoXGenerate) -> ShapeChoices | None:
    """Legal sizes and lengths for the model of a configuration; None for one that is not at hand."""
    told = told_settings(config.model, VARIANTS, "transformer/config.json")
    network = TRANSFORMERS.get(config.model)
    if network is None and told is not None:
        network = TransformerConfig.from_json(told, config.model)
    if network is None:
        return None
    height, width = network.native_size(_SPATIAL_STRIDE)
    step = _SPATIAL_STRIDE * network.patch_size
    fps = config.fps or network.fps
    counts = range(1 + network.frame_step, network.longest + 1, network.frame_step)
    lengths = tuple(Length(frames=n, seconds=n / fps, values={"num_frames": n}) for n in counts)
    return ShapeChoices(
        sizes=sizes_like((width, height), step),
        side_step=step,
        is_only_size=network.use_learned_positional_embeddings,
        size=(config.width or width, config.height or height),
        lengths=lengths,
        length=nearest_length(lengths, config.num_frames or network.sample_frames),
    )


GENERATE = CogVideoXGenerate
SHAPES = shape_choices
CLIPS = ClipsConfig
CACHE_LATENTS = CogVideoXCacheLatents
CACHE_TEXT = CogVideoXCacheText
DATASET_KEYS = CogVideoXDatasetKeys
TRAIN = CogVideoXTrain
TRAIN_ENCODERS = CogVideoXTrainEncoders
PRESETS = PRESETS_OF_FAMILY

PROMPT_OPTIONS = prompt_options(
    CogVideoXGenerate,
    {
        **SHARED_LETTERS,
        "f": PromptOption(
            sets="num_frames", kind=int, explanation="--f is frames for this model, not seconds."
        ),
        "g": PromptOption(sets="guidance_scale", kind=float),
    },
    of_the_run=SAME_FOR_ALL_PROMPTS,
)
"""What a line of prompts can set, by letter and by long name."""
