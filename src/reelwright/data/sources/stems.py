"""No two items of a data set under one name: their cache files would overwrite each other."""

from collections.abc import Callable, Iterator

from reelwright.core.errors import FileError
from reelwright.data.sources.listing import Listed
from reelwright.protocols.clips import Source


def each_stem_once(list_again: Callable[[], Iterator[Listed]], origin: str) -> Iterator[Listed]:
    """What `list_again` lists, each stem once. Raises FileError with both paths, or for an empty list.

    What is remembered of each item is a number; which two are equal is looked up again.
    """
    seen: set[int] = set()
    is_empty = True
    for each in list_again():
        is_empty = False
        if isinstance(each, Source):
            _check_name(each)
            number = hash(each.stem)
            if number in seen:
                _check_first(each, list_again())
            seen.add(number)
        yield each
    if is_empty:
        raise FileError(f"{origin}: holds no items. Check the path.")


def _check_first(source: Source, listed: Iterator[Listed]) -> None:
    """Raise FileError unless `source` is the first of its stem, whose hash just equals another's."""
    sources = (each for each in listed if isinstance(each, Source))
    first = next((each for each in sources if each.stem == source.stem), source)
    if first == source and first.caption_origin == source.caption_origin:
        return
    if first.media == source.media:
        raise FileError(
            f"{source.media}: is named twice, with {first.caption_origin} and {source.caption_origin}."
            " Remove one; num_repeats makes items come more often."
        )
    raise FileError(
        f"{source.media}: has the same name as {first.media}, so that their cache files would be the same."
        " Rename one, or put them into different data sets."
    )


def _check_name(source: Source) -> None:
    try:
        source.media.encode()
    except UnicodeEncodeError as error:
        shown = source.media.encode("utf-8", "backslashreplace").decode()
        raise FileError(f"{shown}: its name is not UTF-8. Rename it.") from error
