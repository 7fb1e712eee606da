"""What the parts of a checkpoint are, checked against each other; and the parts themselves, loaded."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from reelwright.adapters.plan import AdapterPlan, plan_adapters
from reelwright.checkpoint.fingerprint import fingerprint_folder, fingerprint_part, fingerprint_text
from reelwright.checkpoint.loading import Hold, check_network, load_network
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.settings_files import read_settings, settings_beside
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.siglip import SiglipImage
from reelwright.execution.block_swap import check_swap, loading_device
from reelwright.execution.compiling import check_compiling
from reelwright.execution.devices import choose_device
from reelwright.execution.fp8_products import check_products
from reelwright.execution.weights import hold_weights
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.buckets import TRAINED_RESOLUTION
from reelwright.families.framepack.config import (
    VARIANTS,
    AutoencoderConfig,
    Direction,
    FramePackGenerate,
    TransformerConfig,
)
from reelwright.families.framepack.direction import Trained, choose_direction, direction_of_latents
from reelwright.families.framepack.execution_facts import EXECUTION_FACTS
from reelwright.families.framepack.key_maps import (
    AUTOENCODER_LAYOUTS,
    TRANSFORMER_LAYOUTS,
    describe_transformer,
)
from reelwright.families.framepack.lora_facts import facts_of
from reelwright.families.framepack.lora_layouts import adapter_targets
from reelwright.families.framepack.parts import Parts, own_folder
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND
from reelwright.families.framepack.transformer import FramePackTransformer, keeps_float32
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.model_folder import own_facts, weight_notices


@dataclass(frozen=True, kw_only=True)
class FramePackModel:
    """A checkpoint that was found and checked, with no weights loaded."""

    name: str
    transformer_path: Path
    transformer: TransformerConfig
    autoencoder_path: Path
    autoencoder: AutoencoderConfig
    llama: LlamaText
    clip: ClipText
    siglip: SiglipImage
    direction: Direction
    trained: Trained = "unknown"
    """What the weights are known to be for, whatever is asked of them."""
    resolution: int
    """Pixels of a side of the square that a video's area is near to, unless a size is given."""
    adapters: AdapterPlan
    released_dtype: Literal["float32", "bfloat16", "float16"]
    fingerprints: Mapping[str, str]
    notices: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        return float(FRAMES_PER_SECOND)


def locate(config: FramePackGenerate, of_training: Parts | None = None) -> FramePackModel:
    """Find every part that the work needs and check that its tensors fit.

    To see saved latents only the autoencoder is looked for, to merge LoRAs only the transformer.
    `of_training` says where the transformer is that a session will be given. Raises CheckpointError, which
    says which file or tensor is wrong and what to do.
    """
    check_compiling(config.execution, choose_device(config.execution.device))
    if config.from_latent is not None:
        return _locate_autoencoder(config, Parts(config, wanted=("vae",)))
    parts = Parts(config) if of_training is None else replace(of_training, config=config, wanted=Parts.wanted)
    if config.save_merged_model is not None:
        return locate_transformer(config, parts)
    transformer = read_transformer_config(parts.transformer)
    check_swap(config.execution, transformer.num_blocks, has_loras=bool(config.lora))
    check_products(config.execution, _released_dtype(parts))
    check_parts_are_meant(parts)
    autoencoder = describe_autoencoder(parts.autoencoder)
    llama = LlamaText(parts.text_encoder, parts.tokenizer)
    clip = ClipText(parts.text_encoder_2, parts.tokenizer_2)
    siglip = SiglipImage(parts.image_encoder)
    prints = _transformer_prints(parts, transformer)
    check_autoencoder(parts, autoencoder)
    for encoder in (llama, clip, siglip):
        encoder.check()
    _check_widths(parts, transformer, autoencoder, {"llama": llama, "clip": clip, "siglip": siglip})
    adapters = plan_adapters(config, lambda: adapter_targets(transformer, str(parts.transformer)))
    direction, trained, said = choose_direction(config, parts, _learned_directions(config, adapters))
    return FramePackModel(
        name=config.model,
        transformer_path=parts.transformer,
        transformer=transformer,
        autoencoder_path=parts.autoencoder,
        autoencoder=autoencoder,
        llama=llama,
        clip=clip,
        siglip=siglip,
        direction=direction,
        trained=trained,
        resolution=resolution_of(config, parts.transformer, None if parts.is_released else parts.root),
        adapters=adapters,
        released_dtype=_released_dtype(parts),
        fingerprints={
            **prints,
            **fingerprint_parts(parts),
            **adapters.fingerprints,
        },
        notices=(*_weight_notices(config, parts), *said, *adapters.notices),
    )


