"""Frames of the synthetic scenes of seed 5."""

from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render_clip


def scene(index, num_frames=36, size=(160, 120), fps=30.0):
    """As a list of arrays frame_HWC."""
    chunks = render_clip(describe(5, index), size, fps, num_frames)
    return [frame for chunk in chunks for frame in chunk.numpy()]
