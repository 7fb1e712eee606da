"""Samples of any length in one sequence, each attending to itself alone (Patch n' Pack, arXiv 2307.06304).

Two streams follow one another, the texts of all samples and then all videos, so that layers which treat them
apart find each in one piece.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor

from reelwright.nn.attention import Kernel, computed_in

_FLASH_FORMATS = (torch.float16, torch.bfloat16)
_FLASH_CAPABILITY = (8, 0)
"""Of NVIDIA's chips, since Ampere."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where the samples of a sequence lie: tokens of each in both streams."""

    text_lengths: tuple[int, ...]
    video_lengths: tuple[int, ...]
    ends: Tensor
    """Where samples end, each with both its streams, after a zero; int32, on the tokens' device."""

    @classmethod
    def of(cls, texts: Iterable[Tensor], videos: Iterable[Tensor]) -> Self:
        """That of samples [1, L, D]."""
        texts, videos = list(texts), list(videos)
        text_lengths = tuple(text.shape[1] for text in texts)
        video_lengths = tuple(video.shape[1] for video in videos)
        lengths = torch.tensor([0, *map(sum, zip(text_lengths, video_lengths, strict=True))])
        ends = lengths.cumsum(0).to(videos[0].device, torch.int32)
        return cls(text_lengths=text_lengths, video_lengths=video_lengths, ends=ends)

    def by_sample(self, tokens: Tensor, dim: int) -> list[Tensor]:
        """Both streams of sample after sample, as views: text, video, text, video, and so on."""
        pieces = tokens.split((*self.text_lengths, *self.video_lengths), dim)
        count = len(self.text_lengths)
        return [piece for pair in zip(pieces[:count], pieces[count:], strict=True) for piece in pair]

    def by_stream(self, samples: Sequence[Tensor], dim: int) -> Tensor:
        """The sequence of samples that have both their streams in one tensor each."""
        pairs = zip(self.text_lengths, self.video_lengths, strict=True)
        pieces = [sample.split(pair, dim) for sample, pair in zip(samples, pairs, strict=True)]
        return torch.cat([*(text for text, _ in pieces), *(video for _, video in pieces)], dim)


def over_tokens(values_BD: Tensor, lengths: Sequence[int] | None) -> Tensor:
    """What each sample's tokens are given: [B, 1, D], or [1, sum of lengths, D] of samples in a sequence."""
    if lengths is None:
        return values_BD[:, None]
    # Gathering by index would add up gradients in an order of its own on a GPU.
    rows = zip(values_BD, lengths, strict=True)
    return torch.cat([row.expand(length, -1) for row, length in rows])[None]


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
        pieces = iter(packing.by_sample(tokens_BNLK, 2))
        return [torch.cat([text, video], 2) for text, video in zip(pieces, pieces, strict=True)]

    samples = zip(whole(query_BNLK), whole(key_BNLK), whole(value_BNLK), strict=True)
    return packing.by_stream([kernel(*sample) for sample in samples], 2)


def _attend_at_once(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor, packing: Packing) -> Tensor:
    """All samples in one call of flash attention for variable lengths."""
    varlen_attention = _varlen_attention()
    assert varlen_attention is not None
    dtype = computed_in(value_BNLK)

    def in_a_row(tokens_BNLK: Tensor) -> Tensor:
        pieces = packing.by_sample(tokens_BNLK[0].transpose(0, 1), 0)
        return torch.cat(pieces).to(dtype)

    lengths = list(map(sum, zip(packing.text_lengths, packing.video_lengths, strict=True)))
    query, key, value = in_a_row(query_BNLK), in_a_row(key_BNLK), in_a_row(value_BNLK)
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
