"""Which files a job from outside may name: those in runs and uploads, and in folders that were opened."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

from reelwright.core.errors import ConfigError
from reelwright.jobs.order import Order, arguments_of
from reelwright.web.uploads import Uploads

_UPLOAD = re.compile(r"upload:(up_[0-9a-f]{32})")
_BETWEEN_PARTS = ";;;"
_PART = re.compile(r"\s*-?\d+(\s*-\s*-?\d+)?\s*:")
"""Some fields hold a path for each part of a clip; this names the part."""
_PLAIN_MODEL = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""A variant's name or a hub id."""


class PathRefusedError(ConfigError):
    """A job names a file that is not open to it."""


@dataclass(frozen=True)
class Places:
    """The folders that jobs from outside may use."""

    runs: Path
    uploads: Uploads
    folders: tuple[Path, ...] = ()
    closed: Path | None = None
    """A folder that is not open, though it may lie in one that is, and hold one that is."""

    def settled(self, order: Order) -> Order:
        """The order with its uploads found, its output in the folder of runs, and all its paths allowed.

        An upload is named "upload:ID". Raises ConfigError with the problems of the values, PathRefusedError
        for a path that leads elsewhere, UnknownUploadError.
        """
        found = replace(order, values=self._found(order.values), options=self._found(order.options))
        placed = self._placed(found)
        for key, path in _said_paths(arguments_of(placed)):
            self.check(key, path)
        return placed

    def inside(self, path: Path) -> bool:
        """Whether a path is in one of the folders, wherever links and .. on the way lead.

        Where one folder lies in another, the inner one decides.
        """
        try:
            real = path.resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL, a loop of links
            return False
        opened = (self.uploads.folder, self.runs, *self.folders)
        depth = max((_depth_in(folder, real) for folder in opened), default=0)
        return depth > (0 if self.closed is None else _depth_in(self.closed, real))

    def _found(self, value: Any) -> Any:  # noqa: ANN401 - nested values of an order
        if isinstance(value, Mapping):
            return {key: self._found(each) for key, each in cast("Mapping[str, Any]", value).items()}
        if isinstance(value, list):
            return [self._found(each) for each in cast("list[Any]", value)]
        if isinstance(value, str):
            return _UPLOAD.sub(lambda match: str(self.uploads.get(match[1]).path), value)
        return value

    def _placed(self, order: Order) -> Order:
        """The order with its `out`, where it knows one, in the folder of runs."""
        arguments = arguments_of(order)
        config = arguments.get("config")
        said = arguments if config is None else {each.name: None for each in fields(cast("Any", config))}
        if "out" not in {**arguments, **said}:
            return order
        # Beside a run, `out` is the folder of all runs; else it is the folder of this work alone.
        out = self.runs if "run" in said else self.runs / order.workflow
        if "out" in arguments:
            return replace(order, options={"out": str(out), **order.options})
        return replace(order, values={"out": str(out), **order.values})

    def check(self, key: str, path: Path) -> None:
        """Raise PathRefusedError for a path that is not open, or a run that is the folder of all runs."""
        is_run = key.rpartition(".")[2] != "out"
        for part in str(path).split(_BETWEEN_PARTS):
            plain = Path(_PART.sub("", part, count=1).strip())
            if not self.inside(plain) or (is_run and plain.resolve() == self.runs.resolve()):
                raise PathRefusedError(
                    f"order: {key}: {str(plain)[:200]!r} is not among the runs and uploads. Send the file"
                    " first and name it upload:ID, or start the studio with --folders and the folder of it."
                )


def _depth_in(folder: Path, real: Path) -> int:
    """How deep the folder lies that a path is in; 0 where the path is not in it."""
    root = folder.resolve()
    return len(root.parts) if real.is_relative_to(root) else 0


def _said_paths(arguments: Mapping[str, object]) -> Iterator[tuple[str, Path]]:
    """Every path that an order names, by its key; where nothing is said, nothing is checked."""
    for key, value in arguments.items():
        yield from _paths_in(key, value)


def _paths_in(key: str, value: object) -> Iterator[tuple[str, Path]]:
    if key.rpartition(".")[2] == "model" and isinstance(value, str) and value and _is_path(value):
        yield key, Path(value)
    elif isinstance(value, Path):
        yield key, value
    elif isinstance(value, tuple | list):
        for each in cast("tuple[object, ...]", value):
            yield from _paths_in(key, each)
    elif is_dataclass(value):
        for item in fields(value):
            inner = getattr(value, item.name)
            default = item.default if item.default_factory is MISSING else item.default_factory()
            if inner == default:
                continue
            yield from _paths_in(f"{key}.{item.name}", inner)


def _is_path(model: str) -> bool:
    """Whether a model's name is a path rather than a variant's name or a hub id."""
    return not _PLAIN_MODEL.fullmatch(model) or Path(model).exists()
