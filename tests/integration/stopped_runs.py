"""Waiting for a run to come to a point, and what a stopped run left."""

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .forks import Fork

Event = dict[str, Any]


def wait_for(process: subprocess.Popen[str] | Fork, reached: Callable[[Event], bool]) -> None:
    """Return as soon as the process reports an event."""
    assert process.stdout is not None
    if not is_in(process.stdout, reached):
        raise AssertionError(f"it ended before: {process.communicate()[1]}")


def is_in(lines: Iterable[str], reached: Callable[[Event], bool]) -> bool:
    """Read up to an event, if it comes."""
    return any(reached(json.loads(line)) for line in lines)


def half_built(run: Path) -> list[Path]:
    """Files and folders that are not under their own name yet."""
    return [path for path in run.rglob("*") if re.fullmatch(r"\.[0-9a-f]{12}.*", path.name)]


def contents(run: Path) -> dict[str, tuple[bytes, int]]:
    """Name -> content and time of the last change of each file."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir() if path.is_file()
    }


def events_of(run: Path) -> list[Event]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
