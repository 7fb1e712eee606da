"""The JSON files beside weights, read with suspicion."""

import json
from pathlib import Path
from typing import Any, TypeVar

from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.config import validate
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.core.paths import cannot_read, write_text_atomic
from reelwright.core.released_settings import ReleasedSettings

S = TypeVar("S", bound=ReleasedSettings)

_RELEASED_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
"""Names of single files that a released folder has beside its config.json."""


def read_json(path: Path, advice: str = "Fetch it again.") -> dict[str, Any]:
    """A table of settings. Raises CheckpointError; `advice` is for a file that is missing."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing. {advice}") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Fetch it again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: is no table of settings. Fetch it again.")
    return data


def read_settings(schema: type[S], path: Path, advice: str = "Fetch it again.") -> S:
    """The settings of a network; those of the wrong kind are named."""
    try:
        return validate(schema.from_json(read_json(path, advice), str(path)), str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error} Fetch the file again.") from error


def write_json(path: Path, content: object) -> None:
    """The same content gives the same bytes. Raises FileError where the disk refuses."""
    write_text_atomic(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def settings_beside(path: Path) -> Path | None:
    """The config.json of a part: in its folder, or beside the shards of which `path` is one."""
    described = (path.parent if path.is_file() else path) / "config.json"
    return described if described.is_file() and not is_loose_file(path) else None


def is_loose_file(path: Path) -> bool:
    """Whether `path` is a single file of any name: the folder where it lies, and its config.json, may then be
    of something else.
    """
    return path.is_file() and len(find_weight_files(path)) == 1 and path.stem not in _RELEASED_STEMS
