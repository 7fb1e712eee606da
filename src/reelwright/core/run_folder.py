"""The folder that one run owns: its recipe, its events, its log and whatever it makes."""

import json
import re
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from reelwright.core.errors import FileError
from reelwright.core.events import Event, EventSink, to_json
from reelwright.core.paths import cannot_write, remove_leftovers, write_text_atomic


class RunFolder:
    """A folder held by one living process; another run is refused until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log_path = path / "log.txt"
        self._lock = FileLock(path / ".lock")

    @classmethod
    def create(cls, out: Path, run: Path | None, name: str) -> Self:
        """Make and lock `run`, or a new folder out/<date>-<time>_<name> if `run` is None.

        Raises FileError if the disk refuses or another living process holds the folder.
        """
        folder = cls(_make_folder(run) if run is not None else _make_unique_folder(out, name))
        folder._acquire()
        remove_leftovers(folder.path)
        return folder

    def write_recipe(self, toml: str) -> Path:
        """Store the resolved recipe of this run as recipe.toml."""
        path = self.path / "recipe.toml"
        write_text_atomic(path, toml)
        return path

    def sink(self) -> EventSink:
        """A sink that appends each event to events.jsonl, on disk line by line."""
        path = self.path / "events.jsonl"

        def append(event: Event, /) -> None:
            line = json.dumps(to_json(event), ensure_ascii=False)
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise cannot_write(path, error) from error

        return append

    def release(self) -> None:
        """Let other runs use the folder."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _acquire(self) -> None:
        """Take the operating system's lock on the folder, which dies with the process that holds it."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise FileError(
                f"{self.path}: another run is using this folder."
                " Wait for it, stop it, or choose another folder with --run."
            ) from None
        except OSError as error:
            raise cannot_write(self.path, error) from error


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def _make_unique_folder(out: Path, name: str) -> Path:
    """out/<YYYYMMDD-HHMMSS>_<name>, with -2, -3, ... after it if that exists."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
    stem = f"{datetime.now():%Y%m%d-%H%M%S}_{readable}"
    count = 1
    while True:
        path = out / (stem if count == 1 else f"{stem}-{count}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not path.is_dir():
                raise FileError(f"{path}: is a file, not a folder. Choose another --out.") from None
            count += 1
        except OSError as error:
            raise cannot_write(path, error) from error
        else:
            return path
