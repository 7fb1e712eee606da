"""ComfyUI as far as nodes talk to it. Its modules are there only inside it: each is imported when needed."""

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

_logger = logging.getLogger("reelwright")
_FOLDER = "reelwright"
_PREVIEW_SIDE = 512


class Progress:
    """The bar of the node at work, with a picture of how far it is."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._step = 0

    def start(self, total: int) -> None:
        """A stage of so many steps begins; of none, the bar stays as it is."""
        if total:
            self._bar = import_module("comfy.utils").ProgressBar(total)
            self._step = 0

    def show(self, step: int, picture: Any = None) -> None:  # noqa: ANN401 - a picture of Pillow's
        """How many steps are done, and a rough picture of the clip."""
        if self._bar is None:
            return
        self._step = step or self._step
        self._bar.update_absolute(
            self._step, None, None if picture is None else ("JPEG", picture, _PREVIEW_SIDE)
        )


def check_interrupted() -> None:
    """Raise ComfyUI's own exception where the user has pressed Cancel."""
    import_module("comfy.model_management").throw_exception_if_processing_interrupted()


def device_type() -> str:
    """Where ComfyUI computes: cuda, cpu, mps."""
    return import_module("comfy.model_management").get_torch_device().type


def tell(message: str) -> None:
    """Say something in the console of the server."""
    _logger.info(message)


def output_folder() -> Path:
    """Where runs and the inputs they were made from are kept."""
    return Path(import_module("folder_paths").get_output_directory()) / _FOLDER


def place_for(prefix: str, width: int, height: int) -> tuple[Path, str, str]:
    """Where the next file with a prefix goes: folder, name without ending, and ComfyUI's subfolder."""
    paths = import_module("folder_paths")
    found = paths.get_save_image_path(prefix, paths.get_output_directory(), width, height)
    folder, name, counter, subfolder, _ = found
    return Path(folder), f"{name}_{counter:05}_", subfolder


def model_files(kind: str) -> list[str]:
    """The files of a kind in ComfyUI's folders of models, those of extra_model_paths.yaml too."""
    return list(_folders("get_filename_list", kind) or ())


def model_file(kind: str, name: str) -> str:
    """The whole path of one of them; any other text as it is."""
    return str(_folders("get_full_path", kind, name) or name)


def model_folders() -> dict[str, str]:
    """Models that are whole folders, in ComfyUI's diffusers folders and in its folders for this program."""
    found: dict[str, str] = {}
    for kind in ("diffusers", _FOLDER):
        for place in _folders("get_folder_paths", kind) or ():
            for index in sorted(Path(place).glob("*/model_index.json")):
                found.setdefault(index.parent.name, str(index.parent))
    return found


def _folders(ask: str, kind: str, *words: str) -> Any:  # noqa: ANN401 - whatever ComfyUI answers
    """What ComfyUI's table of folders answers; None outside ComfyUI, and for a kind that it does not know."""
    try:
        paths = import_module("folder_paths")
    except ModuleNotFoundError:
        return None
    if kind == _FOLDER and kind not in paths.folder_names_and_paths:
        paths.add_model_folder_path(kind, str(Path(paths.models_dir) / kind))
    return getattr(paths, ask)(kind, *words) if kind in paths.folder_names_and_paths else None


def metadata_of(hidden: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """What ComfyUI writes into files so that they open as a workflow; nothing where it is told not to."""
    if import_module("comfy.cli_args").args.disable_metadata:
        return {}
    return {name: value for name, value in hidden if value is not None}
