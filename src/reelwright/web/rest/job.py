"""A job as callers see it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from reelwright.jobs.job_record import Job, State


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """What a job is to do."""

    workflow: str
    family: str
    values: dict[str, Any]
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """A job as it is now. Times are seconds since 1970."""

    id: str
    object: Literal["job"] = "job"
    title: str
    state: State
    wish: str
    place: int
    order: WorkOrder
    run: str | None
    """The name of its run folder."""
    created: float
    started: float | None
    ended: float | None
    attempts: int
    message: str
    progress: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobList:
    """Jobs in the order in which they are done."""

    object: Literal["list"] = "list"
    data: list[JobFacts]
    revision: int
    """Grows with every change of the queue."""


@dataclass(frozen=True, kw_only=True)
class RemovedJob:
    """A job that is gone."""

    id: str
    object: Literal["job.deleted"] = "job.deleted"
    deleted: Literal[True] = True


def facts_of(job: Job) -> JobFacts:
    """What is said of a job; of its run folder only the name."""
    return JobFacts(
        id=job.id,
        title=job.title,
        state=job.state,
        wish=job.wish,
        place=job.place,
        order=WorkOrder(**asdict(job.order)),
        run=job.run.name if job.run else None,
        created=job.created,
        started=job.started,
        ended=job.ended,
        attempts=job.attempts,
        message=job.message,
        progress=job.progress,
    )
