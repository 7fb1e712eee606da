"""Convolution of enlarged frames."""

import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.nn.volume_convolution import convolve_each

TAPS_ON_SMALL = torch.tensor(
    [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]],
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ]
)
"""A row of a doubled frame sees three rows, which are two of the small frame's: where each tap falls."""


def convolve_doubled(frames_BCFHW: Tensor, weight_OCHW: Tensor, bias_O: Tensor | None) -> Tensor:
    """Repeat every frame twice in height and width, then convolve it 3 x 3 with zero padding.

    In float32 the large frames are never made: each of the four pixels that a small one becomes sees a
    2 x 2 block of the small frame, so four small convolutions with summed taps do 16/36 of the work. Half
    precision would round the sums, and takes the plain way.
    """
    if frames_BCFHW.dtype != torch.float32:
        doubled = F.interpolate(frames_BCFHW, scale_factor=(1.0, 2.0, 2.0), mode="nearest")
        return F.conv3d(doubled, weight_OCHW[:, :, None], bias_O, padding=(0, 1, 1))
    batch, _, num_frames, height, width = frames_BCFHW.shape
    padded = F.pad(frames_BCFHW, (1, 1, 1, 1))
    output = frames_BCFHW.new_empty(batch, len(weight_OCHW), num_frames, height, 2, width, 2)
    taps = TAPS_ON_SMALL.to(weight_OCHW)
    for row in (0, 1):
        for column in (0, 1):
            kernel = torch.einsum("ay,bx,ocyx->ocab", taps[row], taps[column], weight_OCHW)
            block = padded[..., row : row + height + 1, column : column + width + 1]
            output[..., row, :, column] = convolve_each(block, kernel, bias_O)
    return output.flatten(5, 6).flatten(3, 4)
