"""The first import of networks of transformers, without the words of libraries that nobody asked for."""

from functools import cache
from importlib import import_module

from reelwright.core.optional_library import torchao_silenced


@cache
def import_networks() -> None:
    """Import what all networks of transformers stand on; call this before the first of them is named.

    Where torchao is installed it comes along, because transformers could load weights that are of its kinds.
    """
    with torchao_silenced():
        import_module("transformers.modeling_utils")
