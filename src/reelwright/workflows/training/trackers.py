"""Curves and clips in TensorBoard and Weights & Biases, through Accelerate's trackers."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from PIL import Image

from reelwright.core.config import read_toml
from reelwright.core.errors import ConfigError, suggestion
from reelwright.protocols.train_configs import LearningConfig, TrackingConfig

LOGS = "logs"
"""Within a run: what TensorBoard reads."""
_EXTRAS = {"tensorboard": "train", "wandb": "wandb"}
_NEEDS = {
    "folder": "tensorboard",
    "prefix": "tensorboard",
    "run_name": "wandb",
    "wandb_key": "wandb",
    "arguments": "",
    "log_config": "",
}
"""Settings that need a tracker, this one or any."""
_SECRET = ("key", "token")
_Plain = str | int | float | bool


def check_trackers(config: TrackingConfig) -> None:
    """Raise ConfigError for trackers that are not installed, and settings that would have no effect."""
    problems = [
        f"tracking.trackers: {name} is not installed. Run: pip install 'reelwright[{_EXTRAS[name]}]'"
        for name in config.trackers
        if find_spec(name) is None
    ]
    for name, needed in _NEEDS.items():
        is_set = getattr(config, name) != getattr(TrackingConfig(), name)
        if is_set and (needed not in config.trackers if needed else not config.trackers):
            problems.append(f"tracking.{name}: has no effect without --tracking.trackers {needed or 'NAME'}.")
    if problems:
        raise ConfigError("\n".join(problems))
    _read_arguments(config)


def open_trackers(config: LearningConfig, folder: Path | None) -> list[GeneralTracker]:
    """The trackers of a run in `folder`, for `Accelerator`; nothing begins before `start_trackers`.

    Processes without a folder have none, as the main one tells. Raises ConfigError.
    """
    check_trackers(config.tracking)
    if folder is None:
        return []
    arguments = _read_arguments(config.tracking)
    makers = {"tensorboard": _tensorboard, "wandb": _wandb}
    names = dict.fromkeys(config.tracking.trackers)
    return [makers[name](config.tracking, folder, arguments.get(name, {})) for name in names]


def start_trackers(accelerator: Accelerator, config: LearningConfig, step: int) -> None:
    """Let trackers begin, or go on after `step`; the configuration goes with it if that is wanted."""
    if not accelerator.is_main_process:
        return
    tracking = config.tracking
    if "wandb" in tracking.trackers and tracking.wandb_key:
        import_module("wandb").login(key=tracking.wandb_key)
    for tracker in accelerator.log_with:
        if isinstance(tracker, TensorBoardTracker) and step > 0:
            # What a run that was stopped told of later steps, which are done again, is not shown.
            tracker.init_kwargs.setdefault("purge_step", step + 1)
    told = dict(_flat(config)) if tracking.log_config else None
    accelerator.init_trackers(tracking.project, config=told)


def track_clip(accelerator: Accelerator, name: str, files: Mapping[str, str], step: int) -> None:
    """Show a clip, by the kinds of its files: its contact sheet everywhere, the clip where that is taken."""
    for tracker in accelerator.trackers:
        if (sheet := files.get("contact_sheet")) is not None:
            _track_picture(tracker, name, Path(sheet), step)
        if isinstance(tracker, WandBTracker) and (video := files.get("video")) is not None:
            clip = import_module("wandb").Video(video, format="mp4")
            tracker.log({f"{name}/clip": clip}, step=step)


def _track_picture(tracker: GeneralTracker, name: str, path: Path, step: int) -> None:
    show = getattr(tracker, "log_images", None)
    if show is None:
        return
    with Image.open(path) as picture:
        pixels_BHWC = np.asarray(picture.convert("RGB"))[None]
    layout = {"dataformats": "NHWC"} if isinstance(tracker, TensorBoardTracker) else {}
    show({name: pixels_BHWC}, step=step, **layout)


def _tensorboard(config: TrackingConfig, folder: Path, arguments: Mapping[str, Any]) -> GeneralTracker:
    place = config.folder or folder / LOGS
    return TensorBoardTracker(f"{config.prefix}{folder.resolve().name}", place, **arguments)


def _wandb(config: TrackingConfig, folder: Path, arguments: Mapping[str, Any]) -> GeneralTracker:
    # The same folder is the same run there too, so that one that is resumed goes on.
    identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    name = config.run_name or folder.resolve().name
    usual = {"name": name, "id": identity, "resume": "allow", "dir": str(folder)}
    return WandBTracker(config.project, **{**usual, **arguments})


def _read_arguments(config: TrackingConfig) -> dict[str, dict[str, Any]]:
    """What each tracker takes at its start. Raises ConfigError."""
    if config.arguments is None:
        return {}
    tables: dict[str, dict[str, Any]] = {}
    for name, table in read_toml(config.arguments).items():
        if name not in _EXTRAS:
            raise ConfigError(f"{config.arguments}: {name}: is no tracker. {suggestion(name, _EXTRAS)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{config.arguments}: {name}: is no table. Write [{name}] and its keys below.")
        tables[name] = table
    return tables


def _flat(config: object, prefix: str = "") -> Iterator[tuple[str, _Plain]]:
    """Every setting by its dotted name, but for paths and secrets."""
    for item in fields(config):  # pyright: ignore[reportArgumentType]
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        if is_dataclass(value):
            yield from _flat(value, f"{name}.")
        elif item.name.endswith(_SECRET) or _is_path(value):
            continue
        elif isinstance(value, str | int | float | bool):
            yield name, value
        elif isinstance(value, tuple):
            yield name, ", ".join(map(str, value))


def _is_path(value: object) -> bool:
    """Also of text, such as the model's name, if it leads to a file or folder here."""
    if isinstance(value, tuple):
        return any(isinstance(each, Path) for each in value)
    return isinstance(value, Path) or (isinstance(value, str) and value != "" and _leads_somewhere(value))


def _leads_somewhere(text: str) -> bool:
    return any(mark in text for mark in ("/", "\\")) and (Path(text).is_absolute() or Path(text).exists())
