"""Where the parts of a checkpoint are and what they are; and the parts themselves, loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from reelwright.adapters.plan import AdapterPlan, plan_adapters
from reelwright.checkpoint.fingerprint import fingerprint, fingerprint_folder, fingerprint_part
from reelwright.checkpoint.loading import Hold, check_network, load_network
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.settings_files import read_json, read_settings
from reelwright.core.errors import CheckpointError
from reelwright.encoders.t5 import T5Text
from reelwright.execution.block_swap import check_swap, loading_device
from reelwright.execution.compiling import check_compiling
from reelwright.execution.devices import choose_device
from reelwright.execution.fp8_products import check_products
from reelwright.execution.weights import hold_weights
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    VARIANTS,
    AutoencoderConfig,
    CogVideoXGenerate,
    SchedulerConfig,
    TransformerConfig,
)
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
from reelwright.families.cogvideox.key_maps import (
    AUTOENCODER_LAYOUTS,
    TRANSFORMER_LAYOUTS,
    describe_transformer,
)
from reelwright.families.cogvideox.lora_layouts import adapter_targets
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.model_folder import find_root, find_variant, weight_notices

_OWN_PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
"""Folders of a model."""

FOLDER_ADVICE = (
    "A model folder in the diffusers layout has transformer, vae, text_encoder, tokenizer and scheduler"
    " folders; fetch it again, or name single files with --dit, --vae and --text-encoder."
)


class Layout(Enum):
    """What a denoiser reads beside noise and text."""

    TEXT = "text"
    IMAGE = "image"
    CONTROL = "control"
    INPAINT = "inpaint"


class TransformerFiles(Protocol):
    """Where a denoiser is, and its sizes."""

    @property
    def transformer_path(self) -> Path: ...

    @property
    def transformer(self) -> TransformerConfig: ...


class AutoencoderFiles(Protocol):
    """Where an autoencoder is, and its sizes."""

    @property
    def autoencoder_path(self) -> Path: ...

    @property
    def autoencoder(self) -> AutoencoderConfig: ...


@dataclass(frozen=True, kw_only=True)
class CogVideoXModel:
    """A checkpoint that was found and checked, with no weights loaded."""

    name: str
    transformer_path: Path
    transformer: TransformerConfig
    autoencoder_path: Path
    autoencoder: AutoencoderConfig
    scheduler: SchedulerConfig
    default_sampler: Literal["ddim", "dpm"]
    text: T5Text
    layout: Layout
    released_dtype: Literal["float32", "bfloat16", "float16"]
    fingerprints: Mapping[str, str]
    adapters: AdapterPlan = field(default_factory=AdapterPlan)
    notices: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        return self.transformer.fps

    @property
    def longest(self) -> int:
        return self.transformer.longest


def locate(config: CogVideoXGenerate, loaded: TransformerConfig | None = None) -> CogVideoXModel:
    """Find every part that the configuration names and check that its tensors fit.

    loaded: sizes of a denoiser that will be used as it is; its files are then not looked for. Raises
    CheckpointError, which says which file or tensor is wrong and what to do.
    """
    check_compiling(config.execution, choose_device(config.execution.device))
    variant = find_variant(config.model, VARIANTS)
    own = _OWN_PARTS if loaded is None else tuple(part for part in _OWN_PARTS if part != "transformer")
    patterns = ("model_index.json", *(f"{part}/*" for part in own))
    root = find_root(config.model, variant, patterns, offline=config.offline)
    _check_folder(root, config, own)
    transformer_path = config.dit or root / "transformer"
    autoencoder_path = config.vae or root / "vae"
    transformer = loaded or read_transformer_config(transformer_path)
    check_swap(config.execution, transformer.num_layers, has_loras=bool(config.lora))
    released = variant.dtype if variant else guess_dtype(transformer)
    check_products(config.execution, released)
    if config.compatibility.norm_eps == "sat":
        transformer = replace(transformer, norm_eps=1e-6)
    scheduler, sampler = read_scheduler(None if config.dit else root, transformer)
    autoencoder = read_autoencoder_config(autoencoder_path, transformer)
    text = T5Text(config.text_encoder or root / "text_encoder", config.tokenizer or root / "tokenizer")
    if loaded is None:
        check_transformer(transformer_path, transformer)
    _check_parts(transformer_path, transformer, autoencoder_path, autoencoder, text)
    adapters = plan_adapters(config, lambda: adapter_targets(transformer, str(transformer_path)))
    return CogVideoXModel(
        name=config.model,
        transformer_path=transformer_path,
        transformer=transformer,
        autoencoder_path=autoencoder_path,
        autoencoder=autoencoder,
        scheduler=scheduler,
        default_sampler=sampler,
        text=text,
        layout=find_layout(
            transformer, config.model, wants_image=config.image is not None and config.control_video is None
        ),
        released_dtype=released,
        fingerprints=_fingerprints(root, config, own) | adapters.fingerprints,
        adapters=adapters,
        notices=(*weight_notices(config.model, root), *adapters.notices),
    )


def read_transformer_config(path: Path) -> TransformerConfig:
    """The sizes of a denoiser, from its config.json, that of its folder, or the shapes of a single file."""
    described = path if path.suffix == ".json" else path / "config.json"
    if described.is_file():
        return read_settings(TransformerConfig, described, FOLDER_ADVICE)
    with open_tensors(path) as source:
        facts = describe_transformer(source.shapes(), str(path))
    return TransformerConfig(**facts, **_clip_size(facts))


def read_autoencoder_config(path: Path, transformer: TransformerConfig) -> AutoencoderConfig:
    """The sizes of the autoencoder that belongs to a denoiser."""
    described = path / "config.json"
    if described.is_file():
        return read_settings(AutoencoderConfig, described, FOLDER_ADVICE)
    # A single file is the released network; only the scale of its latents depends on the denoiser.
    return AutoencoderConfig(scaling_factor=1.15258426 if _is_small(transformer) else 0.7)


def read_scheduler(
    root: Path | None, transformer: TransformerConfig
) -> tuple[SchedulerConfig, Literal["ddim", "dpm"]]:
    """The schedule and sampler of a model folder; without one, those that such a transformer came with."""
    if root is None:
        small = _is_small(transformer)
        return SchedulerConfig(snr_shift_scale=3.0 if small else 1.0), "ddim" if small else "dpm"
    path = root / "scheduler" / "scheduler_config.json"
    class_name = str(read_json(path, FOLDER_ADVICE).get("_class_name", ""))
    return read_settings(SchedulerConfig, path, FOLDER_ADVICE), "dpm" if "DPM" in class_name else "ddim"


def find_layout(transformer: TransformerConfig, name: str, *, wants_image: bool) -> Layout:
    """32 channels are an image, if nothing else can be or the user wants it, or a control clip."""
    channels = transformer.condition_channels
    if channels == 0:
        return Layout.TEXT
    if channels == transformer.out_channels + 1:
        return Layout.INPAINT
    if channels != transformer.out_channels:
        raise CheckpointError(
            f"{name}: the transformer reads {transformer.in_channels} channels, which is no known"
            " layout. Known are 16 (text), 32 (image or control) and 33 (inpainting)."
        )
    return Layout.IMAGE if is_image_model(transformer) or wants_image else Layout.CONTROL


def is_image_model(transformer: TransformerConfig) -> bool:
    """Whether channels beside the noise can only be an image's."""
    has_table = transformer.use_learned_positional_embeddings
    return transformer.condition_channels > 0 and (has_table or transformer.is_second_generation)


