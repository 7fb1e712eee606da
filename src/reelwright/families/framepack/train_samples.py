"""Clips and pictures of a denoiser that is being trained, made as `generate` makes them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from torch import nn

from reelwright.families.framepack.checkpoints import FramePackModel, locate
from reelwright.families.framepack.config import FramePackGenerate, FramePackTrain
from reelwright.families.framepack.generate import FramePackSession
from reelwright.families.framepack.lora_facts import LoraFacts
from reelwright.families.framepack.parts import Parts
from reelwright.families.framepack.requests import FramePackRequest
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.training import Sampling

_SHARED = (
    *("model", "dit", "vae", "offline", "image_encoder"),
    *("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
)
_OF_SAMPLES = (
    *("seed", "height", "width", "steps", "distilled_guidance", "guidance_scale", "bulk_decode"),
    "video_sections",
)


class Trained(Protocol):
    """What is known of what is trained."""

    @property
    def facts(self) -> LoraFacts: ...

    @property
    def system_prompt(self) -> str: ...

    @property
    def parts(self) -> Parts:
        """Where the transformer is."""
        ...


def generate_config(config: FramePackTrain) -> FramePackGenerate:
    """The configuration that makes clips with the same model, on the same device."""
    run = config.execution
    return FramePackGenerate(
        **{name: getattr(config, name) for name in _SHARED},
        execution=ExecutionConfig(
            device=run.device,
            dtype=run.dtype,
            text_weights=run.text_weights,
            tiling=run.tiling,
            tile_size=run.tile_size,
            vae_chunk=run.vae_chunk,
        ),
    )


def sample_config(config: FramePackTrain, trained: Trained) -> FramePackGenerate:
    """What is left open follows from the caches: direction, window, single frames, system prompt."""
    samples, facts = config.samples, trained.facts
    one_frame = samples.one_frame or facts.one_frame
    of_samples = {name: getattr(samples, name) for name in _OF_SAMPLES}
    direction = samples.direction if samples.direction != "auto" else facts.direction or "auto"
    return replace(
        generate_config(config),
        **{**of_samples, "video_sections": 0} if one_frame else of_samples,
        direction=direction,
        latent_window_size=samples.latent_window_size or facts.window or 9,
        one_frame=one_frame,
        format="png" if one_frame else "mp4",
        system_prompt=samples.system_prompt or trained.system_prompt,
        preview_every=0,
        preview_sections=False,
    )


def locate_sampling(config: FramePackGenerate, trained: Trained) -> FramePackModel:
    """What makes clips with the denoiser that is trained, of which there may be no file."""
    return locate(config, trained.parts)


def start(model: FramePackModel, config: FramePackTrain, denoiser: nn.Module) -> FramePackSession:
    """A session that uses this denoiser."""
    assert isinstance(denoiser, FramePackTransformer)
    return FramePackSession(model, generate_config(config).execution, denoiser)


def encode(model: FramePackModel, config: FramePackTrain, requests: Sequence[FramePackRequest]) -> None:
    """Fill the caches on disk of prompts' and pictures' features."""
    FramePackSession(model, generate_config(config).execution).encode(requests)


SAMPLING = Sampling(config=sample_config, start=start, encode=encode, locate=locate_sampling)
