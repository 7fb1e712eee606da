"""A checkpoint to train: found and checked against configuration and caches, with nothing loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from reelwright.checkpoint.fingerprint import fingerprint
from reelwright.checkpoint.key_map import KeyMap
from reelwright.execution.block_swap import check_block_swap
from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.families.cogvideox.cache_latents import kept_first_frame
from reelwright.families.cogvideox.cache_parts import (
    LatentParts,
    TextParts,
    find_latent_parts,
    find_text_parts,
    load_latent_space,
)
from reelwright.families.cogvideox.checkpoints import Layout, read_scheduler
from reelwright.families.cogvideox.conditions import chosen_image_scale, chosen_rope_grid, image_scale
from reelwright.families.cogvideox.config import (
    CogVideoXCacheLatents,
    CogVideoXCacheText,
    CogVideoXTrain,
    FirstFrame,
    RopeGrid,
    SchedulerConfig,
    TransformerConfig,
)
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.lora_layouts import adapter_targets, released_name
from reelwright.families.cogvideox.model_parts import ReleasedDtype
from reelwright.families.cogvideox.noising import timestep_range
from reelwright.families.cogvideox.objective import CogVideoXObjective
from reelwright.families.cogvideox.schedule import training_alphas
from reelwright.families.cogvideox.texts import encode_text
from reelwright.families.cogvideox.training_channels import TrainingChannels
from reelwright.families.cogvideox.training_checks import (
    check_training,
    encodes_images,
    noises_images,
    trained_layout,
)
from reelwright.families.cogvideox.training_start import Start, find_start, start_folder
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.training import TrainingData

_TASKS = {Layout.TEXT: "t2v", Layout.IMAGE: "i2v", Layout.CONTROL: "control", Layout.INPAINT: "inpaint"}


@dataclass(frozen=True, kw_only=True)
class CogVideoXTrainingModel:
    """Of the parts of a checkpoint, the denoiser, its noise schedule, and those that its objective needs."""

    config: CogVideoXTrain
    latents: CogVideoXCacheLatents
    texts: CogVideoXCacheText
    start: Start
    transformer: TransformerConfig
    scheduler: SchedulerConfig
    layout: Layout
    first_frame: FirstFrame
    """What the caches hold of it."""
    latent_parts: LatentParts | None
    """The autoencoder, for models that read images."""
    text_parts: TextParts | None
    """The text encoder, where the empty caption has to be encoded."""
    released_dtype: ReleasedDtype
    fingerprints: Mapping[str, str]
    notices: tuple[str, ...]
    key_map: KeyMap = DIFFUSERS_TRANSFORMER
    adapter_layout: Literal["diffusers"] = "diffusers"

    @property
    def targets(self) -> AdapterTargets:
        return adapter_targets(self.transformer, str(self.start.transformer_path))

    @property
    def settings(self) -> Mapping[str, Any]:
        trained = replace(self.transformer, rope_grid=self._rope_grid)
        return {"_class_name": "CogVideoXTransformer3DModel", **trained.settings()}

    @property
    def _rope_grid(self) -> RopeGrid:
        return chosen_rope_grid(self.config.rope_grid, self.transformer)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Names as kohya's trainers and model sites know them."""
        config, noise = self.config, self.config.noise
        version = f"cogvideox-{released_name(config.model, self.transformer)}".removesuffix("-")
        facts = {
            "ss_base_model_version": version,
            "modelspec.architecture": f"{version}/{config.method}",
            "modelspec.implementation": "https://github.com/zai-org/CogVideo",
            "ss_task": _TASKS[self.layout],
            "ss_timestep_sampling": noise.timestep_sampling,
            "ss_weighting_scheme": noise.weighting,
            "ss_zero_terminal_snr": str(self.scheduler.rescale_betas_zero_snr),
            "ss_noise_offset": f"{noise.noise_offset:g}",
            "ss_caption_dropout_rate": f"{noise.caption_dropout:g}",
        }
        if self._rope_grid != TransformerConfig().rope_grid:
            facts["ss_rope_grid"] = self._rope_grid
        if self.layout is Layout.IMAGE:
            facts["ss_image_latent_scale"] = chosen_image_scale(config.image_latent_scale, self.transformer)
        return facts

    def load(self, device: torch.device, dtype: torch.dtype, *, seed: int = 0) -> CogVideoXTransformer:
        return self.start.load(device, dtype, seed)

    def objective(self, device: torch.device, dtype: torch.dtype) -> CogVideoXObjective:
        """A text encoder that it needs is gone again when this returns; an autoencoder stays."""
        return CogVideoXObjective(
            settings=self.config.noise,
            transformer=self.transformer,
            rope_grid=self._rope_grid,
            alphas=training_alphas(self.scheduler),
            no_caption_LD=self._empty_caption(device),
            channels=self._channels(device),
            device=device,
            dtype=dtype,
        )

    def _empty_caption(self, device: torch.device) -> Tensor | None:
        parts = self.text_parts
        if parts is None:
            return None
        dtype = choose_dtype(self.config.execution.dtype, device, self.released_dtype)
        features = encode_text(parts, "", parts.num_tokens, device, dtype)
        parts.text.release()
        return features[0]

    def _channels(self, device: torch.device) -> TrainingChannels | None:
        config, parts = self.config, self.latent_parts
        if self.layout is Layout.TEXT:
            return None
        space = None
        if parts is not None and encodes_images(config, self.layout, self.first_frame):
            whole_clip = self.latents.vae_chunk == "whole"
            space = load_latent_space(parts, config.execution, device, whole_clip=whole_clip)
        scale = parts.autoencoder.scaling_factor if parts is not None else 1.0
        return TrainingChannels(
            layout=self.layout,
            settings=config.noise,
            is_noised=noises_images(config, self.first_frame),
            space=space,
            image_scale=image_scale(chosen_image_scale(config.image_latent_scale, self.transformer), scale),
            clip_scale=scale,
        )


