"""prompts.txt and videos.txt, line by line."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from reelwright.core.errors import FileError
from reelwright.core.locations import exists, is_url, join, name_of, read_lines, resolve
from reelwright.data.sources.listing import Listed, each_listed
from reelwright.data.sources.media_names import Kind
from reelwright.data.sources.records import Record, listed_source
from reelwright.data.sources.scores import SCORE
from reelwright.protocols.clips import Source

_NAMES = {
    "prompts": ("prompts.txt", "prompt.txt", "captions.txt", "caption.txt"),
    "videos": ("videos.txt", "video.txt"),
    "images": ("images.txt", "image.txt"),
    "scores": ("scores.txt",),
}


def find_line_lists(files: Sequence[str]) -> Mapping[str, str]:
    """The lists of prompts, videos and images in a folder; empty where there are no lists of media.

    Raises FileError for media without prompts, or two lists of one kind.
    """
    lists: dict[str, str] = {}
    for kind, names in _NAMES.items():
        found = [file for file in files if name_of(file) in names]
        if len(found) > 1:
            raise FileError(f"{found[1]}: says the same as {name_of(found[0])} beside it. Keep one of them.")
        if found:
            lists[kind] = found[0]
    media = lists.get("videos") or lists.get("images")
    if media is None:
        return {}
    if "prompts" not in lists:
        raise FileError(
            f"{media}: there is no prompts.txt beside it. Write one, with a line for each of its."
        )
    return lists


def line_list_sources(folder: str, lists: Mapping[str, str]) -> Iterator[Listed]:
    """The items of lists whose lines belong together; paths start at the folder.

    With both videos and images, each image is the control of the clip in its line: the picture that it starts
    from. Raises FileError with file and line.
    """
    numbers = {file: sum(1 for _ in _lines(file)) for file in lists.values()}
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{name_of(file)} has {number}" for file, number in numbers.items())
        raise FileError(f"{folder}: the numbers of lines differ: {told}. Line by line they belong together.")
    kind: Kind = "video" if "videos" in lists else "image"
    media = lists["videos" if kind == "video" else "images"]
    controls = _lines(lists["images"]) if kind == "video" and "images" in lists else ()
    scores = _lines(lists["scores"]) if "scores" in lists else ()
    lines = zip_longest(_lines(lists["prompts"]), _lines(media), controls, scores, fillvalue="")
    records = (
        Record(f"{media} line {number}", {"prompt": prompt, "path": path, "image": image, SCORE: score})
        for number, (prompt, path, image, score) in enumerate(lines, start=1)
    )
    yield from each_listed(records, lambda record: _source(record, kind, folder))


def place_in(folder: str, text: str) -> str:
    """The location that a list in a folder means: from the folder, else from the working directory."""
    inside = text if is_url(text) else join(folder, text)
    if is_url(inside) or exists(inside):
        return inside
    outside = resolve(text, join(folder, "list"))
    return outside if exists(outside) else inside


def _source(record: Record, kind: Kind, folder: str) -> Source:
    path, image = record.values["path"].strip(), record.values["image"].strip()
    if not path:
        raise FileError(f"{record.origin}: is empty. Name a file, or remove the line from all lists.")
    controls = (place_in(folder, image),) if image else ()
    return listed_source(record, place_in(folder, path), kind, record.caption(["prompt"]), controls)


def _lines(file: str) -> Iterator[str]:
    """The lines of a list without the empty ones at its end."""
    num_empty = 0
    for _, line in read_lines(file):
        if line.strip():
            yield from ("" for _ in range(num_empty))
            num_empty = 0
            yield line
        else:
            num_empty += 1
