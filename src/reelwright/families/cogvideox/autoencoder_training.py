"""The autoencoder as training finds it: its files, or its sizes alone."""

import torch
from torch import nn

from reelwright.checkpoint.fingerprint import fingerprint_part
from reelwright.checkpoint.loading import check_network, load_network
from reelwright.encoders.pretrained import part_of
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import read_autoencoder_config
from reelwright.families.cogvideox.config import AutoencoderConfig, CogVideoXCacheLatents
from reelwright.families.cogvideox.key_maps import AUTOENCODER_LAYOUTS, DIFFUSERS_AUTOENCODER
from reelwright.families.cogvideox.model_parts import ModelFolder
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.autoencoder_training import AutoencoderModel, AutoencoderTraining, with_sizes


def locate_autoencoder(config: AutoencoderTrainConfig) -> AutoencoderModel:
    """Find the autoencoder, and what is known of the model that it is of. Raises UserError."""
    names = CogVideoXCacheLatents(model=config.model, offline=config.offline)
    folder = ModelFolder(names, ["vae/*"] if config.vae is None else [])
    path = part_of(config.vae, "vae") if config.vae is not None else folder.part("vae")
    transformer = folder.transformer
    sizes = with_sizes(read_autoencoder_config(path, transformer), config.sizes, config.init)
    if config.init != "random":
        with torch.device("meta"):
            network = CogVideoXAutoencoder(sizes)
        check_network(network, path, AUTOENCODER_LAYOUTS)

    def load(device: torch.device) -> nn.Module:
        with torch.device("meta"):
            network = CogVideoXAutoencoder(sizes)
        load_network(network, path, AUTOENCODER_LAYOUTS, device=device, dtype=torch.float32)
        return network

    is_random = config.init == "random"
    return AutoencoderModel(
        fps=transformer.fps,
        temporal_stride=sizes.temporal_compression_ratio,
        spatial_stride=sizes.spatial_stride,
        scaling_factor=sizes.scaling_factor,
        key_map=DIFFUSERS_AUTOENCODER,
        settings=described_autoencoder(sizes),
        fingerprints={} if is_random else {"vae": fingerprint_part(path)},
        notices=folder.notices if config.vae is None and not is_random else (),
        build=lambda: CogVideoXAutoencoder(sizes),
        load=load,
        edges=("encoder.conv_in.", "encoder.conv_out.", "decoder.conv_in.", "decoder.conv_out."),
        decoder=("decoder.",),
        latent_writer="encoder.conv_out",
        latent_readers=r"decoder\.(conv_in|.*\.(scale|shift))",
        last_layer="decoder.conv_out.weight",
    )


def described_autoencoder(config: AutoencoderConfig) -> dict[str, object]:
    """Its config.json, as diffusers reads it."""
    num_stages = len(config.block_out_channels)
    blocks = {
        f"{side}_block_types": [f"CogVideoX{side.title()}Block3D"] * num_stages for side in ("down", "up")
    }
    return {**config.to_json("AutoencoderKLCogVideoX"), **blocks}


AUTOENCODER_TRAINING = AutoencoderTraining(locate=locate_autoencoder)
