"""Which files hold the weights of a model, given the file or folder that a user names."""

import json
import re
from pathlib import Path

from reelwright.core.errors import CheckpointError, nearest
from reelwright.core.paths import cannot_read

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_VARIANTS = ("", ".bf16", ".fp16", ".fp32")
_SUFFIXES = (".safetensors", ".bin", ".pt")
_RANK_ZERO = "mp_rank_00_model_states.pt"


def find_weight_files(path: Path) -> list[Path]:
    """The files behind `path`: a file, one shard of several, or a folder in a released layout.

    Folders: shards with an index, one file of a usual name, the only .safetensors file, or a training folder
    whose `latest` names the iteration. Raises CheckpointError that says what was looked for.
    """
    if path.is_file():
        return _siblings(path)
    if not path.is_dir():
        raise _no_such_path(path)
    for find in (_indexed, _usually_named, _of_training, _only_one):
        if files := find(path):
            return files
    raise _without_weights(path)


def _siblings(path: Path) -> list[Path]:
    """All shards, where `path` is one of a numbered set; else `path` alone."""
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return [path]
    count = int(shard["count"])
    names = [f"{shard['stem']}-{number:05}-of-{count:05}{shard['suffix']}" for number in range(1, count + 1)]
    return _all_present(path.parent, names, said_by="the numbering of the files")


def _indexed(folder: Path) -> list[Path]:
    for suffix in _SUFFIXES:
        indexes = sorted(folder.glob(f"*{suffix}.index*.json"), key=_index_rank)
        if indexes:
            return _all_present(folder, _shards_of(indexes[0]), said_by=indexes[0].name)
    return []


def _usually_named(folder: Path) -> list[Path]:
    for suffix in _SUFFIXES:
        for variant in _VARIANTS:
            for stem in _STEMS:
                file = folder / f"{stem}{variant}{suffix}"
                if file.is_file():
                    return [file]
    return []


def _of_training(folder: Path) -> list[Path]:
    """A folder of the original training code: `latest` holds the iteration, which is a folder."""
    latest = folder / "latest"
    if latest.is_file():
        folder = folder / latest.read_text(encoding="utf-8", errors="replace").strip()
        if not (folder / _RANK_ZERO).is_file():
            raise CheckpointError(
                f"{latest}: it names {folder.name}, but {folder / _RANK_ZERO} is not there."
            )
    ranks = sorted(folder.glob("mp_rank_*_model_states.pt"))
    if len(ranks) > 1:
        raise CheckpointError(
            f"{folder}: the weights are split over {len(ranks)} model-parallel ranks."
            " Merge them with the training code that wrote them."
        )
    return ranks


def _only_one(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) > 1 and not all(_SHARD.fullmatch(file.name) for file in files):
        listed = ", ".join(file.name for file in files[:5])
        raise CheckpointError(f"{folder}: several files of weights are here ({listed}). Name the one to use.")
    return _siblings(files[0]) if files else []


def _index_rank(index: Path) -> tuple[int, int, str]:
    """Usual names first, then plain before variants such as model.safetensors.index.fp16.json."""
    usual = index.name.startswith(_STEMS)
    return (0 if usual else 1, len(index.name.split(".")), index.name)


def _shards_of(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        # A shard lies beside its index: an index must not lead to files elsewhere.
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("shards must be plain file names")
    except OSError as error:
        raise cannot_read(index, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: the index of shards cannot be read. Fetch it again.") from error
    return sorted(names)


def _all_present(folder: Path, names: list[str], *, said_by: str) -> list[Path]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: {len(missing)} of {len(names)} files of weights are missing, by {said_by}:"
            f" {', '.join(missing[:5])}. The download is not complete; fetch them."
        )
    return [folder / name for name in names]


def _no_such_path(path: Path) -> CheckpointError:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    advice = f"Did you mean {path.parent / close}?" if close else "Check the path."
    return CheckpointError(f"{path}: there is no such file or folder. {advice}")


def _without_weights(folder: Path) -> CheckpointError:
    parts = sorted(part.name for part in folder.iterdir() if part.is_dir())
    advice = f"It has the folders {', '.join(parts[:8])}; name one of them." if parts else "Check the path."
    return CheckpointError(
        f"{folder}: no weights are in this folder (*.safetensors, *.bin, *.pt or `latest`). {advice}"
    )
