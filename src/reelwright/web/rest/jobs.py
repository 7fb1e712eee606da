"""/v1/jobs: work of every kind, and its place in the queue."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from reelwright.jobs.job_record import State
from reelwright.jobs.order import Order
from reelwright.jobs.queue import JobQueue
from reelwright.web.rest.bodies import described, read_as
from reelwright.web.rest.job import JobFacts, JobList, RemovedJob, facts_of
from reelwright.web.rest.stream import STREAM, After, streamed
from reelwright.web.studio import Studio


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """Work to be done."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    workflow: str
    """Its name: generate, train, cache, redo, ..."""
    family: str = ""
    """The model family; empty for work of none."""
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """The configuration's values that differ from the defaults; files as upload:ID."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the work takes beside family and configuration."""
    title: Annotated[str, Field(max_length=200)] = ""
    """What the queue shows; empty takes the prompt."""

    @property
    def order(self) -> Order:
        return Order(workflow=self.workflow, family=self.family, values=self.values, options=self.options)


@dataclass(frozen=True, kw_only=True)
class MoveRequest:
    """Where in the queue."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    before: str | None = None
    """The job to stand before; null is the end."""


@dataclass(frozen=True, kw_only=True)
class PauseRequest:
    """When to stop."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    at: Literal["step", "section"] = "step"
    """Between two steps with all in memory, or when a section is kept and memory is free."""


def routes(studio: Studio) -> APIRouter:
    """The routes, over a studio."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])
    queue = studio.queue

    @router.post("", openapi_extra=described(JobRequest))
    def add_job(asked: Annotated[JobRequest, Depends(read_as(JobRequest))]) -> JobFacts:
        """Put work at the end of the queue."""
        return facts_of(studio.add(asked.order, title=asked.title))

    @router.get("")
    def list_jobs(state: Annotated[list[State], Query()] = []) -> JobList:  # noqa: B006 - read by FastAPI
        """List the jobs, or those in some states."""
        return JobList(revision=queue.revision(), data=[facts_of(job) for job in queue.list(state)])

    @router.get("/{job_id}")
    def get_job(job_id: str) -> JobFacts:
        """Tell how a job is doing."""
        return facts_of(queue.get(job_id))

    @router.put("/{job_id}", openapi_extra=described(JobRequest))
    def edit_job(job_id: str, asked: Annotated[JobRequest, Depends(read_as(JobRequest))]) -> JobFacts:
        """Change what a job that does not run is to do."""
        return facts_of(studio.edit(job_id, asked.order))

    @router.get("/{job_id}/events", response_class=StreamingResponse, responses=STREAM)
    def follow_job(job_id: str, request: Request, after: After) -> StreamingResponse:
        """Stream what happens, from the start or from an event on, until the job has ended."""
        return streamed(studio, job_id, after, request)

    @router.delete("/{job_id}")
    def remove_job(
        job_id: str, files: Annotated[bool, Query(description="Its run folder too.")] = False
    ) -> RemovedJob:
        """Forget a job that does not run."""
        studio.remove(job_id, files=files)
        return RemovedJob(id=job_id)

    _add_acts(router, studio.queue)
    return router


def _add_acts(router: APIRouter, queue: JobQueue) -> None:
    """What can be done with a job that is there."""

    @router.post("/{job_id}/move", openapi_extra=described(MoveRequest))
    def move_job(job_id: str, asked: Annotated[MoveRequest, Depends(read_as(MoveRequest))]) -> JobFacts:
        """Put a waiting job before another one, or at the end."""
        return facts_of(queue.move(job_id, asked.before))

    @router.post("/{job_id}/pause", openapi_extra=described(PauseRequest))
    def pause_job(job_id: str, asked: Annotated[PauseRequest, Depends(read_as(PauseRequest))]) -> JobFacts:
        """Hold a job."""
        return facts_of(queue.pause(job_id, asked.at))

    @router.post("/{job_id}/go_on")
    def go_on_with_job(job_id: str) -> JobFacts:
        """Let a paused job go on."""
        return facts_of(queue.go_on(job_id))

    @router.post("/{job_id}/retry")
    def retry_job(job_id: str) -> JobFacts:
        """Queue a job that failed or was cancelled again; it goes on in its run folder."""
        return facts_of(queue.retry(job_id))

    @router.post("/{job_id}/cancel")
    def cancel_job(job_id: str) -> JobFacts:
        """End a job; what it made is kept."""
        return facts_of(queue.cancel(job_id))
