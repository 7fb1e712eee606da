"""Sizes of the networks, the released models, and what `generate` may be asked. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from reelwright.core.prompt_lines import SHARED_LETTERS, PromptOption, prompt_options
from reelwright.core.released_settings import ReleasedSettings
from reelwright.diffusion.noise_settings import NoiseSettings
from reelwright.families.framepack.presets import PRESETS_OF_FAMILY
from reelwright.families.framepack.shape_choices import shape_choices
from reelwright.families.framepack.story_schema import STORY_OF_FAMILY
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig, ClipsConfig
from reelwright.protocols.configs import SAME_FOR_ALL_PROMPTS, GenerateConfig
from reelwright.protocols.encoder_train_configs import EncoderTrainConfig
from reelwright.protocols.train_configs import SamplesConfig, Share, TrainConfig
from reelwright.protocols.variant import ReleasedPart, Variant

Direction = Literal["backward", "forward"]
"""In which order sections are made: the last first (FramePack), or the first first (FramePack-F1)."""
TrainingMode = Literal["base", "f1", "one_frame"]
CacheForm = Literal["compatible", "compact"]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(ReleasedSettings):
    """Sizes of the denoiser; defaults are those of both released models (specs: FramePack 1.1)."""

    FIXED: ClassVar[Mapping[str, Any]] = {
        "qk_norm": "rms_norm",
        "guidance_embeds": True,
        "patch_size": 2,
        "patch_size_t": 1,
        "has_image_proj": True,
        "has_clean_x_embedder": True,
    }

    in_channels: int = 16
    out_channels: int = 16
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    num_layers: int = 20
    num_single_layers: int = 40
    num_refiner_layers: int = 2
    mlp_ratio: float = 4.0
    text_embed_dim: int = 4096
    pooled_projection_dim: int = 768
    image_proj_dim: int = 1152
    rope_theta: float = 256.0
    rope_axes_dim: tuple[int, ...] = (16, 56, 56)

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def inner_width(self) -> int:
        """Of the feed-forward layers."""
        return int(self.width * self.mlp_ratio)

    @property
    def num_blocks(self) -> int:
        """Of both kinds together."""
        return self.num_layers + self.num_single_layers


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(ReleasedSettings):
    """Sizes of HunyuanVideo's autoencoder (specs: FramePack 3.3)."""

    FIXED: ClassVar[Mapping[str, Any]] = {
        "act_fn": "silu",
        "mid_block_add_attention": True,
        "spatial_compression_ratio": 8,
        "temporal_compression_ratio": 4,
    }

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scaling_factor: float = 0.476986

    @property
    def spatial_stride(self) -> int:
        """Pixels to a latent cell, in height and in width."""
        return 8

    @property
    def temporal_stride(self) -> int:
        """Frames to a latent frame, after the first."""
        return 4


ENCODER_REPOSITORIES = ("hunyuanvideo-community/HunyuanVideo",)
"""Where the autoencoder, LLaMA, CLIP and both tokenizers of the released models are."""
IMAGE_ENCODER_REPOSITORIES = ("lllyasviel/flux_redux_bfl",)
"""Where SigLIP is."""

_ENCODER_FLAGS = {
    "vae": "--vae",
    "text_encoder": "--text-encoder",
    "tokenizer": "--tokenizer",
    "text_encoder_2": "--text-encoder-2",
    "tokenizer_2": "--tokenizer-2",
}
_IN_ENCODERS = "its own: see the repository"


def _parts(encoders: tuple[str, ...] = (), image_encoder: tuple[str, ...] = ()) -> tuple[ReleasedPart, ...]:
    """All but the transformer, from those repositories or from the model's own."""
    named = tuple(
        ReleasedPart(
            name=name,
            patterns=(f"{name}/*",),
            flag=flag,
            repositories=encoders,
            license=_IN_ENCODERS if encoders and name != "vae" else "",
        )
        for name, flag in _ENCODER_FLAGS.items()
    )
    image = ReleasedPart(
        name="image_encoder",
        patterns=("image_encoder/*",),
        flag="--image-encoder",
        repositories=image_encoder,
        license=_IN_ENCODERS if image_encoder else "",
    )
    return (*named, image)


