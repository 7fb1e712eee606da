"""A video as callers see it: what OpenAI's API says of one, drawn from a job of the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reelwright.core.errors import ConfigError
from reelwright.jobs.job_record import Job, State
from reelwright.jobs.order import Order, arguments_of
from reelwright.web.rest.video_request import shapes_of

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]

_STATUS: Mapping[State, Status] = {
    "queued": "queued",
    "running": "in_progress",
    "paused": "queued",
    "done": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
_MAIN_STAGE = "denoise"
"""Where nearly all of the time goes."""


@dataclass(frozen=True, kw_only=True)
class VideoError:
    """Why there is no video."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video: asked for, being made, or made."""

    id: str
    object: Literal["video"] = "video"
    model: str
    """family/variant."""
    status: Status
    progress: int
    """0 to 100."""
    created_at: int
    """Seconds since 1970."""
    completed_at: int | None
    size: str | None
    """WIDTHxHEIGHT; null where only the model can tell."""
    seconds: str | None
    """Length; null where only the model can tell."""
    prompt: str
    seed: int | None
    error: VideoError | None


def video_of(job: Job, events: Sequence[Mapping[str, Any]]) -> Video:
    """What is said of a job; `events` matter only for one that runs or failed."""
    values = job.order.values
    size, seconds = _shape(job.order)
    return Video(
        id=job.id,
        model=f"{job.order.family}/{values.get('model', 'tiny')}",
        status="in_progress" if job.holds else _STATUS[job.state],
        progress=_progress(job, events),
        created_at=int(job.created),
        completed_at=int(job.ended) if job.state == "done" and job.ended else None,
        size=size,
        seconds=seconds,
        prompt=str(values.get("prompt", "")),
        seed=values.get("seed"),
        error=_error(job, events) if job.state == "failed" else None,
    )


def _shape(order: Order) -> tuple[str | None, str | None]:
    """Size and length, as far as the family can tell without the model."""
    try:
        shapes = shapes_of(order.family, arguments_of(order)["config"])
    except ConfigError:  # an order of another version, or of a family that is gone
        return None, None
    if shapes is None:
        return None, None
    return f"{shapes.size[0]}x{shapes.size[1]}", f"{round(shapes.length.seconds, 3):g}"


def _progress(job: Job, events: Sequence[Mapping[str, Any]]) -> int:
    """In hundredths: the clips that are finished, and the steps of the one that is not. 100 means done."""
    if job.state == "done":
        return 100
    finished, share = 0, 0.0
    for event in events:
        if event.get("event") == "clip_finished":
            finished, share = finished + 1, 0.0
        elif event.get("event") == "step_done" and event.get("stage") == _MAIN_STAGE:
            share = event["step"] / max(event["total"], 1)
    clips = max(int(job.order.values.get("num_videos", 1)), finished, 1)
    return min(int(100 * (finished + share) / clips), 99)


def _error(job: Job, events: Sequence[Mapping[str, Any]]) -> VideoError:
    kinds = [str(event.get("kind")) for event in events if event.get("event") == "failed"]
    return VideoError(code=kinds[-1] if kinds else "failed", message=job.message)
