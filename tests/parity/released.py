"""Ours beside the reference implementation (diffusers), with the same weights and the same inputs."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXPipeline, CogVideoXTransformer3DModel
from torch import Tensor, nn

from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.conditions import Conditions, position_conditions
from reelwright.families.cogvideox.config import AutoencoderConfig, TransformerConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_AUTOENCODER, DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer

SMALL = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    time_embed_dim=16,
    text_embed_dim=32,
    max_text_seq_length=8,
    sample_height=8,
    sample_width=12,
    sample_frames=17,
)
ROTARY = replace(SMALL, use_rotary_positional_embeddings=True)
SECOND = replace(ROTARY, patch_size_t=2, patch_bias=False)
LAYOUTS = {
    "2b": SMALL,
    "5b": ROTARY,
    "5b-i2v": replace(ROTARY, in_channels=32, use_learned_positional_embeddings=True),
    "1.5-5b": SECOND,
    "1.5-5b-i2v": replace(SECOND, in_channels=32, ofs_embed_dim=16),
    "fun-2b-inp": replace(SMALL, in_channels=33),
    "fun-5b-inp": replace(ROTARY, in_channels=33),
    "fun-5b-control": replace(ROTARY, in_channels=32),
}
"""One small network of every released layout."""

SMALL_AUTOENCODER = AutoencoderConfig(
    block_out_channels=(8, 16, 16, 32),
    latent_channels=4,
    layers_per_block=1,
    norm_num_groups=4,
    sample_height=96,
    sample_width=80,
)


def reference_transformer(config: TransformerConfig) -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(**config.settings())


def reference_autoencoder(config: AutoencoderConfig) -> AutoencoderKLCogVideoX:
    num_stages = len(config.block_out_channels)
    return AutoencoderKLCogVideoX(
        **config.settings(),
        down_block_types=("CogVideoXDownBlock3D",) * num_stages,
        up_block_types=("CogVideoXUpBlock3D",) * num_stages,
    )


def same_transformer(
    reference: CogVideoXTransformer3DModel, config: TransformerConfig
) -> CogVideoXTransformer:
    """Ours with the reference's weights, renamed as users' files are."""
    ours = CogVideoXTransformer(config)
    ours.load_state_dict(DIFFUSERS_TRANSFORMER.to_ours(reference.state_dict()))
    return ours.eval()


def same_autoencoder(reference: AutoencoderKLCogVideoX, config: AutoencoderConfig) -> CogVideoXAutoencoder:
    ours = CogVideoXAutoencoder(config)
    ours.load_state_dict(DIFFUSERS_AUTOENCODER.to_ours(reference.state_dict()))
    return ours.eval()


def scatter_norms(network: nn.Module) -> None:
    """Move weights and biases off their initial ones and zeros, so that a swapped pair is seen."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def reference_rotary(
    reference: CogVideoXTransformer3DModel, latent_grid_THW: tuple[int, int, int]
) -> tuple[Tensor, Tensor] | None:
    """Cosines and sines as the released pipelines compute them; None for models without."""
    if not reference.config.use_rotary_positional_embeddings:
        return None
    frames, height, width = latent_grid_THW
    pipeline = SimpleNamespace(vae_scale_factor_spatial=8, transformer=reference)
    return CogVideoXPipeline._prepare_rotary_positional_embeddings(
        pipeline, 8 * height, 8 * width, frames, torch.device("cpu")
    )


@torch.no_grad()
def reference_velocity(
    reference: CogVideoXTransformer3DModel,
    latents_BCTHW: Tensor,
    text_BLD: Tensor,
    timestep_B: Tensor,
    rotary: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """The reference's prediction [B, C, T, H, W]; latents have the channels of images and masks with them."""
    velocity = reference(
        hidden_states=latents_BCTHW.transpose(1, 2),
        encoder_hidden_states=text_BLD,
        timestep=timestep_B,
        ofs=torch.tensor([2.0]) if reference.config.ofs_embed_dim else None,
        image_rotary_emb=rotary,
        return_dict=False,
    )[0]
    return velocity.transpose(1, 2)


@torch.no_grad()
def our_velocity(
    ours: CogVideoXTransformer,
    latents_BCTHW: Tensor,
    text_BLD: Tensor,
    timestep_B: Tensor,
    positions: dict[str, Tensor] | None = None,
) -> Tensor:
    """Our prediction for the same inputs; positions default to those that generation uses."""
    config = ours.config
    if positions is None:
        positions = position_conditions(config, tuple(latents_BCTHW.shape[2:]))
    noisy, image = latents_BCTHW.split([config.out_channels, config.condition_channels], dim=1)
    conditions = Conditions(
        text_BLD=text_BLD,
        image_BCTHW=image if config.condition_channels else None,
        ofs_B=torch.tensor([2.0]) if config.ofs_embed_dim else None,
        **positions,
    )
    return ours(noisy, timestep_B, conditions)


def largest_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return (ours - reference).abs().max().item()
