"""a.mp4 and a.txt, b.png and b.txt, anywhere in a folder."""

from collections.abc import Iterator
from pathlib import PurePath

from reelwright.core.errors import FileError
from reelwright.core.locations import list_files, local_path
from reelwright.data.sources.beside import source_beside
from reelwright.data.sources.listing import Listed, each_listed
from reelwright.data.sources.media_names import Kind, kind_of


def pair_sources(folder: str, extension: str) -> Iterator[Listed]:
    """Every picture and clip in a folder and those within, sorted; hidden folders are left out."""
    listed = list_files(folder, recursive=True)
    media: list[tuple[str, Kind]] = [
        (file, kind)
        for file in listed
        if (kind := kind_of(file)) is not None and not _is_hidden(file, folder)
    ]
    if not media:
        raise FileError(
            f"{folder}: holds no data that can be told: neither clips or pictures, nor prompts.txt with"
            " videos.txt, nor metadata.csv or .jsonl, nor tar files. Check the path."
        )
    files = frozenset(listed)
    yield from each_listed(media, lambda found: source_beside(*found, files, extension))


def _is_hidden(file: str, folder: str) -> bool:
    """Whether a folder on the way down to the file is; those above do not count."""
    return any(part.startswith(".") for part in _parts(file)[len(_parts(folder)) :])


def _parts(location: str) -> tuple[str, ...]:
    path = local_path(location) or PurePath(location.partition("://")[2].strip("/"))
    return path.parts
