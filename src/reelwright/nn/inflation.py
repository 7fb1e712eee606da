"""Kernels for clips out of kernels that learned pictures: inflation (arXiv 1705.07750) of causal ones."""

import torch
from torch import nn


@torch.no_grad()
def look_at_the_present(network: nn.Module) -> None:
    """Have all causal kernels over time look at the present frame alone, in place.

    The past of a picture is that picture, so pictures learn the sum over time of a kernel, and what they
    leave in its parts blurs clips. With all of the sum on the last part pictures stay what they were, and
    each frame of a clip is treated as one.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
            present = layer.weight.sum(dim=2)
            layer.weight.zero_()
            layer.weight[:, :, -1] = present