def _released(name: str, title: str) -> Variant:
    return Variant(
        name=name,
        title=title,
        repositories=(f"lllyasviel/{title}",),
        license="Tencent Hunyuan Community License",
        dtype="bfloat16",
        parts=(
            ReleasedPart(
                name="transformer", patterns=("*.json", "*.safetensors"), flag="--dit", is_at_top=True
            ),
            *_parts(ENCODER_REPOSITORIES, IMAGE_ENCODER_REPOSITORIES),
        ),
    )


VARIANTS: tuple[Variant, ...] = (
    Variant(
        name="tiny",
        title="tiny FramePack, part of this package",
        embedded="framepack-tiny",
        license="Apache-2.0",
        dtype="float16",
        parts=(ReleasedPart(name="transformer", patterns=("transformer/*",), flag="--dit"), *_parts()),
    ),
    _released("base", "FramePackI2V_HY"),
    _released("f1", "FramePack_F1_I2V_HY_20250503"),
)


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """Where released programs disagree; each first value is the default (specs: FramePack 2.4, 2.6)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    timestep: Literal["float32", "model"] = "float32"
    """Number format of the timestep that the transformer reads: float32, or the model's own (first demo)."""
    decode_windows: Literal["official", "aligned", "fewest"] = "official"
    """Where latents are cut for decoding: as the demo of each model does; F1 too as the base model; or so
    without the last window, whose latents the one before it has."""
    end_image: Literal["history", "first"] = "history"
    """Who sees an end image: all sections through their history, or only the first one made (diffusers)."""


@dataclass(frozen=True, kw_only=True)
class FramePackGenerate(GenerateConfig):
    """FramePack: an image to a long video, section by section; F1; single frames."""

    text_encoder_2: Path | None = None
    """A single file or folder with CLIP instead of the model's own; `text_encoder` is LLaMA."""
    tokenizer_2: Path | None = None
    """A folder with CLIP's tokenizer instead of the model's own; `tokenizer` is LLaMA's."""
    image_encoder: Path | None = None
    """A single file or folder with the SigLIP image encoder instead of the model's own."""
    direction: Literal["auto"] | Direction = "auto"
    """Which section is made first: the last (backward), the first (forward, F1), or what the model knows."""

    lora_settings: Literal["apply", "ignore"] = "apply"
    """What LoRAs trained here say of how they are used: direction, window, single frames. apply takes it
    where nothing else is asked for."""

    prompt: str = ""
    """What to show; or per section: "0:...;;;1-2:...;;;-1:..."."""
    image: Path | None = None
    """The first frame; or images per section: "0:a.png;;;-1:b.png". Without one, a gray frame."""
    story: Path | None = None
    """A storyboard: a TOML file of sections with prompt, image, duration, seed and LoRA weights."""
    section_seeds: str = ""
    """Sections whose noise has a seed of its own: "1:77;;;-1:5"."""
    video_seconds: Annotated[float, Ge(0.0), Le(36_000.0)] = 5.0
    """Length of the video at 30 frames per second, rounded to whole sections."""
    video_sections: Annotated[int, Ge(0), Le(30_000)] = 0
    """Length of the video in sections, which goes over `video_seconds`; 0 is unset."""
    latent_window_size: Annotated[int, Ge(1), Le(100)] = 9
    """Latent frames of a section: 4 x 9 frames of video. The released models know 9."""
    latent_paddings: tuple[Annotated[int, Ge(0)], ...] = ()
    """For each section in the order made, how many sections lie between it and the start; zeros force it."""

    extend: Path | None = None
    """A clip, or saved latents, to go on from; the result contains it."""
    bridge_to: Path | None = None
    """A clip, or saved latents, to arrive at (backward only); the result contains it."""
    clip_latents: Literal["auto", "encode"] = "auto"
    """Latents of clips in `extend` and `bridge_to`: those saved beside the clip if any, or encoded anew."""
    loop: bool = False
    """End where the video began (backward only)."""

    one_frame: str = ""
    """Make single frames: "default", or target_index=9,control_index=0;10,no_2x,no_4x,no_post."""
    control_image: tuple[Path, ...] = ()
    """Images that a single frame is made from, one for each control_index."""
    control_mask: tuple[Path, ...] = ()
    """Masks of the control images, white is kept; without one, the image's alpha."""
    one_frame_auto_resize: bool = False
    """Give a single frame the aspect of the first control image, at the area of height x width."""

    steps: Annotated[int, Ge(1), Le(1000)] = 25
    """Denoising steps for each section."""
    sampler: Literal["unipc", "euler", "dpmpp_2m", "dpm"] = "unipc"
    """How noise levels are crossed: unipc as released; dpm draws noise at each step."""
    distilled_guidance: Annotated[float, Ge(0.0)] = 10.0
    """How strongly to follow the prompt, as the model was distilled to be told; costs nothing."""
    guidance_scale: Annotated[float, Ge(0.0)] = 1.0
    """Real guidance by a second, negative pass; 1 leaves it out."""
    guidance_rescale: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """How far to bring the guided prediction back to the spread of the unguided one."""
    flow_shift: Annotated[float, Ge(0.0)] = 0.0
    """How far noise levels lean to the noisy end; 0 takes the one for the size."""
    rope_scaling_factor: Annotated[float, Ge(0.0)] = 0.5
    """What positions in space are multiplied by at noisy steps, for sizes beyond those trained on."""
    rope_scaling_timestep_threshold: Annotated[float, Ge(-1.0), Le(1000.0)] = -1.0
    """From which timestep (0 to 1000) positions are scaled; -1 never."""
    system_prompt: str = ""
    """What the text encoder is told to look for in a prompt; empty takes the released words."""

    posterior: Literal["mode", "sample"] = "mode"
    """Latents of images and clips: the most likely ones, or drawn with the seed as diffusers does."""
    bulk_decode: bool = False
    """Decode the whole video at once rather than window by window with a cross-fade."""
    preview_sections: bool = True
    """Let a preview.mp4 grow by every section that is made."""
    compatibility: Compatibility = field(default_factory=Compatibility)
    """Switches between behaviors of released programs."""


