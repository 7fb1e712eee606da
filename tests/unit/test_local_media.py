"""Media at URLs and in tar files are fetched once for all that is read of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from reelwright.core.errors import FileError
from reelwright.data.local_media import local_media


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was copied to this machine."""
    MemoryFileSystem.store.clear()
    copied: list[str] = []
    get_file = MemoryFileSystem.get_file

    def noted(system: MemoryFileSystem, remote: str, local: str, **options: object) -> None:
        copied.append(remote)
        get_file(system, remote, local, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", noted)
    return copied


def put(name: str, content: bytes) -> str:
    MemoryFileSystem().pipe({f"/{name}": content})
    return f"memory://{name}"


def test_a_file_at_a_url_is_fetched_once_until_it_changes(fetched: list[str]):
    location = put("once.mp4", b"one")
    for _ in range(3):
        with local_media(location) as path:
            assert path.read_bytes() == b"one"
            assert path.name == "once.mp4"
    assert len(fetched) == 1
    put("once.mp4", b"another")
    with local_media(location) as path:
        assert path.read_bytes() == b"another"
    assert len(fetched) == 2


def test_threads_that_ask_at_once_share_a_copy(fetched: list[str]):
    location = put("shared.mp4", b"one")

    def read(_: int) -> bytes:
        with local_media(location) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(read, range(40))] == [b"one"] * 40
    assert len(fetched) == 1


def test_few_copies_are_kept_and_none_is_removed_while_it_is_read(fetched: list[str]):
    places = [put(f"{number}.mp4", bytes([number])) for number in range(12)]
    paths: list[Path] = []
    with local_media(places[0]) as first:
        for place in places[1:]:
            with local_media(place) as path:
                paths.append(path)
        assert first.read_bytes() == b"\0"
    assert len(fetched) == 12
    assert sum(path.exists() for path in paths) <= 4


def test_what_cannot_be_fetched_is_tried_again(fetched: list[str]):
    with (
        pytest.raises(FileError, match=r"^memory://late\.mp4: there is no such file"),
        local_media("memory://late.mp4"),
    ):
        pass
    with local_media(put("late.mp4", b"here")) as path:
        assert path.read_bytes() == b"here"
    assert len(fetched) == 1
