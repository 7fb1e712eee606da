"""How FramePack's denoisers are trained: what there is to train, and on which caches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.core.errors import ConfigError
from reelwright.diffusion.noise_settings import check_noise_settings
from reelwright.execution.block_swap import check_block_swap
from reelwright.families.framepack.cache_items import dataset_keys, picture_options
from reelwright.families.framepack.checkpoints import (
    FramePackModel,
    check_parts_are_meant,
    load_transformer,
    locate_transformer,
    told_settings,
)
from reelwright.families.framepack.config import (
    Direction,
    FramePackCacheLatents,
    FramePackCacheText,
    FramePackGenerate,
    FramePackTrain,
    TrainingMode,
)
from reelwright.families.framepack.direction import find_direction
from reelwright.families.framepack.execution_facts import EXECUTION_FACTS
from reelwright.families.framepack.initialization import drawn_transformer
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.lora_facts import DIRECTIONS, LoraFacts
from reelwright.families.framepack.lora_layouts import adapter_targets
from reelwright.families.framepack.objective import FramePackObjective
from reelwright.families.framepack.one_frame import write_one_frame
from reelwright.families.framepack.packing import num_tokens
from reelwright.families.framepack.parts import Parts
from reelwright.families.framepack.train_samples import SAMPLING, generate_config
from reelwright.families.framepack.training_modes import as_trained, check_kinds, kinds_of
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.protocols.training import Training, TrainingData

T = TypeVar("T")

_TEXT_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


@dataclass(frozen=True, kw_only=True)
class FramePackTrainingModel:
    """A transformer to train, found and checked, with nothing loaded."""

    config: FramePackTrain
    model: FramePackModel
    parts: Parts
    facts: LoraFacts
    """What the caches hold, as LoRAs will say it."""
    system_prompt: str
    """With which captions were encoded."""
    targets: AdapterTargets
    notices: tuple[str, ...] = ()
    key_map: KeyMap = RELEASED_TRANSFORMER
    adapter_layout: Literal["native", "diffusers", "peft"] = "native"

    @property
    def fingerprints(self) -> Mapping[str, str]:
        return self.model.fingerprints

    @property
    def released_dtype(self) -> Literal["float32", "bfloat16", "float16"]:
        return self.model.released_dtype

    @property
    def settings(self) -> Mapping[str, Any]:
        return told_settings(self.model)[0]

    @property
    def metadata(self) -> Mapping[str, str]:
        """As musubi-tuner has it, and what was trained (specs: FramePack 6.10)."""
        noise = self.config.noise
        module = {"ss_network_module": "networks.lora_framepack"} if self.config.method == "lora" else {}
        return {
            **module,
            "ss_base_model_version": "framepack",
            "modelspec.architecture": "framepack/lora",
            "modelspec.implementation": "https://github.com/lllyasviel/FramePack",
            "ss_weighting_scheme": noise.weighting,
            "ss_logit_mean": str(noise.logit_mean),
            "ss_logit_std": str(noise.logit_std),
            "ss_mode_scale": str(noise.mode_scale),
            "ss_guidance_scale": str(noise.distilled_guidance),
            "ss_timestep_sampling": noise.timestep_sampling,
            "ss_sigmoid_scale": str(noise.sigmoid_scale),
            "ss_discrete_flow_shift": str(noise.discrete_flow_shift),
            **self.facts.metadata(),
        }

    def load(self, device: torch.device, dtype: torch.dtype, *, seed: int = 0) -> nn.Module:
        if self.parts.drawn_for is None:
            return load_transformer(self.model, device, dtype)
        drawn = drawn_transformer(self.model.transformer, seed).to(device, dtype)
        drawn.output_projection.float()
        return drawn.requires_grad_(requires_grad=False).eval()

    def objective(self, device: torch.device, dtype: torch.dtype) -> FramePackObjective:
        return FramePackObjective(noise=self.config.noise, device=device, dtype=dtype)


def locate(config: FramePackTrain, data: TrainingData) -> FramePackTrainingModel:
    """Find the transformer; nothing else is needed to train. Raises UserError.

    Also for caches of another mode than the model is known to be for.
    """
    check_noise_settings(config.noise)
    assert isinstance(data.latents, FramePackCacheLatents)
    assert isinstance(data.texts, FramePackCacheText)
    facts, remarks = _facts_of(data.latents, data)
    wanted = generate_config(config)
    parts = _parts(config, wanted, _goal(kinds_of(data.latents)))
    known = find_direction(wanted, parts)
    direction = facts.direction or ("forward" if known.trained == "forward" else "backward")
    remarks += check_kinds(data.latents, known, parts)
    model = locate_transformer(replace(wanted, direction=direction), parts)
    check_block_swap(config.execution.block_swap, model.transformer.num_blocks)
    return FramePackTrainingModel(
        config=config,
        model=model,
        parts=parts,
        facts=facts,
        system_prompt=data.texts.system_prompt,
        targets=adapter_targets(model.transformer, str(model.transformer_path)),
        notices=(*model.notices, *remarks),
    )


def caches(
    config: FramePackTrain, latents: CacheLatentsConfig, texts: CacheTextConfig
) -> tuple[FramePackCacheLatents, FramePackCacheText]:
    """The configurations with the parts of the model that is trained. Raises ConfigError."""
    assert isinstance(latents, FramePackCacheLatents)
    assert isinstance(texts, FramePackCacheText)
    wanted = generate_config(config)
    parts = _parts(config, wanted, "unknown")
    check_parts_are_meant(parts)
    latents = as_trained(config, latents, wanted, parts)
    model = {"model": config.model, "offline": config.offline}
    text_parts = {name: getattr(config, name) for name in _TEXT_PARTS}
    return (
        replace(
            latents,
            **model,
            vae=config.vae,
            image_encoder=config.image_encoder,
            execution=replace(latents.execution, device=config.execution.device),
        ),
        replace(
            texts,
            **model,
            **text_parts,
            execution=replace(texts.execution, device=config.execution.device),
        ),
    )


def kind_of_sections(data: TrainingData) -> dict[str, str]:
    """The mode, and the window or the times of single frames where all data sets have the same."""
    assert isinstance(data.latents, FramePackCacheLatents)
    facts, _ = _facts_of(data.latents, data)
    told = {"mode": " and ".join(kinds_of(data.latents)), "one_frame": facts.one_frame}
    if facts.variant != "one_frame":
        told["fp_latent_window_size"] = str(facts.window or "")
    return {name: text for name, text in told.items() if text}


def _facts_of(latents: FramePackCacheLatents, data: TrainingData) -> tuple[LoraFacts, list[str]]:
    """What all data sets have in common, and a remark on what they have not."""
    keys = [dataset_keys(dataset) for dataset in data.datasets]
    windows = {each.fp_latent_window_size for each in keys}
    layouts: set[str] = set()
    if latents.mode == "one_frame":
        layouts = {write_one_frame(picture_options(latents, each)) for each in keys}
    remarks = [
        f"{name}: the data sets have {' and '.join(sorted(map(str, found)))}; a LoRA that learns several does"
        " not say how it is used."
        for name, found in (("fp_latent_window_size", windows), ("fp_1f_target_index and others", layouts))
        if len(found) > 1
    ]
    kinds = kinds_of(latents)
    variant = kinds[0] if len(kinds) == 1 else None
    return LoraFacts(variant=variant, window=_only(windows, 0), one_frame=_only(layouts, "")), remarks


def _goal(kinds: Sequence[TrainingMode]) -> Direction | Literal["both"]:
    """Which sections a model will know that learns these kinds; single frames are of the base model."""
    directions: set[Direction | Literal["both"]] = {DIRECTIONS.get(kind, "backward") for kind in kinds}
    return _only(directions, "both")


def _parts(
    config: FramePackTrain, wanted: FramePackGenerate, goal: Direction | Literal["both", "unknown"]
) -> Parts:
    """Where the transformer is, or its sizes. Raises ConfigError."""
    if config.init == "widened":
        raise ConfigError(
            "init: models of this family read images and history already; there is nothing to widen. Leave"
            " it out, or take random."
        )
    if config.init == "weights":
        return Parts(wanted, wanted=())
    return Parts(wanted, wanted=(), drawn_for=goal, sizes=config.init_config)


def _only(found: set[T], otherwise: T) -> T:
    return next(iter(found)) if len(found) == 1 else otherwise


def at_positions(config: FramePackTrain, wanted: Literal["extrapolated", "interpolated"]) -> FramePackTrain:
    """Rows and columns are counted at any size. Raises ConfigError for another way."""
    if wanted == "interpolated":
        raise ConfigError(
            "positions: interpolated spreads them over the range of a model's own size, and this model has"
            " none. Use extrapolated, which counts on."
        )
    return config


TRAINING = Training(
    locate=locate,
    caches=caches,
    sampling=SAMPLING,
    kind=kind_of_sections,
    at_positions=at_positions,
    quantized=EXECUTION_FACTS.is_quantized,
    num_tokens=num_tokens,
)