def locate_training(config: CogVideoXTrain, data: TrainingData) -> CogVideoXTrainingModel:
    """Find the denoiser and what its objective needs. Raises UserError."""
    choose_device(config.execution.device)
    latents, texts = data.latents, data.texts
    assert isinstance(latents, CogVideoXCacheLatents)
    assert isinstance(texts, CogVideoXCacheText)
    folder = start_folder(config)
    start = find_start(config, folder)
    transformer = start.trained
    layout = trained_layout(config, transformer)
    first_frame = kept_first_frame(latents, transformer)
    check_block_swap(config.execution.block_swap, transformer.num_layers)
    check_training(config, transformer, layout, first_frame, data.datasets)
    scheduler = _scheduler(config, None if config.dit else folder.root, transformer)
    timestep_range(config.noise, scheduler.num_train_timesteps)
    reads_image = layout in (Layout.IMAGE, Layout.INPAINT)
    latent_parts = find_latent_parts(latents) if reads_image else None
    drops_to_empty = config.noise.caption_dropout > 0 and config.noise.caption_dropout_to == "empty"
    text_parts = find_text_parts(texts) if drops_to_empty else None
    prints = {"transformer": start.fingerprint}
    if config.dit is None:
        prints["scheduler"] = fingerprint([folder.part("scheduler") / "scheduler_config.json"])
    if latent_parts is not None:
        prints["vae"] = latent_parts.fingerprint
    return CogVideoXTrainingModel(
        config=config,
        latents=latents,
        texts=texts,
        start=start,
        transformer=transformer,
        scheduler=scheduler,
        layout=layout,
        first_frame=first_frame,
        latent_parts=latent_parts,
        text_parts=text_parts,
        released_dtype=folder.released_dtype,
        fingerprints=prints | (dict(text_parts.fingerprints) if text_parts is not None else {}),
        notices=start.notices,
    )


def _scheduler(config: CogVideoXTrain, root: Path | None, transformer: TransformerConfig) -> SchedulerConfig:
    scheduler, _ = read_scheduler(root, transformer)
    chosen = config.noise.zero_terminal_snr
    return scheduler if chosen == "auto" else replace(scheduler, rescale_betas_zero_snr=chosen == "on")