def guess_dtype(transformer: TransformerConfig) -> Literal["bfloat16", "float16"]:
    """The number format that a denoiser of these sizes was released in."""
    return "float16" if _is_small(transformer) else "bfloat16"


def check_transformer(path: Path, config: TransformerConfig) -> None:
    """Raise CheckpointError unless the files at `path` hold such a denoiser."""
    with torch.device("meta"):
        network = CogVideoXTransformer(config)
    check_network(network, path, TRANSFORMER_LAYOUTS)


def load_adapted(
    model: CogVideoXModel, config: ExecutionConfig, dtype: torch.dtype
) -> tuple[CogVideoXTransformer, list[str]]:
    """The denoiser with LoRAs, its weights where and as `config` says; and what LoRAs changed, in words."""
    make_hold = partial(hold_weights, config, model.transformer_path, EXECUTION_FACTS)
    device = loading_device(config, choose_device(config.device))
    return model.adapters.load_with(lambda add_to: load_transformer(model, device, dtype, make_hold(add_to)))


def load_transformer(
    model: TransformerFiles, device: torch.device, dtype: torch.dtype, hold: Hold | None = None
) -> CogVideoXTransformer:
    with torch.device("meta"):
        transformer = CogVideoXTransformer(model.transformer)
    load_network(
        transformer, model.transformer_path, TRANSFORMER_LAYOUTS, device=device, dtype=dtype, hold=hold
    )
    return transformer


