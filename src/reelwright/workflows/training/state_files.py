"""The folder of one training state: what is in it, how it is written, and whether it is still whole."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import reelwright
from reelwright.checkpoint.safetensors_format import stream_safetensors
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.torch_files import UNREADABLE
from reelwright.core.digested_file import Digest, digested_file
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.core.paths import cannot_read, sha256_of, sync_folder

RECORD = "state.json"
"""Says what the other files must be; without it a folder is no state."""

_FORMAT = 1
_WEIGHTS, _AVERAGES, _OPTIMIZER = "weights.safetensors", "averages.safetensors", "optimizer.pt"
_TENSOR_CLASSES = "torchao.optim."
"""Where the tensors of 8-bit and 4-bit optimizers are defined."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that going on needs."""

    progress: Mapping[str, Any]
    """As JSON can hold it: step, epoch, where the data stand, what parts of the run remember."""
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    averages: dict[str, Tensor]


def write_state_files(folder: Path, state: TrainingState) -> None:
    """Fill an empty folder; all of it is on the disk at the end. Raises OSError where the disk refuses.

    Tensors are brought to the CPU one at a time. Raises ConfigError for an optimizer whose state could only
    be read by running code.
    """
    files = {
        _WEIGHTS: _write_tensors(folder / _WEIGHTS, state.weights),
        _AVERAGES: _write_tensors(folder / _AVERAGES, state.averages),
        _OPTIMIZER: _write_pickle(
            folder / _OPTIMIZER, {"optimizer": state.optimizer, "schedule": state.schedule}
        ),
    }
    content = {
        "format": _FORMAT,
        "version": reelwright.__version__,
        "files": {name: asdict(digest) for name, digest in files.items()},
        "progress": state.progress,
    }
    with digested_file(folder / RECORD) as file:
        file.write(_record_text(content).encode())
    sync_folder(folder)


def read_state_files(folder: Path) -> TrainingState:
    """The state in a folder, on the CPU. Raises CheckpointError if any byte is not as it was written."""
    content = _read_record(folder / RECORD)
    for name, digest in content["files"].items():
        _check(folder / name, Digest(**digest))
    pickled = _read_pickle(folder / _OPTIMIZER)
    return TrainingState(
        progress=content["progress"],
        weights=_read_tensors(folder / _WEIGHTS),
        optimizer=pickled["optimizer"],
        schedule=pickled["schedule"],
        averages=_read_tensors(folder / _AVERAGES),
    )


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Digest:
    with digested_file(path) as file:
        stream_safetensors(file, tensors)
    return file.digest


def _write_pickle(path: Path, content: Mapping[str, Any]) -> Digest:
    """Optimizers keep nested lists, numbers and tensors of several kinds, which only torch's format holds."""
    try:
        with digested_file(path) as file:
            torch.save(content, file)  # pyright: ignore[reportArgumentType]  # it only calls write and flush
        # Mapped, so that no tensor is read: what counts is that a later run may read it.
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        raise ConfigError(
            "optimizer.name, schedule.path: the state of this optimizer or schedule holds more than tensors"
            f" and numbers, and could not be read without running code ({_first_line(error)}). Choose"
            " others, or write no states: saving.state_every_steps = 0, state_every_minutes = 0,"
            " state_at_end = false."
        ) from error
    return file.digest


def _record_text(content: Mapping[str, Any]) -> str:
    """The content and its digest, in one form only, so that any other byte is damage."""
    inner = json.dumps(content, sort_keys=True, ensure_ascii=False)
    record = {"content": content, "sha256": sha256(inner.encode()).hexdigest()}
    return json.dumps(record, sort_keys=True, ensure_ascii=False, indent=1) + "\n"


def _read_record(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: the file is damaged.") from None
    try:
        content = json.loads(text)["content"]
        is_whole = _record_text(content) == text
    except (ValueError, LookupError, TypeError, RecursionError):
        is_whole, content = False, {}
    if not is_whole:
        raise CheckpointError(f"{path}: the file is damaged.")
    if content["format"] != _FORMAT:
        raise CheckpointError(
            f"{path}: was written by version {content['version']}, in a form that this version"
            f" ({reelwright.__version__}) does not read. Go on with that version."
        )
    return content


def _check(path: Path, expected: Digest) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file.")
    size = path.stat().st_size
    if size != expected.num_bytes:
        raise CheckpointError(f"{path}: has {size:,} bytes in place of {expected.num_bytes:,}.")
    if sha256_of(path) != expected.sha256:
        raise CheckpointError(f"{path}: the content is not what was written.")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with open_tensors(path) as source:
        return {name: source.read(name) for name in source.names()}


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([_tensor_class(name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise CheckpointError(
            f"{path}: holds tensors of a library that is not installed ({error.name}). Install it."
        ) from error
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: cannot be read ({_first_line(error)}).") from error


def _tensor_class(name: str) -> type[Tensor]:
    """A class of tensors by its dotted name. Raises ValueError for anything else, which is never loaded."""
    module, _, attribute = name.rpartition(".")
    if not module.startswith(_TENSOR_CLASSES):
        raise ValueError(f"{name} is no tensor or number")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Tensor)):
        raise ValueError(f"{name} is no kind of tensor")
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
