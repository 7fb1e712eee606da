"""Readings of imagined runs, kept on disk: the same model in the same code always reads the same."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from reelwright.core.paths import cache_folder, write_text_atomic
from reelwright.execution.metering import Reading

_SOURCES = Path(__file__).parents[1]


def stored(asked: Sequence[object], measure: Callable[[], Reading]) -> Reading:
    """What `measure` reads, or read before for the same words.

    asked: all that a reading depends on beside this package's code and torch, each told by its repr.
    """
    words = "\n".join((*map(repr, asked), torch.__version__, _digest_of_code()))
    path = cache_folder() / "readings" / f"{hashlib.sha256(words.encode()).hexdigest()}.json"
    with suppress(OSError, ValueError, TypeError):
        return Reading(**json.loads(path.read_text(encoding="utf-8")))
    reading = measure()
    with suppress(OSError):  # a plan needs no place to write
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, json.dumps(asdict(reading)) + "\n")
    return reading


@cache
def _digest_of_code() -> str:
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
