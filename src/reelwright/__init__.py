"""Reelwright: generate, cache, train and serve open video-diffusion models."""

__version__ = "0.1.0"
