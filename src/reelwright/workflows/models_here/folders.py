"""The files in folders that people keep models in: their own, and those of ComfyUI."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from reelwright.core.errors import FileError
from reelwright.core.paths import cannot_read

_SUFFIXES = {".safetensors", ".gguf", ".pt", ".bin"}
_KINDS = (
    *("diffusion_models", "unet", "vae", "text_encoders", "clip", "clip_vision", "loras", "checkpoints"),
    "CogVideo",
)
"""Folders of ComfyUI that may hold what is read here; others hold what other programs alone use."""
_EXTRA = "extra_model_paths.yaml"
_INDEX = "model_index.json"


def folders_to_search(folders: Sequence[Path], comfyui: Path | None) -> list[Path]:
    """Those that are named and those of ComfyUI that are there, none twice. Raises FileError."""
    for folder in folders:
        if not folder.is_dir():
            raise FileError(f"{folder}: there is no such folder. Check --folder.")
    told = os.environ.get("REELWRIGHT_COMFYUI", "")
    root = comfyui or (Path(told) if told else None)
    found = [*folders, *(_of_comfyui(root) if root is not None else ())]
    return list({folder.resolve(): folder for folder in found if folder.is_dir()}.values())


def whole_models(folders: Sequence[Path]) -> list[Path]:
    """The folders of whole models in them."""
    return sorted({index.parent for folder in folders for index in folder.rglob(_INDEX)})


def single_files(folders: Sequence[Path]) -> list[Path]:
    """The files of weights in them that are no part of a whole model; of shards the first."""
    whole = whole_models(folders)
    found = {path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES}
    return sorted(
        path
        for path in found
        if path.is_file() and not _is_later_shard(path) and not any(map(path.is_relative_to, whole))
    )


def _is_later_shard(path: Path) -> bool:
    _, _, number = path.stem.partition("-of-")[0].rpartition("-")
    return "-of-" in path.stem and number.isdecimal() and int(number) > 1


def _of_comfyui(root: Path) -> Iterator[Path]:
    if not (root / "models").is_dir():
        raise FileError(f"{root}: has no folder `models`. Name the folder of ComfyUI itself.")
    for kind in _KINDS:
        yield root / "models" / kind
    extra = root / _EXTRA
    if extra.is_file():
        yield from _extra_folders(extra)


def _extra_folders(file: Path) -> Iterator[Path]:
    """What the file adds, for each program that it names: kind -> folders, one a line."""
    for section in _read_yaml(file).values():
        if not isinstance(section, dict):
            continue
        base = file.parent / Path(str(section.get("base_path", "."))).expanduser()
        for kind in _KINDS:
            for line in str(section.get(kind) or "").splitlines():
                if line.strip():
                    yield base / line.strip()


def _read_yaml(file: Path) -> Mapping[str, Any]:
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise cannot_read(file, error) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(f"{file}: cannot be read as YAML. Mend it, or leave out --comfyui.") from error
    return told if isinstance(told, dict) else {}
