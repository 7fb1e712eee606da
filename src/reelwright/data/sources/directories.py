"""A directory of pictures or clips with captions beside them."""

from collections.abc import Iterator, Sequence

from reelwright.core.errors import FileError
from reelwright.core.locations import list_files
from reelwright.data.sources.beside import source_beside
from reelwright.data.sources.controls import find_controls
from reelwright.data.sources.listing import Listed, each_listed
from reelwright.data.sources.media_names import NAMES_OF_KINDS, Kind, kind_of, stem_of
from reelwright.protocols.clips import Source
from reelwright.protocols.datasets import DatasetConfig


def directory_sources(folder: str, kind: Kind, dataset: DatasetConfig) -> Iterator[Listed]:
    """The media of one kind in a folder, sorted; not those in folders within. Raises FileError."""
    listed = list_files(folder)
    media = [file for file in listed if kind_of(file) == kind]
    if not media:
        raise _holds_none(folder, kind, listed)
    files = frozenset(listed)
    controls = find_controls(dataset.control_directory, media, kind)

    def source(file: str) -> Source:
        own = tuple(controls.get(stem_of(file), ()))
        if dataset.control_directory is not None and not own:
            raise FileError(
                f"{file}: there is no control of its name in {dataset.control_directory}."
                " Add one, or take it out of the data set."
            )
        return source_beside(file, kind, files, dataset.caption_extension, own)

    yield from each_listed(media, source)


def _holds_none(folder: str, kind: Kind, listed: Sequence[str]) -> FileError:
    other: Kind = "video" if kind == "image" else "image"
    advice = (
        f"It holds {NAMES_OF_KINDS[other]}: write {other}_directory."
        if any(kind_of(file) == other for file in listed)
        else "Check the path; `folder` reads inner folders too."
    )
    return FileError(f"{folder}: holds no {NAMES_OF_KINDS[kind]}. {advice}")
