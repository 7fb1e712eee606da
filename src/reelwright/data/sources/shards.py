"""Tar files in which members of one name are one item (WebDataset)."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath

from reelwright.core.errors import FileError
from reelwright.core.locations import folder_of, list_files, name_of, read_text
from reelwright.data.sources.listing import Listed, each_listed
from reelwright.data.sources.media_names import Kind, kind_of, stem_of
from reelwright.data.sources.records import Record
from reelwright.data.sources.scores import score_beside
from reelwright.protocols.clips import Source

_CAPTIONS = ("caption", "text", "prompt")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

Item = tuple[str, Kind, str | None, Sequence[str]]
"""A picture or clip, the member with its caption, and all members of its name."""


def find_shards(files: Sequence[str]) -> list[str]:
    """The tar files in a folder. Raises FileError for compressed ones, whose members cannot be reached."""
    for file in files:
        if name_of(file).lower().endswith(_COMPRESSED):
            raise FileError(
                f"{file}: is compressed, so that single clips of it cannot be reached. Unpack it."
            )
    return [file for file in files if name_of(file).lower().endswith(".tar")]


def shard_sources(shards: Sequence[str], extension: str) -> Iterator[Listed]:
    """The items of tar files, shard by shard, each sorted; nothing is unpacked. Raises FileError."""
    items = (item for shard in shards for item in _items(shard, extension))
    yield from each_listed(items, _source)


def _items(shard: str, extension: str) -> Iterator[Item]:
    """What stands before the first dot of their names makes members one item, as WebDataset has it."""
    for _, members in groupby(list_files(f"tar://::{shard}", recursive=True), _key):
        yield from _items_of_group([*members], extension)


def _items_of_group(members: Sequence[str], extension: str) -> Iterator[Item]:
    """The clips of a group, or its pictures where it has none: a picture beside a clip is a look at it."""
    clips = [each for each in members if kind_of(each) == "video"]
    media = clips or [each for each in members if kind_of(each) == "image"]
    captions = [each for end in (extension, ".caption", ".json") for each in members if _suffix(each) == end]
    for each in media:
        own = [caption for caption in captions if stem_of(caption) == stem_of(each)]
        chosen = own or (captions if len(media) == 1 else [])
        kind = "video" if clips else "image"
        yield each, kind, chosen[0] if chosen else None, members


def _source(item: Item) -> Source:
    media, kind, caption, members = item
    said = None if caption is None else _said(caption)
    score = score_beside(media, members)
    return Source(
        media=media,
        kind=kind,
        stem=stem_of(media),
        caption=None if said is None else said.caption(_CAPTIONS),
        caption_origin=caption or media,
        score=score if said is None or score is not None else said.score(),
    )


def _said(member: str) -> Record:
    """What the member with the caption says."""
    text = read_text(member)
    if _suffix(member) != ".json":
        return Record(member, {_CAPTIONS[0]: text})
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{member}: is no JSON: {error}. Mend the shard.") from error
    if not isinstance(value, dict):
        raise FileError(f"{member}: is no object with a caption. Mend the shard.")
    return Record(member, value)


def _key(member: str) -> str:
    return f"{folder_of(member)}/{name_of(member).partition('.')[0]}"


def _suffix(member: str) -> str:
    return PurePosixPath(name_of(member)).suffix.lower()
