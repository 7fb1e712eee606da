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
    share: float = 0.0
    """Of the tensors: copies that libraries make."""
    heap: float = 0.0
    """Of small tensors: the heap that they come from has holes, and is not given back."""
    by_thread: int = 0
    """For each thread but the first."""


TOKENS_ON_PROCESSOR = Allowance(fixed=35 * MB, heap=1.0, by_thread=4 * MB)
FRAMES_ON_PROCESSOR = Allowance(fixed=55 * MB, share=0.25, by_thread=20 * MB)
GPU = Allowance(fixed=100 * MB, share=0.05)
"""Workspaces of cuBLAS and cuDNN, and blocks rounded up; not measured."""
VIDEO_ENCODER_FIXED = 10 * MB
VIDEO_ENCODER_FRAMES = 60
"""Frames, at 1.5 bytes a pixel, that x264 and its muxer hold."""
BITS_OF_VIDEO = 0.5
"""For each pixel of each frame at the default quality; videos of noise take more."""
TRAINING_PROGRAM = 30 * MB
"""Libraries that training alone brings in."""
