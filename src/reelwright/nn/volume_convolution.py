"""Convolution over time, height and width: several equal forms, of which each is the fastest somewhere."""

from torch import Tensor
from torch.nn import functional as F

_SLOW_ROWS = 20_480
"""PyTorch convolves a single volume of at most so many rows on a processor without its fast kernels."""


def convolve_volume(
    frames_BCFHW: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, ...] = (1, 1, 1),
    padding: int = 0,
) -> Tensor:
    """As conv3d, with zero padding in height and width. Where channels lie innermost, the result's do too."""
    if not _is_slow(frames_BCFHW):
        return F.conv3d(frames_BCFHW, weight, bias, stride, (0, padding, padding))
    # Frames are pictures to each tap of the kernel; those have fast kernels. So are their gradients.
    taps = weight.unbind(2)
    batch, num_results = len(frames_BCFHW), (frames_BCFHW.shape[2] - len(taps)) // stride[0] + 1
    total: Tensor | None = None
    for index, tap in enumerate(taps):
        seen = frames_BCFHW[:, :, index : index + (num_results - 1) * stride[0] + 1 : stride[0]]
        pictures_BCHW = seen.transpose(1, 2).flatten(0, 1)
        part = F.conv2d(pictures_BCHW, tap, bias if index == 0 else None, stride[1:], padding)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total.unflatten(0, (batch, num_results)).transpose(1, 2)


def convolve_each(
    frames_BCFHW: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """Convolution of each frame by itself with a kernel [D, C, h, w]."""
    if frames_BCFHW.stride(1) != 1:
        strides = (1, stride, stride)
        return convolve_volume(frames_BCFHW, kernel[:, :, None], bias, stride=strides, padding=padding)
    # Where channels lie innermost, frames are pictures as they are.
    pictures = frames_BCFHW.transpose(1, 2)
    results = F.conv2d(pictures.flatten(0, 1), kernel, bias, stride=stride, padding=padding)
    return results.unflatten(0, pictures.shape[:2]).transpose(1, 2)


def _is_slow(frames_BCFHW: Tensor) -> bool:
    """Several small volumes have fast kernels too; they take the way of one all the same."""
    return frames_BCFHW.device.type == "cpu" and frames_BCFHW.shape[:4].numel() <= _SLOW_ROWS
