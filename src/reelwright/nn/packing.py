"""Samples of any length in one sequence, each attending to itself alone (Patch n' Pack, arXiv 2307.06304).

Streams follow one another, the texts of all samples and then all videos, say, so that layers which treat them
apart find each in one piece.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any, Self

import torch
from torch import Tensor

from reelwright.nn.attention import Kernel, computed_in

_FLASH_FORMATS = (torch.float16, torch.bfloat16)
_FLASH_CAPABILITY = (8, 0)
"""Of NVIDIA's chips, since Ampere."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where the samples of a sequence lie."""

    streams: tuple[tuple[int, ...], ...]
    """Of each stream, in the order of the sequence, the tokens of each sample."""
    ends: Tensor
    """Where samples end, each with all its streams, after a zero; int32, on the tokens' device."""

    @classmethod
    def of(cls, *streams: Sequence[Tensor]) -> Self:
        """That of samples [1, L, D], stream by stream."""
        lengths = tuple(tuple(sample.shape[1] for sample in stream) for stream in streams)
        totals = torch.tensor([0, *map(sum, zip(*lengths, strict=True))])
        return cls(streams=lengths, ends=totals.cumsum(0).to(streams[0][0].device, torch.int32))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sample, with all its streams."""
        return list(map(sum, zip(*self.streams, strict=True)))

    def by_sample(self, tokens: Tensor, dim: int) -> list[tuple[Tensor, ...]]:
        """Of sample after sample all its streams, as views."""
        pieces = iter(tokens.split(list(chain(*self.streams)), dim))
        streams = [list(islice(pieces, len(lengths))) for lengths in self.streams]
        return list(zip(*streams, strict=True))

    def by_stream(self, samples: Iterable[Tensor], dim: int) -> Tensor:
        """The sequence of samples that have all their streams in one tensor each."""
        lengths_of_samples = zip(*self.streams, strict=True)
        pieces = [
            sample.split(lengths, dim) for sample, lengths in zip(samples, lengths_of_samples, strict=True)
        ]
        return torch.cat(list(chain(*zip(*pieces, strict=True))), dim)


def over_tokens(values_BD: Tensor, packing: Packing | None, *streams: int) -> Tensor:
    """What each sample's tokens are given: [B, 1, D], or [1, L, D] for some streams of a sequence."""
    if packing is None:
        return values_BD[:, None]
    # Gathering by index would add up gradients in an order of its own on a GPU.
    rows = (zip(values_BD, packing.streams[stream], strict=True) for stream in streams)
    return torch.cat([row.expand(length, -1) for row, length in chain(*rows)])[None]


def attend(
    kernel: Kernel, query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor, packing: Packing | None
) -> Tensor:
    """Full attention within each sample: batch entries, or the samples of one sequence; [B, N, L, K]."""
    if packing is None:
        return kernel(query_BNLK, key_BNLK, value_BNLK)
    if _has_flash(query_BNLK, value_BNLK):
        return _attend_at_once(query_BNLK, key_BNLK, value_BNLK, packing)
    return _attend_in_turn(kernel, query_BNLK, key_BNLK, value_BNLK, packing)


def _attend_in_turn(
    kernel: Kernel, query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor, packing: Packing
) -> Tensor:
    """Sample after sample: no mask, and no work for what it would hide."""

    def whole(tokens_BNLK: Tensor) -> list[Tensor]:
        return [torch.cat(streams, 2) for streams in packing.by_sample(tokens_BNLK, 2)]

    samples = zip(whole(query_BNLK), whole(key_BNLK), whole(value_BNLK), strict=True)
    return packing.by_stream([kernel(*sample) for sample in samples], 2)


def _attend_at_once(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor, packing: Packing) -> Tensor:
    """All samples in one call of flash attention for variable lengths."""
    varlen_attention = _varlen_attention()
    assert varlen_attention is not None
    dtype = computed_in(value_BNLK)

    def in_a_row(tokens_BNLK: Tensor) -> Tensor:
        samples = packing.by_sample(tokens_BNLK[0].transpose(0, 1), 0)
        return torch.cat(list(chain(*samples))).to(dtype)

    query, key, value = in_a_row(query_BNLK), in_a_row(key_BNLK), in_a_row(value_BNLK)
    lengths = packing.lengths
    longest = max(lengths)
    attended = varlen_attention(query, key, value, packing.ends, packing.ends, longest, longest)
    return packing.by_stream(attended.split(lengths), 0).transpose(0, 1)[None]


def _has_flash(query: Tensor, value: Tensor) -> bool:
    """Whether torch has flash attention of variable lengths for the device and the number format."""
    if not query.is_cuda or computed_in(value) not in _FLASH_FORMATS or _varlen_attention() is None:
        return False
    return torch.cuda.get_device_capability(query.device) >= _FLASH_CAPABILITY


@cache
def _varlen_attention() -> Callable[..., Any] | None:
    """That of torch since 2.10. It brings the compiler along, as long to import as torch itself."""
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415
    except ImportError:
        return None
    return varlen_attn
