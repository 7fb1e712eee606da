"""Transformers before any training: drawn from a seed, or widened to read more than noise and text."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.nn.embeddings import sincos_position_table
from reelwright.nn.initialization import draw_weights, empty_network

_PATCHES = "patch_embedding.projection.weight"
_OUTER = (_PATCHES, "output_projection.weight")


def drawn_transformer(config: TransformerConfig, seed: int) -> CogVideoXTransformer:
    """A transformer whose blocks are the identity (specs: CogVideoX 2.6); float32, in CPU memory."""
    network = empty_network(lambda: CogVideoXTransformer(config))
    draw_weights(network, seed, is_zero=_is_gate, is_outer=lambda name: name in _OUTER)
    if config.use_learned_positional_embeddings:
        network.patch_embedding.get_buffer("positions").copy_(_first_positions(config))
    return network


def widened_config(narrow: TransformerConfig, layout: Layout) -> TransformerConfig:
    """The sizes of a transformer that reads an image, a control clip or a masked clip as well.

    Image models of 1.5 have a second time embedding, of the size of the first.
    """
    channels = narrow.out_channels + (1 if layout is Layout.INPAINT else 0)
    has_ofs = layout is Layout.IMAGE and narrow.is_second_generation
    return replace(
        narrow,
        in_channels=narrow.in_channels + channels,
        ofs_embed_dim=narrow.time_embed_dim if has_ofs else narrow.ofs_embed_dim,
    )


def widened_transformer(
    narrow: CogVideoXTransformer, config: TransformerConfig, seed: int
) -> CogVideoXTransformer:
    """A transformer that answers as the narrow one did, whatever stands in the channels that are new.

    Their weights are zero. Of a second time embedding only the last layer is: gradients would reach neither
    if both were. The first is drawn.
    """
    with torch.device("meta"):
        wide = CogVideoXTransformer(config)
    state = narrow.state_dict()
    patches = state[_PATCHES]
    num_new = wide.get_parameter(_PATCHES).shape[1] - patches.shape[1]
    # Features of patches go by channel first, and new channels come after the noise.
    zeros = patches.new_zeros(patches.shape[0], num_new, *patches.shape[2:])
    state[_PATCHES] = torch.cat([patches, zeros], dim=1)
    if config.ofs_embed_dim and not narrow.config.ofs_embed_dim:
        state |= {name: value.to(patches) for name, value in _silent_ofs(wide, seed).items()}
    wide.load_state_dict(state, assign=True)
    return wide


def _silent_ofs(wide: CogVideoXTransformer, seed: int) -> dict[str, Tensor]:
    """The tensors of a second time embedding that adds nothing yet."""
    holder = nn.Module()
    holder.ofs_embedding = wide.ofs_embedding.to_empty(device="cpu")
    draw_weights(holder, seed, is_zero=lambda name: ".linear_2." in name, is_outer=lambda _: False)
    return holder.state_dict()


def _is_gate(name: str) -> bool:
    return name.startswith("blocks.") and ".modulation." in name


def _first_positions(config: TransformerConfig) -> Tensor:
    """The learned table starts as the fixed one, which knows nothing of text."""
    num_frames = (config.sample_frames - 1) // config.temporal_compression_ratio + 1
    grid = (num_frames, config.sample_height // config.patch_size, config.sample_width // config.patch_size)
    table = sincos_position_table(
        config.width,
        grid,
        spatial_scale=config.spatial_interpolation_scale,
        temporal_scale=config.temporal_interpolation_scale,
    )
    return torch.cat([table.new_zeros(config.max_text_seq_length, config.width), table])[None]