@dataclass(frozen=True, kw_only=True)
class FramePackClips(ClipsConfig):
    """Clips, or pictures with the pictures they are made from."""

    image_encoder: Path | None = None
    """A single file or folder with the SigLIP image encoder instead of the model's own."""
    mode: TrainingMode = "base"
    """What is trained: base (FramePack), f1 (FramePack-F1), or one_frame (single pictures)."""


@dataclass(frozen=True, kw_only=True)
class FramePackCacheLatents(FramePackClips, CacheLatentsConfig):
    """Clips, section by section, or pictures with the pictures they are made from, to latents."""

    form: CacheForm = "compatible"
    """compatible: a file for each section, as musubi-tuner writes them. compact: a file for each clip, of a
    third of the size, for base and F1 alike; sections are put together when they are trained on."""
    pictures: bool = False
    """With the compact form, also keep the first frame of a clip and the last of each section, each encoded
    as a picture: single frames are trained on them beside sections, where mode is drawn."""
    one_frame_no_2x: bool = False
    """In one_frame mode, leave out the zeros at half resolution."""
    one_frame_no_4x: bool = False
    """In one_frame mode, leave out the zeros at quarter resolution."""
    stream_frames: Annotated[int, Ge(0)] = 0
    """Frames of a clip that the autoencoder takes at a time. 0 takes up to 145 frames whole and longer clips
    in even parts. In parts is an approximation: the autoencoder's norms span a clip, and attention sees less
    of it. Latents differ; how much, `stream_passes` decides."""
    stream_passes: Annotated[int, Ge(1)] = 3
    """Times that a clip in parts is read and encoded: with each, norms know better what all of it is like.
    1 is fastest, and norms see one part; clips that change much come close to the whole after 4 or 5."""
    cudnn: bool = True
    """Let a GPU convolve with cuDNN; without it some AMD cards are faster or right."""


