"""How far a job is, told from its events: which stage, which step, how long yet, what there is to see."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

_RECENT = 0.3
"""What the last step counts in the mean of their times: the first ones, which warm up, are soon forgotten."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the events of one job come to so far."""

    last: int = 0
    """The number of the last event that is in it."""
    stage: str = ""
    step: int = 0
    total: int = 0
    """0 where nobody knows."""
    seconds_per_step: float | None = None
    peak_memory: int = 0
    preview: str = ""
    """The newest rough picture or growing clip."""
    preview_step: int = 0
    files: tuple[dict[str, str], ...] = ()
    """Of each finished clip, by kind."""
    notices: tuple[str, ...] = ()
    error: str = ""
    is_over: bool = False
    seconds: float = 0.0
    """That the whole took, once it is over."""

    @property
    def share(self) -> float:
        """Of the stage, from 0 to 1."""
        return min(self.step / self.total, 1.0) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of the stage; None where nobody can tell."""
        if not self.total or self.seconds_per_step is None:
            return None
        return (self.total - self.step) * self.seconds_per_step


def follow(progress: Progress, events: Iterable[dict[str, Any]]) -> Progress:
    """The progress after further events."""
    for event in events:
        progress = replace(_after(progress, event), last=event.get("number", progress.last))
    return progress


def duration(seconds: float) -> str:
    """A time in words that one takes in at a glance."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole} s" if seconds >= 1 else f"{seconds:.1f} s"


def _after(progress: Progress, event: dict[str, Any]) -> Progress:
    if event.get("event") == "job":
        return Progress(files=progress.files) if event.get("state") == "running" else progress
    take = _TAKEN.get(str(event.get("event")))
    return progress if take is None else take(progress, event)


def _stage(progress: Progress, event: dict[str, Any]) -> Progress:
    return replace(progress, stage=event["stage"], step=0, total=event["total"], seconds_per_step=None)


def _step(progress: Progress, event: dict[str, Any]) -> Progress:
    pace = progress.seconds_per_step if event["stage"] == progress.stage else None
    return replace(
        progress,
        stage=event["stage"],
        step=event["step"],
        total=event["total"],
        peak_memory=max(progress.peak_memory, event.get("peak_memory", 0)),
        seconds_per_step=_mean(pace, event["seconds"]),
    )


def _finished(progress: Progress, event: dict[str, Any]) -> Progress:
    return replace(
        progress,
        is_over=True,
        files=tuple(event.get("files", ())) or progress.files,
        step=progress.total,
        seconds=event.get("seconds", 0.0),
        peak_memory=max(progress.peak_memory, event.get("peak_memory", 0)),
    )


_TAKEN: Mapping[str, Callable[[Progress, dict[str, Any]], Progress]] = {
    "stage_started": _stage,
    "step_done": _step,
    "preview_saved": lambda progress, event: replace(
        progress, preview=event["path"], preview_step=event["step"]
    ),
    "notice": lambda progress, event: replace(progress, notices=(*progress.notices, event["message"])),
    "clip_finished": lambda progress, event: replace(progress, files=(*progress.files, event["files"])),
    "finished": _finished,
    "failed": lambda progress, event: replace(progress, error=event["message"], is_over=True),
}


def _mean(before: float | None, now: float) -> float:
    return now if before is None else before + _RECENT * (now - before)
