"""What a line of a list says of an item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reelwright.core.errors import FileError, nearest
from reelwright.core.locations import exists, is_folder, is_url, name_of
from reelwright.data.sources.media_names import Kind, stem_of
from reelwright.data.sources.scores import SCORE, read_score
from reelwright.protocols.clips import Source


@dataclass(frozen=True)
class Record:
    """Keys and values of one line. `origin` names file and line, for messages."""

    origin: str
    values: Mapping[str, Any]

    def text(self, key: str) -> str:
        """What a key says. Raises FileError for anything but text with content."""
        value = self.values[key]
        if not isinstance(value, str) or not value.strip():
            raise FileError(f"{self.origin}: {key}: {value!r} is no path. Write it in quotes.")
        return value

    def caption(self, keys: Sequence[str]) -> str | None:
        """What the first of the keys says that is there; None without any. Raises FileError."""
        key = next((each for each in keys if self.values.get(each) is not None), None)
        if key is None:
            self._refuse_near_miss(keys)
            return None
        value = self.values[key]
        if not isinstance(value, str):
            raise FileError(f"{self.origin}: {key}: {value!r} is no text. Write it in quotes.")
        return value.strip()

    def score(self) -> float | None:
        """What the key `score` says; None without it, or where it is empty. Raises FileError."""
        value = self.values.get(SCORE)
        return None if value is None or value == "" else read_score(value, f"{self.origin}: {SCORE}")

    def _refuse_near_miss(self, keys: Sequence[str]) -> None:
        for said in self.values.keys() - set(keys):
            if (close := nearest(said, keys)) is not None:
                raise FileError(f"{self.origin}: {said}: unknown key. Did you mean {close}?")


def listed_source(
    record: Record, media: str, kind: Kind, caption: str | None, controls: tuple[str, ...] = ()
) -> Source:
    """A picture or clip that a list names. Raises FileError for a file missing on this machine."""
    for location in (media, *controls):
        if not is_url(location) and not exists(location):
            raise FileError(f"{record.origin}: {location}: there is no such file. Check the path.")
    stem = name_of(media) if is_folder_of_pictures(media, kind) else stem_of(media)
    if not stem:
        raise FileError(f"{record.origin}: {media}: names no file. Check the path.")
    return Source(
        media=media,
        kind=kind,
        stem=stem,
        caption=caption,
        caption_origin=record.origin,
        controls=controls,
        score=record.score(),
    )


def is_folder_of_pictures(media: str, kind: Kind) -> bool:
    """Whether a clip is a folder, whose name has no extension. Of URLs that is not asked: it takes long."""
    return kind == "video" and not is_url(media) and is_folder(media)