@dataclass(frozen=True, kw_only=True)
class FramePackSectionsConfig:
    """How often each kind of section is drawn where items draw their own: weights, beside each other."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    base: Annotated[float, Ge(0.0)] = 1.0
    """Sections that are made backward, after what comes later."""
    f1: Annotated[float, Ge(0.0)] = 0.0
    """Sections that are made forward, after what came before."""
    lengths: Literal["whole", "any"] = "whole"
    """What comes after a section that is made backward: the whole rest of its clip, or as often any part of
    the rest, down to nothing. Who trains on clips of one length wants any, to make shorter videos as well:
    their end is at a time where the model otherwise always sees a rest."""


@dataclass(frozen=True, kw_only=True)
class FramePackDrawnLatents(FramePackCacheLatents):
    """Compact caches whose items draw their sections; nothing that encodes knows of it."""

    sections: FramePackSectionsConfig = field(default_factory=FramePackSectionsConfig)


@dataclass(frozen=True, kw_only=True)
class FramePackCacheText(CacheTextConfig):
    """Captions to the features of LLaMA and CLIP."""

    text_encoder_2: Path | None = None
    """A single file or folder with CLIP instead of the model's own; `text_encoder` is LLaMA."""
    tokenizer_2: Path | None = None
    """A folder with CLIP's tokenizer instead of the model's own; `tokenizer` is LLaMA's."""
    system_prompt: str = ""
    """What the text encoder is told to look for in a caption; empty takes the released words."""


@dataclass(frozen=True, kw_only=True)
class FramePackDatasetKeys:
    """What a data set may say for this family alone (specs: FramePack 5.1)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    fp_latent_window_size: Annotated[int, Ge(1), Le(100)] = 9
    """Latent frames of a section: 4 x 9 frames of video. The released models know 9."""
    fp_1f_clean_indices: tuple[Annotated[int, Ge(0)], ...] | None = None
    """Times of the control pictures, one for each; without it, 0."""
    fp_1f_target_index: Annotated[int, Ge(0)] | None = None
    """Time of the picture that is trained on; must be given in one_frame mode. 9 is right after a section."""
    fp_1f_no_post: bool = False
    """Leave out the latent of zeros after the section."""


@dataclass(frozen=True, kw_only=True)
class FramePackNoiseConfig(NoiseSettings):
    """How much noise training sees, what each amount counts, and the guidance that the model is told of."""

    distilled_guidance: Annotated[float, Ge(0.0)] = 10.0
    """What the model is told of how strongly to follow the prompt: 10, with which clips are made. Other
    trainers tell it 1, and what they train looks different when it is used at 10."""
    history_noise: Share = 0.0
    """Most noise that the clean frames around a section get: each item draws a level between 0 and this, so
    that the model learns not to trust frames which it has made itself. 0 leaves them clean, as released."""


@dataclass(frozen=True, kw_only=True)
class FramePackSamples(SamplesConfig):
    """Clips or pictures made while training goes on, where their prompts say no more."""

    direction: Literal["auto"] | Direction = "auto"
    """Which section is made first; auto takes what is trained."""
    latent_window_size: Annotated[int, Ge(0), Le(100)] = 0
    """Latent frames of a section; 0 takes that of the caches."""
    one_frame: str = ""
    """Options of single frames, as `generate` takes them; empty takes those of the caches, if they are of
    one_frame mode."""
    video_sections: Annotated[int, Ge(1), Le(30_000)] = 1
    """Length of a clip in sections."""
    height: Annotated[int, Ge(0), Le(8192)] = 0
    """Pixels; 0 takes the model's own size."""
    width: Annotated[int, Ge(0), Le(8192)] = 0
    """Pixels; 0 takes the model's own size."""
    steps: Annotated[int, Ge(1), Le(1000)] = 25
    """Denoising steps for each section."""
    distilled_guidance: Annotated[float, Ge(0.0)] = 10.0
    """How strongly to follow the prompt, as the model is told."""
    guidance_scale: Annotated[float, Ge(0.0)] = 1.0
    """Real guidance by a second, negative pass; 1 leaves it out."""
    system_prompt: str = ""
    """What the text encoder is told to look for in a prompt; empty takes that of the caches."""
    bulk_decode: bool = False
    """Decode a whole clip at once rather than window by window with a cross-fade."""


