"""LPIPS (arXiv 1801.03924): how far apart two pictures are to the eye, by the features of VGG16."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""In each of VGG16's stages; pictures are compared by the last of each."""
_WIDTHS = (64, 128, 256, 512, 512)
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)
"""Of the colors that the features were learned on, where pixels are in [-1, 1]."""
_EPSILON = 1e-10


class PerceptualDistance(nn.Module):
    """widths: channels of VGG16's stages, other ones for tests."""

    def __init__(self, widths: Sequence[int] = _WIDTHS) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(*pair, 3, padding=1) for pair in pairwise((inputs, *(outputs,) * num_convolutions))
            )
            for inputs, outputs, num_convolutions in zip((3, *widths), widths, NUM_CONVOLUTIONS, strict=False)
        )
        self.importances = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)

    def forward(self, pictures_BCHW: Tensor, others_BCHW: Tensor) -> Tensor:
        """Distances [B], 0 for equal pictures, of values in [-1, 1] and sides of at least 16."""
        # One after the other: those that need no gradients are not kept for them.
        pairs = zip(self._features(pictures_BCHW), self._features(others_BCHW), strict=True)
        distances = [
            importance((_unit(one) - _unit(other)).square()).mean(dim=(1, 2, 3))
            for importance, (one, other) in zip(self.importances, pairs, strict=True)
        ]
        return torch.stack(distances).sum(dim=0)

    def _features(self, pictures_BCHW: Tensor) -> Iterator[Tensor]:
        """Yield what the stages see."""
        mean, deviation = pictures_BCHW.new_tensor([_MEAN, _DEVIATION])[..., None, None]
        hidden = (pictures_BCHW - mean) / deviation
        for number, convolutions in enumerate(self.stages):
            if number:
                hidden = F.max_pool2d(hidden, 2)
            for convolution in convolutions:  # pyright: ignore[reportGeneralTypeIssues]
                hidden = F.relu(convolution(hidden))
            yield hidden


def _unit(features_BCHW: Tensor) -> Tensor:
    """Divided by their length at each pixel; nothing seen stays nothing, and has no gradient."""
    squares = features_BCHW.square().sum(dim=1, keepdim=True)
    return features_BCHW / (squares.clamp_min(_EPSILON**2).sqrt() + _EPSILON)
