"""/v1/videos: make a video, follow it, fetch it, as OpenAI's API does."""

from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, StreamingResponse

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError, UserError
from reelwright.jobs.job_record import Job, UnknownJobError
from reelwright.web.rest.bodies import (
    JSON,
    ORIGIN,
    described,
    is_form,
    json_body,
    parse_json,
    sent_file,
    sent_form,
)
from reelwright.web.rest.content import CONTENT, Variant, content_of
from reelwright.web.rest.stream import STREAM, After, streamed
from reelwright.web.rest.video import Video, video_of
from reelwright.web.rest.video_request import WORKFLOW, VideoRequest, order_of_request
from reelwright.web.studio import Studio
from reelwright.web.uploads import Upload

_IN_A_FORM = {
    "input_reference": {
        "type": "string",
        "format": "binary",
        "description": "A picture or a clip to start from.",
    },
    "config": {"type": "string", "contentMediaType": JSON, "description": "As in JSON, as text."},
}


@dataclass(frozen=True, kw_only=True)
class VideoList:
    """Some of the videos, and whether there are more."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class DeletedVideo:
    """A video that is gone."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def routes(studio: Studio) -> APIRouter:
    """The routes, over a studio."""
    router = APIRouter(prefix="/videos", tags=["videos"])

    @router.post("", openapi_extra=described(VideoRequest, _IN_A_FORM))
    async def create_video(request: Request) -> Video:
        """Ask for a video; it waits in the queue for its turn."""
        if is_form(request):
            return await _create_from_form(studio, request)
        asked = from_mapping(VideoRequest, await json_body(request), ORIGIN)
        return await run_sync(_create, studio, asked, None)

    @router.get("")
    def list_videos(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(description="Begin behind this video.")] = None,
        order: Annotated[Literal["asc", "desc"], Query(description="By the time of asking.")] = "desc",
    ) -> VideoList:
        """List videos, the newest first."""
        jobs = sorted(_videos(studio), key=lambda job: job.created, reverse=order == "desc")
        if after is not None:
            _job(studio, after)
            jobs = list(dropwhile(lambda job: job.id != after, jobs))[1:]
        page = [_video(studio, job) for job in islice(jobs, limit)]
        ends = (page[0].id, page[-1].id) if page else (None, None)
        return VideoList(data=page, first_id=ends[0], last_id=ends[1], has_more=len(jobs) > limit)

    @router.get("/{video_id}")
    def get_video(video_id: str) -> Video:
        """Tell how a video is doing."""
        return _video(studio, _job(studio, video_id))

    _add_files(router, studio)
    _add_acts(router, studio)
    return router


def _add_files(router: APIRouter, studio: Studio) -> None:
    """What comes of a video, while it is made and then."""

    @router.get("/{video_id}/events", response_class=StreamingResponse, responses=STREAM)
    def follow_video(video_id: str, request: Request, after: After) -> StreamingResponse:
        """Stream what happens, from the start or from an event on, until the video is made."""
        _job(studio, video_id)
        return streamed(studio, video_id, after, request)

    @router.get("/{video_id}/content", response_class=FileResponse, responses=CONTENT)
    def download_video(
        video_id: str,
        variant: Annotated[Variant, Query(description="What of it.")] = "video",
        clip: Annotated[int, Query(ge=0, le=10_000, description="Which, where several were asked for.")] = 0,
    ) -> FileResponse:
        """Fetch the file, or any range of it."""
        return content_of(studio, _job(studio, video_id), variant, clip)


def _add_acts(router: APIRouter, studio: Studio) -> None:
    """What can be done with a video that is there."""

    @router.post("/{video_id}/cancel")
    def cancel_video(video_id: str) -> Video:
        """Stop making a video; what there is of it is kept. One that runs takes a moment to end."""
        _job(studio, video_id)
        return _video(studio, studio.queue.cancel(video_id))

    @router.delete("/{video_id}")
    def delete_video(video_id: str) -> DeletedVideo:
        """Remove a video that is not being made, with all its files."""
        _job(studio, video_id)
        studio.remove(video_id, files=True)
        return DeletedVideo(id=video_id)


async def _create_from_form(studio: Studio, request: Request) -> Video:
    """As from JSON; the file to start from is in the form, and gone again if nothing comes of it."""
    async with sent_form(request) as (texts, files):
        sent = files.pop("input_reference", None)
        if files:
            raise ConfigError(
                f"{ORIGIN}: {next(iter(files))[:80]}: is no file of this form. Use input_reference."
            )
        asked = from_mapping(VideoRequest, _typed(texts), ORIGIN)
        if sent is None:
            return await run_sync(_create, studio, asked, None)
        upload = await studio.uploads.keep(sent_file(sent))
    try:
        return await run_sync(_create, studio, asked, upload)
    except UserError:
        studio.uploads.remove(upload.id)
        raise


def _create(studio: Studio, asked: VideoRequest, upload: Upload | None) -> Video:
    if asked.input_reference:
        upload = studio.uploads.get(asked.input_reference.removeprefix("upload:"))
    return _video(studio, studio.add(order_of_request(asked, upload)))


def _typed(texts: dict[str, str]) -> dict[str, Any]:
    """The fields of a form as JSON would have them."""
    values: dict[str, Any] = dict(texts)
    if (seed := texts.get("seed", "")).removeprefix("-").isdecimal() and len(seed) < 20:
        values["seed"] = int(seed)
    if "config" in texts:
        values["config"] = parse_json(texts["config"], "config")
    return values


def _videos(studio: Studio) -> list[Job]:
    return [job for job in studio.queue.list() if job.order.workflow == WORKFLOW]


def _job(studio: Studio, video: str) -> Job:
    """The job that makes a video. Raises UnknownJobError, for jobs that make none too."""
    job = studio.queue.get(video)
    if job.order.workflow != WORKFLOW:
        raise UnknownJobError(f"video {video}: there is no such video. It is a job of another kind.")
    return job


def _video(studio: Studio, job: Job) -> Video:
    events = studio.queue.events(job.id) if job.state not in ("done", "queued") else []
    return video_of(job, events)
