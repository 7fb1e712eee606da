"""A network's tensor as it lies in files: what it is, and ways to read it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from reelwright.checkpoint.key_map import Located, take_parts
from reelwright.checkpoint.scales import dequantize, find_scale, in_blocks
from reelwright.checkpoint.tensor_source import TensorSource

# Elements converted at a time: small beside any model, large enough that the overhead vanishes.
_BLOCK_ELEMENTS = 1 << 20
_MAX_ITEM_BYTES = 8


def staging_buffer() -> Tensor:
    """Where numbers lie while they are converted.

    One serves all tensors: many short-lived buffers would leave holes in the heap.
    """
    return torch.empty(_BLOCK_ELEMENTS * _MAX_ITEM_BYTES, dtype=torch.uint8)


class StoredTensor:
    """One of a network's tensors in a file, which may hold it as parts of another, and is not read yet."""

    def __init__(
        self, source: TensorSource, place: Located, shape: tuple[int, ...], staging: Tensor | None = None
    ) -> None:
        """`shape` is that of the network's tensor."""
        self.shape = shape
        self._source, self._place = source, place
        self._scale_name = find_scale(source, place.file_name)
        self._staging = staging

    @property
    def dtype(self) -> torch.dtype:
        """The file's number format."""
        return self._source.dtype(self._place.file_name)

    @property
    def has_scale(self) -> bool:
        return self._scale_name is not None

    @property
    def full_dtype(self) -> torch.dtype:
        """The number format before it was rounded to 8 bits, as far as the file tells."""
        if self._scale_name is not None:
            return self._source.dtype(self._scale_name)
        return self.dtype if self.dtype.itemsize > 1 else torch.bfloat16

    def read(self, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """Its values in `dtype`, multiplied with the scale where there is one."""
        if self.has_scale:
            quantized, scale = self.read_quantized(device)
            return dequantize(quantized, scale, dtype)
        values = torch.empty(self.shape, dtype=dtype, device=device)
        self._copy(values)
        return values

    def fill(self, target: Tensor) -> None:
        """As `read`, into memory that is there."""
        if self.has_scale:
            target.copy_(self.read(target.dtype, target.device))
        else:
            self._copy(target)

    def elsewhere(self, source: TensorSource, staging: Tensor) -> "StoredTensor":
        """The same tensor in a source that was opened for itself."""
        return StoredTensor(source, self._place, self.shape, staging)

    def read_quantized(self, device: torch.device | str) -> tuple[Tensor, Tensor | None]:
        """What the file holds, and its scale as [rows, blocks, 1] where there is one."""
        quantized = torch.empty(self.shape, dtype=self.dtype, device=device)
        self._copy(quantized)
        if self._scale_name is None:
            return quantized, None
        scale = self._source.read(self._scale_name)
        if scale.numel() > 1:
            scale = take_parts(scale, self._place.parts, self._place.of)
        scale = in_blocks(scale, self.shape, f"{self._source.origin}: {self._scale_name}")
        return quantized, scale.to(device)

    def _copy(self, target: Tensor) -> None:
        """Fill `target` block by block, by way of staging unless the numbers need no conversion."""
        flat = target.view(-1)
        name, dtype = self._place.file_name, self.dtype
        is_direct = target.dtype == dtype and target.device.type == "cpu"
        staging = (target if is_direct else self._staging_of(dtype)).view(-1)
        chunk = math.prod(self._source.shape(name)) // self._place.of
        for index, part in enumerate(self._place.parts):
            for start, stop in _blocks(chunk):
                piece = flat[index * chunk + start : index * chunk + stop]
                block = piece if is_direct else staging[: stop - start]
                self._source.read_into(name, part * chunk + start, block)
                if not is_direct:
                    piece.copy_(block)

    def _staging_of(self, dtype: torch.dtype) -> Tensor:
        return (staging_buffer() if self._staging is None else self._staging).view(dtype)


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _BLOCK_ELEMENTS):
        yield start, min(start + _BLOCK_ELEMENTS, count)
