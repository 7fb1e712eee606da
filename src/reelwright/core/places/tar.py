"""Members of tar files, read where they lie: nothing is unpacked."""

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from reelwright.core.errors import FileError
from reelwright.core.places.place import Place, no_such_file

_PREFIX = "tar://"
_SHARDS_REMEMBERED = 16
_CHUNK = 2**20


@dataclass(frozen=True)
class Span:
    """The bytes of a member within its tar file."""

    start: int
    size: int


@dataclass(frozen=True)
class TarPlace:
    """`tar://member::shard.tar`. See Place for what its methods do."""

    member: str
    shard_location: str
    shard: Place

    def exists(self) -> bool:
        return self.member in self._spans() or self.is_folder()

    def is_folder(self) -> bool:
        return any(True for _ in self._below())

    def files(self, *, recursive: bool) -> Sequence[str]:
        return [
            member_location(name, self.shard_location)
            for name in self._below()
            if recursive or "/" not in name.removeprefix(self._folder())
        ]

    def open(self) -> BinaryIO:
        content = io.BytesIO()
        self._copy_to(content)
        content.seek(0)
        return content

    def fetch(self, target: Path) -> None:
        with target.open("wb") as copy:
            self._copy_to(copy)

    def publish(self, local: Path) -> None:
        raise self._is_read_only()

    def stamp(self) -> str:
        span = self._span()
        return f"{self.shard.stamp()}@{span.start}+{span.size}"

    def remove(self) -> None:
        raise self._is_read_only()

    def _copy_to(self, target: BinaryIO) -> None:
        span = self._span()
        remaining = span.size
        with self.shard.open() as file:
            file.seek(span.start)
            while remaining and (chunk := file.read(min(remaining, _CHUNK))):
                remaining -= target.write(chunk)
        if remaining:
            raise _damaged(self.shard_location, "it ends before its last member does")

    def _span(self) -> Span:
        span = self._spans().get(self.member)
        if span is None:
            raise no_such_file(member_location(self.member, self.shard_location))
        return span

    def _spans(self) -> Mapping[str, Span]:
        return _remembered_spans(self.shard_location, self.shard, self.shard.stamp())

    def _below(self) -> Iterator[str]:
        return (name for name in self._spans() if name.startswith(self._folder()))

    def _folder(self) -> str:
        return f"{self.member.rstrip('/')}/" if self.member.strip("/") else ""

    def _is_read_only(self) -> FileError:
        return FileError(
            f"{self.shard_location}: nothing is written into tar files. Choose a folder beside it."
        )


def split_member(location: str) -> tuple[str, str] | None:
    """The member and the shard that a location names; None if it names no member."""
    if not location.startswith(_PREFIX) or "::" not in location:
        return None
    member, _, shard = location.removeprefix(_PREFIX).rpartition("::")
    return member, shard


def member_location(member: str, shard: str) -> str:
    return f"{_PREFIX}{member}::{shard}"


@lru_cache(maxsize=_SHARDS_REMEMBERED)
def _remembered_spans(location: str, shard: Place, stamp: str) -> Mapping[str, Span]:
    """Where the files of a shard lie; `stamp` makes a shard that was replaced another one."""
    del stamp
    with shard.open() as file:
        try:
            return dict(_spans(file, location))
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
            raise _damaged(location, str(error) or type(error).__name__) from error


def _spans(file: BinaryIO, location: str) -> Iterator[tuple[str, Span]]:
    """Plain files alone; a link to one earlier in the shard is that one under another name."""
    found: dict[str, Span] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            name = _plain(member.name)
            if member.size < 0:
                raise _damaged(location, "a member has a negative size")
            if member.islnk() and _plain(member.linkname) in found:
                found[name] = found[_plain(member.linkname)]
            elif member.isreg() and not member.issparse():
                found[name] = Span(member.offset_data, member.size)
    yield from found.items()


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _damaged(location: str, reason: str) -> FileError:
    return FileError(
        f"{location}: cannot be read as a tar file ({reason})."
        " Unpack a compressed one (gunzip), or download a damaged one again."
    )
