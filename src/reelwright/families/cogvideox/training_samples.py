"""Clips made with a denoiser while it is trained, by the session that makes all other clips."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.execution.weights import round_encoder
from reelwright.families.cogvideox.checkpoints import CogVideoXModel, Layout, locate
from reelwright.families.cogvideox.config import CogVideoXGenerate, CogVideoXTrain, Compatibility
from reelwright.families.cogvideox.generate import CogVideoXSession
from reelwright.families.cogvideox.requests import CogVideoXRequest
from reelwright.families.cogvideox.texts import encode_texts
from reelwright.families.cogvideox.training_model import CogVideoXTrainingModel
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.training import Sampling


def sampling_config(config: CogVideoXTrain, model: CogVideoXTrainingModel) -> CogVideoXGenerate:
    """As clips will be made: with the lengths of prompts, the positions and the scales of training."""
    samples = config.samples
    return CogVideoXGenerate(
        model=config.model,
        dit=config.dit,
        vae=config.vae,
        text_encoder=config.text_encoder,
        tokenizer=config.tokenizer,
        offline=config.offline,
        seed=samples.seed,
        height=samples.height,
        width=samples.width,
        num_frames=samples.num_frames,
        steps=samples.steps,
        guidance_scale=samples.guidance_scale,
        negative=samples.negative,
        preview_every=0,
        image_latent_scale=config.image_latent_scale if model.layout is Layout.IMAGE else "auto",
        compatibility=Compatibility(
            rope_grid=config.rope_grid,
            vae_chunk=model.latents.vae_chunk,
            text_tokens=model.texts.text_tokens,
        ),
        execution=_execution(config, config.execution.device),
    )


def locate_sampling(config: CogVideoXGenerate, trained: CogVideoXTrainingModel) -> CogVideoXModel:
    """What makes clips with the denoiser that is trained, of whose sizes there may be no file."""
    if trained.config.init == "weights":
        return replace(locate(config), layout=trained.layout)
    located = locate(config, trained.transformer)
    return replace(
        located,
        layout=trained.layout,
        fingerprints={**located.fingerprints, "transformer": trained.start.fingerprint},
        notices=(),
    )


def start_sampling(model: CogVideoXModel, config: CogVideoXTrain, denoiser: nn.Module) -> CogVideoXSession:
    """A session that uses the denoiser as it is, where it is; only the autoencoder loads beside it."""
    device = next(denoiser.parameters()).device
    return CogVideoXSession(model, _execution(config, str(device)), denoiser)


def encode_samples(
    model: CogVideoXModel, config: CogVideoXTrain, requests: Sequence[CogVideoXRequest]
) -> None:
    """Put the texts of requests into the cache of prompts; their pictures are encoded with the clips."""
    device = choose_device(config.execution.device)
    dtype = choose_dtype(config.execution.dtype, device, model.released_dtype)
    round_encoder(model.text.encoder, config.execution.text_weights, device)
    encode_texts(model, [request.config for request in requests], device, dtype)


def _execution(config: CogVideoXTrain, device: str) -> ExecutionConfig:
    execution = config.execution
    return ExecutionConfig(
        device=device,
        dtype=execution.dtype,
        tiling=execution.tiling,
        tile_size=execution.tile_size,
        text_weights=execution.text_weights,
    )


SAMPLING = Sampling(
    config=sampling_config, start=start_sampling, encode=encode_samples, locate=locate_sampling
)
