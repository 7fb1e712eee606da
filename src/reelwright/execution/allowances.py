"""What no reading of tensors tells: libraries, allocators and their threads, found by measuring runs.

benchmarks/plan_error.py measures them again; it tells the error that is left.
"""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Beside the tensors of a stage."""

    fixed: int
    """Code and tables of libraries that come into use."""
    share: float
    """Of the activations: copies that libraries make."""
    heap: float
    """What the heap of small tensors grows to, as a multiple of what they take: there are holes in it."""
    by_thread: int
    """For each thread but the first."""


PROCESSOR = Allowance(fixed=25 * MB, share=0.0, heap=2.0, by_thread=20 * MB)
GPU = Allowance(fixed=100 * MB, share=0.05, heap=1.0, by_thread=0)
"""Workspaces of cuBLAS and cuDNN, and blocks rounded up; not measured."""
VIDEO_ENCODER_FIXED = 10 * MB
VIDEO_ENCODER_FRAMES = 60
"""Frames, at 1.5 bytes a pixel, that x264 and its muxer hold."""
BITS_OF_VIDEO = 0.5
"""For each pixel of each frame at the default quality; videos of noise take more."""
TRAINING_PROGRAM = 30 * MB
"""Libraries that training alone brings in."""
