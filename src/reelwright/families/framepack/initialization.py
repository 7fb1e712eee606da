"""A transformer before any training, drawn from a seed."""

import torch

from reelwright.families.framepack.config import TransformerConfig
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.nn.initialization import draw_weights, empty_network

_PATCHES = "patch_embedding."


def drawn_transformer(config: TransformerConfig, seed: int) -> FramePackTransformer:
    """A transformer that answers zero, and whose blocks are the identity; float32, in CPU memory.

    Modulations are zero (adaptive LayerNorm of DiT, arXiv 2212.09748, section 3.2), the refiner's and the
    last one too, and so is the last projection. History is embedded as the noisy frames are, after it was
    averaged down (arXiv 2504.12626, section 3.2).
    """
    network = empty_network(lambda: FramePackTransformer(config))
    draw_weights(network, seed, is_zero=_is_zero, is_outer=lambda name: name.startswith(_PATCHES))
    patches = network.patch_embedding
    with torch.no_grad():
        for reduced, clean in ((1, patches.clean_1x), (2, patches.clean_2x), (4, patches.clean_4x)):
            weight = patches.noisy.weight
            for dimension in (2, 3, 4):
                weight = weight.repeat_interleave(reduced, dimension)
            clean.weight.copy_(weight / reduced**3)
    return network


def _is_zero(name: str) -> bool:
    return ".modulation." in name or name.startswith("output_projection.")
