"""The autoencoder as training finds it: its files, or its sizes alone."""

import torch
from torch import nn

from reelwright.checkpoint.fingerprint import fingerprint_part
from reelwright.checkpoint.loading import check_network
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.checkpoints import describe_autoencoder, load_autoencoder
from reelwright.families.framepack.clips import FRAMES_PER_SECOND
from reelwright.families.framepack.config import AutoencoderConfig, FramePackCacheLatents
from reelwright.families.framepack.key_maps import AUTOENCODER_LAYOUTS, RELEASED_AUTOENCODER
from reelwright.families.framepack.parts import Parts
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.autoencoder_training import AutoencoderModel, AutoencoderTraining, with_sizes
from reelwright.protocols.model_folder import weight_notices


def locate_autoencoder(config: AutoencoderTrainConfig) -> AutoencoderModel:
    """Find the autoencoder. Raises UserError."""
    names = FramePackCacheLatents(model=config.model, vae=config.vae, offline=config.offline)
    parts = Parts(names, wanted=("vae",))
    path = parts.autoencoder
    sizes = with_sizes(describe_autoencoder(path), config.sizes, config.init)
    is_random = config.init == "random"
    if not is_random:
        with torch.device("meta"):
            network = FramePackAutoencoder(sizes)
        check_network(network, path, AUTOENCODER_LAYOUTS)

    def load(device: torch.device) -> nn.Module:
        return load_autoencoder(path, sizes, device, torch.float32)

    is_own = config.vae is None and not is_random
    return AutoencoderModel(
        fps=FRAMES_PER_SECOND,
        temporal_stride=sizes.temporal_stride,
        spatial_stride=sizes.spatial_stride,
        scaling_factor=sizes.scaling_factor,
        key_map=RELEASED_AUTOENCODER,
        settings=described_autoencoder(sizes),
        fingerprints={} if is_random else {"vae": fingerprint_part(path)},
        notices=weight_notices(config.model, parts.root) if is_own else (),
        build=lambda: FramePackAutoencoder(sizes),
        load=load,
        edges=(
            *("encoder.conv_in.", "encoder.conv_out.", "decoder.conv_in.", "decoder.conv_out."),
            *("moments_projection.", "latents_projection."),
        ),
        decoder=("latents_projection.", "decoder."),
        latent_writer="moments_projection",
        latent_readers="latents_projection",
        last_layer="decoder.conv_out.weight",
    )


def described_autoencoder(config: AutoencoderConfig) -> dict[str, object]:
    """Its config.json, as diffusers reads it."""
    num_stages = len(config.block_out_channels)
    blocks = {
        f"{side}_block_types": [f"HunyuanVideo{side.title()}Block3D"] * num_stages for side in ("down", "up")
    }
    return {**config.to_json("AutoencoderKLHunyuanVideo"), **blocks}


AUTOENCODER_TRAINING = AutoencoderTraining(locate=locate_autoencoder)