def locate_transformer(config: FramePackGenerate, parts: Parts) -> FramePackModel:
    """Find the transformer alone and check that its tensors fit. Raises CheckpointError."""
    transformer = read_transformer_config(parts.transformer)
    prints = _transformer_prints(parts, transformer)
    adapters = plan_adapters(config, lambda: adapter_targets(transformer, str(parts.transformer)))
    direction, trained, said = choose_direction(config, parts, _learned_directions(config, adapters))
    return replace(
        _nothing_located(config, parts),
        transformer_path=parts.transformer,
        transformer=transformer,
        direction=direction,
        trained=trained,
        adapters=adapters,
        fingerprints={**prints, **adapters.fingerprints},
        notices=(*_weight_notices(config, parts), *said, *adapters.notices),
    )


def load_adapted(
    model: FramePackModel, adapters: AdapterPlan, config: ExecutionConfig, dtype: torch.dtype
) -> tuple[FramePackTransformer, list[str]]:
    """The denoiser with LoRAs, its weights where and as `config` says; and what LoRAs changed, in words."""
    make_hold = partial(hold_weights, config, model.transformer_path, EXECUTION_FACTS)
    device = loading_device(config, choose_device(config.device))
    return adapters.load_with(lambda add_to: load_transformer(model, device, dtype, make_hold(add_to)))


def load_transformer(
    model: FramePackModel, device: torch.device, dtype: torch.dtype, hold: Hold | None = None
) -> FramePackTransformer:
    """The denoiser without LoRAs."""
    with torch.device("meta"):
        transformer = FramePackTransformer(model.transformer)
    load_network(
        transformer,
        model.transformer_path,
        TRANSFORMER_LAYOUTS,
        device=device,
        dtype=dtype,
        keep_float32=keeps_float32,
        hold=hold,
    )
    return transformer


def told_settings(model: FramePackModel) -> tuple[dict[str, Any], dict[str, str]]:
    """What stands in the config.json beside a saved transformer, and of that what goes into its metadata."""
    facts = {} if model.trained == "unknown" else {"direction": str(model.trained)}
    return {**model.transformer.to_json("HunyuanVideoFramepackTransformer3DModel"), **facts}, facts


def load_autoencoder(
    path: Path, config: AutoencoderConfig, device: torch.device, dtype: torch.dtype
) -> FramePackAutoencoder:
    with torch.device("meta"):
        autoencoder = FramePackAutoencoder(config)
    load_network(autoencoder, path, AUTOENCODER_LAYOUTS, device=device, dtype=dtype)
    return autoencoder


def describe_autoencoder(path: Path) -> AutoencoderConfig:
    """The sizes of the autoencoder at `path`. Raises CheckpointError."""
    described = settings_beside(path)
    # A single file is the released network.
    return AutoencoderConfig() if described is None else read_settings(AutoencoderConfig, described)


def check_autoencoder(parts: Parts, config: AutoencoderConfig) -> None:
    """Raise CheckpointError if the tensors of the file are not those of such a network."""
    with torch.device("meta"):
        network = FramePackAutoencoder(config)
    check_network(network, parts.autoencoder, AUTOENCODER_LAYOUTS)


def fingerprint_parts(parts: Parts) -> dict[str, str]:
    """Of each wanted part but the transformer: its weights and the settings beside them."""
    return {
        name: (fingerprint_folder if name.startswith("tokenizer") else fingerprint_part)(parts.part(name))
        for name in parts.wanted
    }


def resolution_of(config: Any, transformer: Path | None, root: Path | None) -> int:  # noqa: ANN401 - of any command
    """What the transformer's folder tells, else that of the model whose own autoencoder it goes with.

    root: the model's folder, None for a released one.
    """
    own = None if transformer is None else own_folder(transformer)
    has_others = getattr(config, "vae", None) is not None
    return told_resolution(own, None if has_others else root)


def told_resolution(*folders: Path | None) -> int:
    """Pixels of a side of the square that a model was trained for, as the first folder says that tells it."""
    for folder in folders:
        told = own_facts(folder).get("resolution", "") if folder else ""
        if told.isdecimal():
            return int(told)
    return TRAINED_RESOLUTION


def _released_dtype(parts: Parts) -> Literal["float32", "bfloat16", "float16"]:
    return parts.variant.dtype if parts.variant else "bfloat16"


