"""Reelwright: generate, cache, train and serve open video-diffusion models."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelwright.api import Clip, Trained, generate, train

__version__ = "0.1.0"
__all__ = ["Clip", "Trained", "__version__", "generate", "train"]


def __getattr__(name: str) -> object:
    """The Python interface, imported at its first use so that the command line stays quick."""
    if name in ("Clip", "Trained", "generate", "train"):
        return getattr(import_module("reelwright.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
