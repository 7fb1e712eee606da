"""From what a user calls a model to a folder on disk: a folder, the cache of downloads, or the model hub."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants, snapshot_download

# The hub's HTTP library is another one from version to version; this is its error, whichever it is.
from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

from reelwright.core.errors import FileError, nearest

T = TypeVar("T")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NUM_SHOWN = 5
_WEIGHTS = {".safetensors", ".bin", ".pt", ".gguf"}


@dataclass(frozen=True, kw_only=True)
class Cached:
    """What the cache of downloads has of a repository."""

    repository: str
    folder: Path | None
    """Of an earlier download, whole or not; None if there is none."""
    absent: tuple[str, ...]
    """What it lacks, in words."""

    @property
    def is_whole(self) -> bool:
        return self.folder is not None and not self.absent


def look_in_cache(repositories: Sequence[str], patterns: Sequence[str] = ()) -> Cached:
    """The first repository whose download is whole, else the first of which there is some, else the first."""
    found = [_look_up(name, patterns) for name in repositories]
    return max(found, key=lambda each: (each.is_whole, each.folder is not None))


def find_model(
    reference: str | Path,
    *,
    repositories: Sequence[str] = (),
    patterns: Sequence[str] = (),
    offline: bool = False,
    variants: Sequence[str] = (),
) -> Path:
    """The folder of a model, downloaded if need be.

    `reference` is a folder, a hub id (owner/name), or any name whose hub ids are given as `repositories`,
    best first. Only files that match `patterns` are wanted, at least one for each; all, if there are none.
    With `offline`, or HF_HUB_OFFLINE in the environment, only this machine is asked. Raises FileError, which
    offers the nearest of `variants`, the names that the caller knows.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder
    candidates = [name for name in repositories or (str(reference),) if _is_hub_id(name)]
    if not candidates:
        raise _no_such_model(folder, variants)
    cached = look_in_cache(candidates, patterns)
    if cached.folder is not None and cached.is_whole:
        return cached.folder
    if offline or is_offline():
        raise _not_on_this_machine(candidates, patterns)
    return ask_hub(
        candidates,
        patterns,
        lambda name: Path(snapshot_download(name, allow_patterns=list(patterns) or None)),
    )


def is_offline() -> bool:
    """Whether the environment forbids the network."""
    return constants.HF_HUB_OFFLINE


def ask_hub(repositories: Sequence[str], patterns: Sequence[str], ask: Callable[[str], T]) -> T:
    """What `ask` gives of the first repository that can be had. Raises FileError if none can."""
    failures: list[str] = []
    for repository in repositories:
        try:
            return ask(repository)
        except (HTTPError, OSError, ValueError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            failures.append(f"  {repository}: {lines[0]}")
    raise FileError(
        "The model cannot be downloaded:\n"
        + "\n".join(failures)
        + "\nCheck the name and the network; a gated model needs `hf auth login`. Or fetch it elsewhere"
        f" with `{_download_command(repositories[0], patterns)} --local-dir FOLDER` and give that folder."
    )


def _is_hub_id(reference: str) -> bool:
    """Whether this reads as owner/name, rather than as a path into a folder that exists."""
    return bool(_HUB_ID.fullmatch(reference)) and not Path(reference).parent.is_dir()


def _look_up(repository: str, patterns: Sequence[str]) -> Cached:
    folder = _cached(repository, patterns)
    absent = _absent_from(folder, patterns) if folder else ["it is not in the cache of downloads"]
    return Cached(repository=repository, folder=folder, absent=tuple(absent))


def _cached(repository: str, patterns: Sequence[str]) -> Path | None:
    """The folder of an earlier download, whole or not; None if there is none."""
    try:
        return Path(
            snapshot_download(repository, allow_patterns=list(patterns) or None, local_files_only=True)
        )
    except (OSError, ValueError):
        return None


def _absent_from(folder: Path, patterns: Sequence[str]) -> list[str]:
    """What an interrupted download lacks: patterns without a file, shards that an index names, weights."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    unmatched = [f"no {pattern}" for pattern in patterns if not any(fnmatchcase(n, pattern) for n in names)]
    wanted = [name for name in names if not patterns or any(fnmatchcase(name, p) for p in patterns)]
    indexes = [folder / name for name in wanted if name.endswith(".index.json")]
    shards = [f"no {shard}" for index in indexes for shard in _absent_shards(index, folder)]
    parts = [pattern.removesuffix("/*") for pattern in patterns if pattern.endswith("/*")]
    return [*unmatched, *shards, *(f"no weights in {part}" for part in parts if _is_bare(folder / part))]


def _is_bare(part: Path) -> bool:
    """Whether the settings of a network came, which are small, and its weights did not."""
    return (part / "config.json").is_file() and not any(
        path.suffix in _WEIGHTS for path in part.iterdir() if path.is_file()
    )


def _absent_shards(index: Path, folder: Path) -> list[str]:
    try:
        shards = {index.parent / name for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"readable {index.relative_to(folder).as_posix()}"]
    return sorted(shard.relative_to(folder).as_posix() for shard in shards if not shard.is_file())


def _not_on_this_machine(repositories: Sequence[str], patterns: Sequence[str]) -> FileError:
    command = _download_command(repositories[0], patterns)
    found = [_look_up(name, patterns) for name in repositories]
    absences = [f"  {each.repository}: {', '.join(each.absent[:_NUM_SHOWN])}" for each in found]
    return FileError(
        "The model is not on this machine, and the network may not be used (offline):\n"
        + "\n".join(absences)
        + f"\nFetch it once with `{command}`, or give a folder that holds it."
    )


def _download_command(repository: str, patterns: Sequence[str]) -> str:
    """What to type for the files that are wanted: some repositories hold far more."""
    return " ".join([f"hf download {repository}", *(f'--include "{pattern}"' for pattern in patterns)])


def _no_such_model(folder: Path, variants: Sequence[str]) -> FileError:
    if folder.is_file():
        return FileError(
            f"{folder}: is a file where a model's folder is needed. Give single files by their part."
        )
    beside = list(folder.parent.iterdir()) if folder.parent.is_dir() else []
    close = nearest(str(folder), [*variants, *(str(entry) for entry in beside)])
    known = f"one of {', '.join(variants)}, a folder" if variants else "a folder"
    advice = f"Did you mean {close}?" if close else f"Give {known}, or a hub id such as owner/name."
    return FileError(f"{folder}: there is no such model. {advice}")
