"""The schema that families share: command line, recipe files and stored recipes are all drawn from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from reelwright.protocols.policy_configs import PolicyConfig

SamplerName = Literal["ddim", "dpm", "euler", "dpmpp_2m", "unipc"]
FileFormat = Literal["mp4", "png", "latent", "both", "images", "latent_images"]


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Where a network runs, and in which number format."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    device: str = "auto"
    """Where to compute: auto (the first GPU, else the processor), cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto takes the released one on a GPU and float32 on a processor."""


@dataclass(frozen=True, kw_only=True)
class AutoencodingConfig(DeviceConfig):
    """How an autoencoder runs."""

    tiling: bool = False
    """Encode and decode in overlapping tiles: far less memory, a little slower, seams are possible."""
    tile_size: Annotated[int, Ge(0)] = 0
    """Pixels of a tile's side, with `tiling`; 0 takes the released size."""
    vae_chunk: Annotated[int, Ge(0)] = 0
    """Frames that the autoencoder's convolutions take at a time, where this changes memory only and not the
    result; 0 lets it choose."""


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig(AutoencodingConfig, PolicyConfig):
    """How a model runs; never what it computes."""

    keep_encoders: bool = False
    """Keep text and image encoders in memory, off the GPU, when they are done: more prompts are to come."""


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """What every family understands when it generates video."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: str = "tiny"
    """A variant's name, a folder in the diffusers layout, or a hub id such as owner/name."""
    dit: Path | None = None
    """A single file with the transformer instead of the model's own."""
    vae: Path | None = None
    """A single file with the autoencoder instead of the model's own."""
    text_encoder: Path | None = None
    """A single file or folder with the text encoder instead of the model's own."""
    tokenizer: Path | None = None
    """A folder with the tokenizer instead of the model's own."""
    offline: bool = False
    """Never use the network; models must be on disk."""

    lora: tuple[Path, ...] = ()
    """LoRA, LoHa or LoKr files in any known layout."""
    lora_multiplier: tuple[float, ...] = ()
    """How strongly each is applied; the last one holds for those that follow, none means 1."""
    lora_alpha: tuple[Annotated[float, Ge(0.0)], ...] = ()
    """Alpha of each, for files that say none; the last one holds for those that follow, 0 is unset."""
    lora_include: tuple[str, ...] = ()
    """Regular expressions of module names: only modules that one of them finds are changed."""
    lora_exclude: tuple[str, ...] = ()
    """Regular expressions of module names that are left alone."""
    lora_mode: Literal["merge", "unmerged"] = "merge"
    """Add LoRAs to the weights at load, or run them beside the weights, which then stay as they are."""
    save_merged_model: Path | None = None
    """Only write the transformer with its LoRAs merged to this file or folder; nothing is generated."""

    prompt: str = ""
    """What to show."""
    negative_prompt: str = ""
    """What to stay away from."""
    from_file: Path | None = None
    """A text file of prompts, one a line with options of its own: letters such as --w, --d, --n, or flags."""
    seed: Annotated[int, Ge(-1), Le(2**63 - 1)] = -1
    """Where the noise starts; the same seed gives the same bytes. -1 draws one and records it."""
    num_videos: Annotated[int, Ge(1)] = 1
    """How many clips per prompt, with seeds counting up from `seed`."""

    image: Path | None = None
    """The first frame."""
    end_image: Path | None = None
    """The last frame, where the model's layout allows it."""
    image_fit: Literal["crop", "stretch", "pad"] = "crop"
    """How an image or clip of another shape is made to fit."""
    video: Path | None = None
    """A clip to start from."""
    strength: Annotated[float, Ge(0.0), Le(1.0)] = 0.8
    """How far to leave the clip: 0 keeps it, 1 ignores it."""

    height: Annotated[int, Ge(0), Le(8192)] = 0
    """Pixels; 0 takes the model's own size."""
    width: Annotated[int, Ge(0), Le(8192)] = 0
    """Pixels; 0 takes the model's own size."""
    num_frames: Annotated[int, Ge(0)] = 0
    """Frames of video; 0 takes the model's own length."""
    fps: Annotated[float, Ge(0.0)] = 0.0
    """Frames per second of the file written; 0 takes the model's own rate."""
    strict: bool = False
    """Refuse what would otherwise be adjusted to the nearest legal value."""

    steps: Annotated[int, Ge(1), Le(1000)] = 50
    """Denoising steps."""
    guidance_scale: Annotated[float, Ge(0.0)] = 6.0
    """How strongly to follow the prompt; 1 or less skips the negative pass and halves the time."""

    format: FileFormat = "mp4"
    """What to write: a clip (mp4, both), a folder of frames (png, images, latent_images), or nothing but the
    latents, which are always saved."""
    crf: Annotated[int, Ge(0), Le(51)] = 17
    """Quality of the mp4: 0 lossless, 51 worst."""
    contact_sheet: bool = True
    """Also write a PNG with frames of the clip side by side."""
    metadata: bool = True
    """Write the recipe into every file, so that `reelwright replay` can make it again."""
    preview_every: Annotated[int, Ge(0)] = 10
    """Write a rough preview.png every so many steps; 0 writes none."""
    from_latent: Path | None = None
    """Only decode this saved latent."""
    out: Path = Path("outputs")
    """Folder in which the run's own folder is made."""
    run: Path | None = None
    """The run's own folder, instead of a new one under `out`."""

    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    """How the model runs."""


SAME_FOR_ALL_PROMPTS = (
    *("model", "dit", "vae", "text_encoder", "tokenizer", "offline"),
    *("lora", "lora_multiplier", "lora_alpha", "lora_include", "lora_exclude", "lora_mode"),
    *("save_merged_model", "from_file", "from_latent", "out", "run"),
)
"""Fields of which a run has one value; the others may differ from prompt to prompt."""
