"""No two items of a data set under one name: their cache files would overwrite each other."""

from collections.abc import Callable, Iterator

from reelwright.core.errors import FileError
from reelwright.protocols.clips import Source


def each_stem_once(list_again: Callable[[], Iterator[Source]], origin: str) -> Iterator[Source]:
    """The sources that `list_again` lists, each stem once. Raises FileError with both paths, or for none.

    What is remembered of each item is a number; which two are equal is looked up again.
    """
    seen: set[int] = set()
    for source in list_again():
        _check_name(source)
        number = hash(source.stem)
        if number in seen:
            _check_first(source, list_again())
        seen.add(number)
        yield source
    if not seen:
        raise FileError(f"{origin}: holds no items. Check the path.")


def _check_first(source: Source, sources: Iterator[Source]) -> None:
    """Raise FileError unless `source` is the first of its stem, whose hash just equals another's."""
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
