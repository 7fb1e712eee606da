"""What is wrong with a file of a cache: everything that can be told from it and its row in the index."""

import re
from collections.abc import Mapping

from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.data.cache_folder import CacheFolder, fingerprint_of, numeric_flaw
from reelwright.data.cache_index import IndexRow

_KEY = re.compile(r"(?P<name>.+)_(?P<frames>\d+)x(?P<height>\d+)x(?P<width>\d+)_(?P<dtype>[a-z]+\d+\w*)")


def flaw_of(folder: CacheFolder, row: IndexRow) -> str:
    """Why a listed file must not be trained on, its place first; "" where it is whole and as it is listed.

    All of it is read: its digest is computed again, its numbers are looked at, and shapes are compared with
    those that the names of its tensors tell.
    """
    try:
        tensors, metadata = folder.read(row.file)
    except FileError as error:
        return str(error)
    if fingerprint_of(tensors, metadata) != row.fingerprint:
        return f"{folder.place(row.file)}: is another file than the one that was listed."
    flaw = shape_flaw(tensors) or numeric_flaw(tensors)
    return flaw and f"{folder.place(row.file)}: {flaw}."


def shape_flaw(tensors: Mapping[str, Tensor]) -> str:
    """The first tensor that is not what its name says, or "".

    `latents_9x60x104_float16` is [..., 9, 60, 104] in float16. Other programs name what goes with a target,
    as `latents_clean_...`, by the target's frames and number format: of these only height and width count.
    """
    for key, tensor in sorted(tensors.items()):
        found = _KEY.fullmatch(key.removeprefix("varlen_"))
        if found is None:
            continue
        told = (int(found["frames"]), int(found["height"]), int(found["width"]))
        goes_with_target = found["name"].startswith("latents_")
        num_told = 2 if goes_with_target else 3
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tuple(tensor.shape[-num_told:]) != told[-num_told:]:
            return f"{key} has the shape {list(tensor.shape)}"
        if not goes_with_target and dtype != found["dtype"]:
            return f"{key} is {dtype}"
    return ""
