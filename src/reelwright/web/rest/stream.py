"""The events of a job as a stream (server-sent events) that goes on where a caller left off."""

import json
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from reelwright.core.errors import UserError
from reelwright.jobs.job_record import Job
from reelwright.web.studio import Studio

MEDIA_TYPE = "text/event-stream"
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "Events as they come."}
}
"""What OpenAPI says of the answer."""
_LOOK_EVERY = 0.2
_SIGN_OF_LIFE = 10.0
"""Seconds after which a silent stream says that it lives, so that nothing on the way closes it."""


def first_event(
    after: Annotated[int, Query(ge=0, description="Tell only what came after this event.")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, description="As `after`.")] = None,
) -> int:
    """From which event on a caller wants to know."""
    return after if last_event_id is None else last_event_id


After = Annotated[int, Depends(first_event)]


def streamed(studio: Studio, job: str, after: int, request: Request) -> StreamingResponse:
    """The answer that streams what `event_stream` tells. Raises UnknownJobError."""
    studio.queue.get(job)
    stream = event_stream(studio, job, after, request)
    return StreamingResponse(stream, media_type=MEDIA_TYPE, headers={"cache-control": "no-store"})


async def event_stream(studio: Studio, job: str, after: int, request: Request) -> AsyncGenerator[str]:
    """Every event of a job that came after number `after`; ends when the job has, or the caller leaves.

    The last one is {"event": "end", "state": ...}. While a job waits, nothing comes but signs of life.
    """
    yield "retry: 1000\n\n"
    told = time.monotonic()
    while not (studio.is_stopping or await request.is_disconnected()):
        try:
            state, events = await run_sync(_news, studio, job, after)
        except UserError as error:  # it was removed, or the disk refuses: a stream has no status to say so
            yield _written({"event": "failed", "kind": type(error).__name__, "message": str(error)})
            return
        for event in events:
            after = event["number"]
            yield _written(event)
        if state.is_final:
            yield _written({"event": "end", "state": state.state})
            return
        if events:
            told = time.monotonic()
        elif time.monotonic() - told > _SIGN_OF_LIFE:
            told = time.monotonic()
            yield ": still here\n\n"
        await anyio.sleep(_LOOK_EVERY)


def _news(studio: Studio, job: str, after: int) -> tuple[Job, list[dict[str, Any]]]:
    """The job first: the events of one that has ended are then all there."""
    state = studio.queue.get(job)
    return state, studio.queue.events(job, after)


def _written(event: dict[str, Any]) -> str:
    number = f"id: {event['number']}\n" if "number" in event else ""
    return f"{number}data: {json.dumps(event, ensure_ascii=False)}\n\n"