@dataclass(frozen=True, kw_only=True)
class FramePackTrain(TrainConfig):
    """Fine-tune FramePack, F1 or single frames on cached data sets, whose caches say which of these it is.

    Captions are never dropped: the models make clips without a negative pass, so nobody asks them what they
    show without a prompt.
    """

    text_encoder_2: Path | None = None
    """A single file or folder with CLIP instead of the model's own; `text_encoder` is LLaMA."""
    tokenizer_2: Path | None = None
    """A folder with CLIP's tokenizer instead of the model's own; `tokenizer` is LLaMA's."""
    image_encoder: Path | None = None
    """A single file or folder with the SigLIP image encoder instead of the model's own."""

    mode: Literal["auto", "drawn"] | TrainingMode = "auto"
    """What is trained. auto takes what the caches are for; compact ones are for base and F1 alike, and then
    the model decides, if it is known which it is. drawn: of compact caches, each item draws the kind of its
    section and the section itself, anew in each epoch."""
    sections: FramePackSectionsConfig = field(default_factory=FramePackSectionsConfig)
    noise: FramePackNoiseConfig = field(default_factory=FramePackNoiseConfig)
    samples: FramePackSamples = field(default_factory=FramePackSamples)


@dataclass(frozen=True, kw_only=True)
class FramePackTrainEncoders(EncoderTrainConfig):
    """Teach LLaMA the next word of captions, and CLIP which words they have."""

    text_encoder_2: Path | None = None
    """A single file or folder with CLIP instead of the model's own; `text_encoder` is LLaMA."""
    tokenizer_2: Path | None = None
    """A folder with CLIP's tokenizer instead of the model's own; `tokenizer` is LLaMA's."""
    system_prompt: str = ""
    """What stands before each caption, as captions are cached with it; empty takes the released words."""


GENERATE = FramePackGenerate
SHAPES = partial(shape_choices, VARIANTS)
CLIPS = FramePackClips
CACHE_LATENTS = FramePackCacheLatents
CACHE_TEXT = FramePackCacheText
DATASET_KEYS = FramePackDatasetKeys
TRAIN = FramePackTrain
TRAIN_ENCODERS = FramePackTrainEncoders
PRESETS = PRESETS_OF_FAMILY
STORY = STORY_OF_FAMILY

_REAL_GUIDANCE = PromptOption(
    sets="guidance_scale",
    kind=float,
    explanation="--g and --l are real guidance, with a negative pass; distilled guidance, which prompts for"
    " training call --g, is --distilled-guidance.",
    explain_from=10,
)
_STEP_CACHE = PromptOption(
    sets="",
    refusal="is the same for all prompts of a run. Set the step cache (MagCache) on the command line.",
)
PROMPT_OPTIONS = prompt_options(
    FramePackGenerate,
    {
        **SHARED_LETTERS,
        "f": PromptOption(
            sets="video_seconds",
            kind=float,
            also={"video_sections": 0, "num_frames": 0},
            explanation="--f is seconds here, as in prompts for this model's generation; frames, which --f is"
            " in prompts for training and for other models, are --num-frames.",
            explain_from=61,
        ),
        "video_seconds": PromptOption(
            sets="video_seconds", kind=float, also={"video_sections": 0, "num_frames": 0}
        ),
        "num_frames": PromptOption(sets="num_frames", kind=int, also={"video_sections": 0}),
        "vs": PromptOption(sets="video_sections", kind=int),
        "g": _REAL_GUIDANCE,
        "l": _REAL_GUIDANCE,
        "fs": PromptOption(sets="flow_shift", kind=float),
        "of": PromptOption(sets="one_frame"),
        "ci": PromptOption(sets="control_image", is_list=True),
        "cim": PromptOption(sets="control_mask", is_list=True),
        "im": PromptOption(sets="control_mask", is_list=True),
        "story": PromptOption(sets="story", is_prompt=True),
        "mcrr": _STEP_CACHE,
        "mct": _STEP_CACHE,
        "mck": _STEP_CACHE,
    },
    of_the_run=(*SAME_FOR_ALL_PROMPTS, "text_encoder_2", "tokenizer_2", "image_encoder", "direction"),
)
"""What a line of prompts can set, by letter and by long name (specs: FramePack 8.5)."""

GUIDE_COMMANDS = {
    "fpack_generate_video": "guide_flags",
    "fpack_cache_latents": "cache_guide_flags",
    "fpack_cache_text_encoder_outputs": "cache_guide_flags",
    "fpack_train_network": "train_guide_flags",
}
"""Command lines of another program that this family runs, and where their flags are listed."""