def _locate_autoencoder(config: FramePackGenerate, parts: Parts) -> FramePackModel:
    autoencoder = describe_autoencoder(parts.autoencoder)
    check_autoencoder(parts, autoencoder)
    return replace(
        _nothing_located(config, parts),
        autoencoder_path=parts.autoencoder,
        autoencoder=autoencoder,
        direction=direction_of_latents(config, parts),
        fingerprints=fingerprint_parts(parts),
        notices=() if config.vae is not None else _weight_notices(config, parts),
    )


def _learned_directions(config: FramePackGenerate, adapters: AdapterPlan) -> dict[str, Direction]:
    """LoRA -> the direction that it was trained in, for those that say it."""
    if config.lora_settings == "ignore":
        return {}
    return {facts.file: facts.direction for facts in facts_of(adapters) if facts.direction}


def _nothing_located(config: FramePackGenerate, parts: Parts) -> FramePackModel:
    """A model of which no part was looked for; those that are not put in must not be used."""
    nowhere, unadapted = Path("not looked for"), FramePackGenerate()
    return FramePackModel(
        name=config.model,
        transformer_path=nowhere,
        transformer=TransformerConfig(),
        autoencoder_path=nowhere,
        autoencoder=AutoencoderConfig(),
        llama=LlamaText(nowhere, nowhere),
        clip=ClipText(nowhere, nowhere),
        siglip=SiglipImage(nowhere),
        direction="backward",
        resolution=TRAINED_RESOLUTION,
        adapters=plan_adapters(unadapted, lambda: adapter_targets(TransformerConfig(), str(nowhere))),
        released_dtype=_released_dtype(parts),
        fingerprints={},
    )


def read_transformer_config(path: Path) -> TransformerConfig:
    """The sizes of a denoiser, from its config.json or the shapes of a single file."""
    described = path if path.suffix == ".json" else settings_beside(path)
    if described is not None:
        return read_settings(TransformerConfig, described)
    with open_tensors(path) as source:
        return TransformerConfig(**describe_transformer(source.shapes(), str(path)))


def check_parts_are_meant(parts: Parts) -> None:
    """Raise ConfigError if parts of the embedded model would stand in for those of a model nobody named."""
    variant = parts.variant
    if (parts.sizes or parts.dit) is None or variant is None or not variant.embedded:
        return
    if _read_by(read_transformer_config(parts.transformer)) == _read_by(
        read_transformer_config(parts.root / "transformer")
    ):
        return
    if flags := parts.taken_from_root():
        released = " or ".join(f"--model {known.name}" for known in VARIANTS if known.repositories)
        raise ConfigError(
            f"model: {parts.transformer} is not the transformer of {variant.name}, whose other parts do not"
            f" go with it. Say {released} for the released ones, or give {', '.join(flags)}."
        )


def _read_by(config: TransformerConfig) -> tuple[int, ...]:
    """The features of each part that a transformer reads."""
    return (
        config.text_embed_dim,
        config.pooled_projection_dim,
        config.image_proj_dim,
        config.in_channels,
    )


def _transformer_prints(parts: Parts, config: TransformerConfig) -> dict[str, str]:
    """The fingerprint of the transformer, whose tensors are checked where files have them."""
    if parts.drawn_for is not None:
        described = json.dumps(asdict(config), sort_keys=True)
        return {"transformer": fingerprint_text(f"drawn {described}")}
    with torch.device("meta"):
        network = FramePackTransformer(config)
    check_network(network, parts.transformer, TRANSFORMER_LAYOUTS)
    return {"transformer": fingerprint_part(parts.transformer)}


def _check_widths(
    parts: Parts,
    transformer: TransformerConfig,
    autoencoder: AutoencoderConfig,
    encoders: Mapping[str, LlamaText | ClipText | SiglipImage],
) -> None:
    facts = (
        (parts.text_encoder, "--text-encoder", encoders["llama"].width, transformer.text_embed_dim),
        (parts.text_encoder_2, "--text-encoder-2", encoders["clip"].width, transformer.pooled_projection_dim),
        (parts.image_encoder, "--image-encoder", encoders["siglip"].width, transformer.image_proj_dim),
        (parts.autoencoder, "--vae", autoencoder.latent_channels, transformer.in_channels),
    )
    for path, flag, given, read in facts:
        if given != read:
            raise CheckpointError(
                f"{path}: gives {given} features; {parts.transformer} reads {read}."
                f" Give this model's own part with {flag}."
            )


def _weight_notices(config: FramePackGenerate, parts: Parts) -> tuple[str, ...]:
    if parts.drawn_for is not None:
        return ("init: the weights of the denoiser are drawn from the seed; it knows nothing yet.",)
    return () if config.dit is not None else weight_notices(config.model, parts.root)
