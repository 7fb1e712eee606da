"""Parts of an imagined run that are looked at once, where the others go the same way.

All tiles of a clip run through one autoencoder. What the first takes is counted; the others are taken to take
as much, by their area.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Size, Tensor, nn

from reelwright.execution.metering import Meter, Tally

_STREAMS = ("encode_stream", "decode_stream")
_WHOLE = ("moments", "decode")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What was seen from some frames to what became of them."""

    taken: Size
    given: Size
    most: Tally
    """At the worst moment, beside what there was before."""
    left: Tally
    """Afterwards, beside what was given."""
    flops: float


def run_once(autoencoder: nn.Module, meter: Meter) -> None:
    """Have it encode and decode its first tile, and only count the others."""
    for name in _STREAMS:
        setattr(autoencoder, name, _Stream(getattr(autoencoder, name), meter))
    for name in _WHOLE:
        if hasattr(autoencoder, name):
            setattr(autoencoder, name, partial(_whole, getattr(autoencoder, name), meter, {}))


def _whole(
    run: Callable[..., Tensor],
    meter: Meter,
    known: dict[int, _Part],
    frames_BCFHW: Tensor,
    **named: Any,  # noqa: ANN401 - its own
) -> Tensor:
    """One call of a function; those with as many frames are alike."""
    count = frames_BCFHW.shape[2]
    if count in known:
        return _replay(known[count], frames_BCFHW, meter)
    before = meter.begin_part()
    answer = run(frames_BCFHW, **named)
    known[count] = _end_part(meter, before, frames_BCFHW.shape, answer)
    return answer


class _Stream:
    """A function of streams; the first one that is opened runs."""

    def __init__(self, run: Callable[..., Iterator[Tensor]], meter: Meter) -> None:
        self._run, self._meter = run, meter
        self._parts: list[_Part] = []
        self._is_new = True

    def __call__(self, chunks_BCFHW: Iterable[Tensor], **named: object) -> Iterator[Tensor]:
        if not self._is_new:
            parts = self._parts
            return (_replay(parts[place], chunk, self._meter) for place, chunk in enumerate(chunks_BCFHW))
        self._is_new = False
        return self._first(chunks_BCFHW, **named)

    def _first(self, chunks_BCFHW: Iterable[Tensor], **named: object) -> Iterator[Tensor]:
        taken: list[Size] = []

        def noted() -> Iterator[Tensor]:
            for chunk in chunks_BCFHW:
                taken.append(chunk.shape)
                yield chunk

        results = self._run(noted(), **named)
        while True:
            before = self._meter.begin_part()
            held = list(_next_of(results))
            if not held:
                self._meter.end_part(before)
                return
            self._parts.append(_end_part(self._meter, before, taken[-1], held[0]))
            yield held.pop()  # no name here keeps it


def _next_of(results: Iterator[Tensor]) -> Iterator[Tensor]:
    for result in results:
        yield result
        return


def _end_part(meter: Meter, before: tuple[Tally, Tally, float], taken: Size, answer: Tensor) -> _Part:
    most, live, flops = meter.end_part(before)
    given = Tally.of(answer.untyped_storage().nbytes())
    return _Part(taken=taken, given=answer.shape, most=most, left=live.plus(given, -1), flops=flops)


def _replay(part: _Part, frames_BCFHW: Tensor, meter: Meter) -> Tensor:
    share = frames_BCFHW[0, 0, 0].numel() / part.taken[3:].numel()
    height, width = (
        side * given // taken
        for side, given, taken in zip(frames_BCFHW.shape[3:], part.given[3:], part.taken[3:], strict=True)
    )
    meter.count_part(part.most.times(share), part.left.times(share), part.flops * share)
    shape = (*part.given[:3], height, width)
    return torch.empty(shape, dtype=frames_BCFHW.dtype, device=frames_BCFHW.device)
