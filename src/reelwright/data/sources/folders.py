"""Folders as other programs lay them out, told by the files in them."""

from collections.abc import Callable, Iterator, Sequence

from reelwright.core.errors import FileError
from reelwright.core.locations import is_folder, list_files, name_of
from reelwright.data.sources.line_lists import find_line_lists, line_list_sources
from reelwright.data.sources.listing import Listed
from reelwright.data.sources.metadata import find_metadata, metadata_sources
from reelwright.data.sources.pairs import pair_sources
from reelwright.data.sources.shards import find_shards, shard_sources
from reelwright.protocols.datasets import DatasetConfig


def folder_sources(folder: str, dataset: DatasetConfig) -> Iterator[Listed]:
    """The items of a folder in whichever layout it has, or of one tar file. Raises FileError.

    A list of prompts and clips, a table, shards; else every picture and clip, in inner folders too.
    """
    if folder.lower().endswith(".tar") and not is_folder(folder):
        return shard_sources([folder], dataset.caption_extension)
    files = list_files(folder)
    if lists := find_line_lists(files):
        _refuse_second_layout(files, [*lists.values()], (find_metadata, find_shards))
        return line_list_sources(folder, lists)
    if tables := find_metadata(files):
        _refuse_second_layout(files, tables[:1], (lambda _: tables[1:], find_shards))
        return metadata_sources(folder, tables[0])
    if shards := find_shards(files):
        return shard_sources(shards, dataset.caption_extension)
    return pair_sources(folder, dataset.caption_extension)


def _refuse_second_layout(
    files: Sequence[str], first: Sequence[str], others: Sequence[Callable[[Sequence[str]], Sequence[str]]]
) -> None:
    second = next((found[0] for find in others if (found := find(files))), None)
    if second is not None:
        raise FileError(
            f"{second}: lists items, and so does {name_of(first[0])} beside it. Keep one of them there."
        )