def load_autoencoder(
    model: AutoencoderFiles, device: torch.device, dtype: torch.dtype
) -> CogVideoXAutoencoder:
    with torch.device("meta"):
        autoencoder = CogVideoXAutoencoder(model.autoencoder)
    load_network(autoencoder, model.autoencoder_path, AUTOENCODER_LAYOUTS, device=device, dtype=dtype)
    return autoencoder


def _check_folder(root: Path, config: CogVideoXGenerate, parts: Sequence[str]) -> None:
    """Name those of `parts` that a model folder lacks; what is given alone need not be in it."""
    alone = {
        "transformer": config.dit,
        "vae": config.vae,
        "text_encoder": config.text_encoder,
        "tokenizer": config.tokenizer,
        "scheduler": config.dit,
    }
    missing = [part for part in parts if alone[part] is None and not (root / part).exists()]
    if missing:
        raise CheckpointError(f"{root}: {', '.join(missing)}: missing. {FOLDER_ADVICE}")


def _fingerprints(root: Path, config: CogVideoXGenerate, parts: Sequence[str]) -> dict[str, str]:
    """Of each of `parts`: its weights and the settings beside them."""
    paths = {
        "transformer": config.dit or root / "transformer",
        "vae": config.vae or root / "vae",
        "text_encoder": config.text_encoder or root / "text_encoder",
    }
    prints = {part: fingerprint_part(path) for part, path in paths.items() if part in parts}
    prints["tokenizer"] = fingerprint_folder(config.tokenizer or root / "tokenizer")
    if config.dit is None:
        prints["scheduler"] = fingerprint([root / "scheduler" / "scheduler_config.json"])
    return prints


def _clip_size(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The clip that a single file was made for, which its tensors do not tell: that of its generation."""
    second = "1.5-5b-i2v" if facts["ofs_embed_dim"] else "1.5-5b"
    released = TRANSFORMERS[second if facts["patch_size_t"] else "5b"]
    keys = ("sample_height", "sample_width", "sample_frames")
    return {key: getattr(released, key) for key in keys}


def _is_small(transformer: TransformerConfig) -> bool:
    """2B: its schedule, its latent scale and its number format differ from all others."""
    return transformer.num_attention_heads == TRANSFORMERS["2b"].num_attention_heads


def _check_parts(
    transformer_path: Path,
    transformer: TransformerConfig,
    autoencoder_path: Path,
    autoencoder: AutoencoderConfig,
    text: T5Text,
) -> None:
    with torch.device("meta"):
        pixels = CogVideoXAutoencoder(autoencoder)
    check_network(pixels, autoencoder_path, AUTOENCODER_LAYOUTS)
    text.check()
    if text.width != transformer.text_embed_dim:
        raise CheckpointError(
            f"{text.encoder_path}: gives {text.width} features per token; {transformer_path} reads"
            f" {transformer.text_embed_dim}. Give this model's own with --text-encoder and --tokenizer."
        )
    if autoencoder.latent_channels != transformer.out_channels:
        raise CheckpointError(
            f"{autoencoder_path}: makes {autoencoder.latent_channels} latent channels; {transformer_path}"
            f" reads {transformer.out_channels}. Give the autoencoder of this model with --vae."
        )
