"""What there is to see in a folder of runs, from what the runs wrote; nothing is decoded here."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

RECIPE, EVENTS = "recipe.toml", "events.jsonl"
_TAIL_BYTES = 64 * 1024
_ENDS: Mapping[str, "RunState"] = {"finished": "done", "failed": "failed", "stopped": "stopped"}

RunState = Literal["done", "failed", "stopped", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """One run, as its folder tells it."""

    folder: Path
    workflow: str
    family: str
    settings: Mapping[str, Any]
    """The whole recipe but for workflow and family."""
    state: RunState
    message: str
    """Why it failed."""
    changed: float
    """When its folder last changed, in seconds since 1970."""
    clips: tuple[Path, ...]
    latents: tuple[Path, ...]
    frames: tuple[Path, ...]
    """Folders of pictures."""
    thumbnail: Path | None
    seconds: float
    peak_memory: int

    @property
    def title(self) -> str:
        """The prompt, else the folder's name."""
        return " ".join(str(self.settings.get("prompt", "")).split()) or self.folder.name


def list_runs(folder: Path) -> list[RunCard]:
    """The runs in a folder, the newest first; what is no run is passed over."""
    found = (read_run_card(run) for run in _folders(folder))
    return sorted((run for run in found if run is not None), key=lambda run: run.changed, reverse=True)


def read_run_card(folder: Path) -> RunCard | None:
    """What a run folder tells; None for other folders. Read again only when its files changed."""
    try:
        stamp = max((folder / name).stat().st_mtime for name in (".", RECIPE))
    except OSError:
        return None
    with suppress(OSError):
        stamp = max(stamp, (folder / EVENTS).stat().st_mtime)
    return _read(folder, stamp)


def thumbnail_of(folder: Path) -> Path | None:
    """What stands for a run: its first clip, a sheet of its frames, else a rough preview."""
    for pattern in ("clip-*.mp4", "clip-*.sheet.png", "preview.mp4", "preview.png"):
        if (found := min(folder.glob(pattern), default=None)) is not None:
            return found
    return next((min(frames.glob("*.png")) for frames in _frame_folders(folder)), None)


@lru_cache(maxsize=4096)
def _read(folder: Path, stamp: float) -> RunCard | None:
    try:
        recipe = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    end = _end(folder)
    return RunCard(
        folder=folder,
        workflow=str(recipe.pop("workflow", "")),
        family=str(recipe.pop("family", "")),
        settings=recipe,
        state=_ENDS.get(str(end.get("event")), "unfinished"),
        message=str(end.get("message", "")),
        changed=stamp,
        clips=tuple(sorted(folder.glob("clip-*.mp4"))),
        latents=tuple(sorted(folder.glob("clip-*.latent.safetensors"))),
        frames=tuple(_frame_folders(folder)),
        thumbnail=thumbnail_of(folder),
        seconds=float(end.get("seconds", 0.0)),
        peak_memory=int(end.get("peak_memory", 0)),
    )


def _folders(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _frame_folders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("clip-*")) if path.is_dir() and any(path.glob("*.png")))


def _end(folder: Path) -> dict[str, Any]:
    """The last event that tells how a run ended, unless it was started again after that."""
    with suppress(OSError), (folder / EVENTS).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL_BYTES, 0))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError):
                event = json.loads(line)
                return event if event.get("event") in _ENDS else {}
    return {}
