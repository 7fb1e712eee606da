"""The items of a data set, whatever its layout: one file here for each."""

from collections.abc import Iterator

from reelwright.data.sources.directories import directory_sources
from reelwright.data.sources.folders import folder_sources
from reelwright.data.sources.jsonl import jsonl_sources
from reelwright.data.sources.listing import Listed
from reelwright.data.sources.stems import each_stem_once
from reelwright.protocols.datasets import DatasetConfig


def list_sources(dataset: DatasetConfig) -> Iterator[Listed]:
    """The pictures and clips of a data set in a fixed order, as they are asked for; no media are read.

    In the place of an item whose line or caption is wrong comes a FileError that says what and where. Raises
    FileError for lists, folders and tar files that cannot be read on, for a data set that holds nothing, and
    for two items of one stem, which would have the same cache files.
    """
    return each_stem_once(lambda: all_sources(dataset), dataset.origin)


def all_sources(dataset: DatasetConfig) -> Iterator[Listed]:
    """As `list_sources`, for who looks for two items of one stem: they are listed too."""
    if dataset.image_directory is not None:
        return directory_sources(dataset.image_directory, "image", dataset)
    if dataset.video_directory is not None:
        return directory_sources(dataset.video_directory, "video", dataset)
    if dataset.image_jsonl_file is not None:
        return jsonl_sources(dataset.image_jsonl_file, "image")
    if dataset.video_jsonl_file is not None:
        return jsonl_sources(dataset.video_jsonl_file, "video")
    if dataset.folder is not None:
        return folder_sources(dataset.folder, dataset)
    raise ValueError("dataset: names no data")
