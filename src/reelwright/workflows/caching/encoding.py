"""Clips and captions to files, in this process."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from reelwright.core.errors import FileError, UserError, is_out_of_memory
from reelwright.core.locations import is_url
from reelwright.core.paths import check_writable
from reelwright.data.cache_folder import CacheFolder
from reelwright.execution.devices import choose_device, peak_memory
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.caching import CacheFile, ClipFrames, LatentEncoder, TextCache, TextEncoder
from reelwright.workflows.caching.datasets import caching_of
from reelwright.workflows.caching.orders import (
    Item,
    ItemDone,
    ItemFailed,
    Kind,
    Order,
    Outcome,
    memory_advice,
)
from reelwright.workflows.caching.reading import FramesAgain, batches, clip_of, read_ahead

_CAPTIONS_KEPT = 16
"""Features of the last captions stay in memory: people give many clips the same one."""
_OF_ONE_ITEM = (UserError, OSError, EOFError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What media that are not what they seem, and networks that are given them, raise."""

Files = Sequence[Sequence[CacheFile]]
"""Of each item."""


def encode_order(order: Order) -> Generator[Outcome]:
    """Encode the items of one order."""
    return encode_orders((order,))


def encode_orders(orders: Iterable[Order]) -> Generator[Outcome]:
    """Encode the items of orders in turn, and read the next clips meanwhile.

    The networks are loaded with the first order and stay. An item that cannot be read, encoded or written is
    an ItemFailed, and the others go on. Raises UserError for what concerns all: a checkpoint that cannot be
    loaded, a folder that cannot be written.
    """
    encode = {"latents": _encode_clips, "text": _encode_captions}
    for kind, group in groupby(orders, key=lambda order: order.kind):
        yield from encode[kind](group)


def forget_networks() -> None:
    """Free what `encode_orders` keeps loaded."""
    _latent_encoder.cache_clear()
    _text_encoder.cache_clear()


def _encode_clips(orders: Iterable[Order]) -> Generator[Outcome]:
    with closing(read_ahead(orders)) as opened:
        for batch in opened:
            encoder = _latent_encoder(batch.order.family, batch.order.config)
            yield from _outcomes(
                batch.order,
                batch.items,
                together=partial(_encode_frames, encoder, batch.items, batch.frames),
                alone=partial(_encode_clip_alone, encoder),
            )


def _encode_captions(orders: Iterable[Order]) -> Generator[Outcome]:
    features: dict[str, Mapping[str, Tensor]] = {}
    for order in orders:
        cache, encoder = _text_encoder(order.family, order.config)
        encode = partial(_encode_texts, cache, encoder, features)
        for items in batches(order.items, order.batch_size):
            yield from _outcomes(
                order,
                items,
                together=partial(encode, items),
                alone=lambda item, encode=encode: encode((item,)),
            )


def _outcomes(
    order: Order,
    items: Sequence[Item],
    *,
    together: Callable[[], Files],
    alone: Callable[[Item], Files],
) -> Generator[Outcome]:
    """The outcomes of a batch; where it fails as a whole, of each of its items alone."""
    started = time.perf_counter()
    made, problem = _attempt(together, order.kind)
    if problem and len(items) > 1:
        for item in items:
            yield from _outcomes(order, (item,), together=partial(alone, item), alone=alone)
        return
    seconds = (time.perf_counter() - started) / len(items)
    peak = peak_memory(choose_device(order.config.execution.device))
    for item, files in zip(items, made or [()] * len(items), strict=True):
        flaw = problem or _write(item, files)
        if flaw:
            yield ItemFailed(item=item, message=flaw)
        else:
            yield ItemDone(item=item, seconds=seconds, peak_memory=peak)


def _attempt(encode: Callable[[], Files], kind: Kind) -> tuple[Files, str]:
    """The files, or what went wrong in words."""
    try:
        with torch.no_grad():
            return encode(), ""
    except _OF_ONE_ITEM as error:
        return (), _in_words(error, kind)


def _in_words(error: BaseException, kind: Kind) -> str:
    if is_out_of_memory(error):
        return f"There is not enough memory for it. {memory_advice(kind)}"
    if isinstance(error, UserError):
        return str(error)
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line}"


def _encode_frames(encoder: LatentEncoder, items: Sequence[Item], frames: Sequence[FramesAgain]) -> Files:
    return encoder.encode(
        [
            ClipFrames(clip=clip_of(item), dataset=item.dataset, chunks=chunks)
            for item, chunks in zip(items, frames, strict=True)
        ]
    )


def _encode_clip_alone(encoder: LatentEncoder, item: Item) -> Files:
    with closing(FramesAgain(clip_of(item))) as frames:
        return _encode_frames(encoder, (item,), (frames,))


def _encode_texts(
    cache: TextCache, encoder: TextEncoder, features: dict[str, Mapping[str, Tensor]], items: Sequence[Item]
) -> Files:
    """`features` of captions are used and added to."""
    captions = dict.fromkeys(item.caption for item in items)
    unknown = [caption for caption in captions if caption not in features]
    if unknown:
        features.update(zip(unknown, encoder.encode(unknown), strict=True))
    for caption in [known for known in features if known not in captions][:-_CAPTIONS_KEPT]:
        del features[caption]
    return [(_caption_file(item, features[item.caption], cache),) for item in items]


def _caption_file(item: Item, tensors: Mapping[str, Tensor], cache: TextCache) -> CacheFile:
    return CacheFile(name=item.entries[0].name, tensors=tensors, metadata=cache.metadata(item.caption))


def _write(item: Item, files: Sequence[CacheFile]) -> str:
    """Write the files of an item; what went wrong, or "". Raises FileError where nothing can be written."""
    names, expected = [file.name for file in files], [entry.name for entry in item.entries]
    if sorted(names) != sorted(expected):
        return f"It became {', '.join(names) or 'no file'} where {', '.join(expected)} was expected."
    folder = CacheFolder(item.folder)
    try:
        for file in files:
            folder.write(file, item.fingerprint)
    except UserError as error:
        if isinstance(error, FileError) and not is_url(item.folder):
            needed = sum(tensor.nbytes for file in files for tensor in file.tensors.values())
            check_writable(Path(item.folder), needed)  # a full disk ends the run: it concerns all items
        return str(error)
    return ""


@lru_cache(maxsize=1)
def _latent_encoder(family: str, config: CacheConfig) -> LatentEncoder:
    return caching_of(family).locate_latents(config).open()


@lru_cache(maxsize=1)
def _text_encoder(family: str, config: CacheConfig) -> tuple[TextCache, TextEncoder]:
    cache = caching_of(family).locate_texts(config)
    return cache, cache.open()
