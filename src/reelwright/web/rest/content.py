"""The files of a job that callers may fetch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from reelwright.jobs.job_record import Job, JobStateError
from reelwright.web.following import Progress, follow
from reelwright.web.studio import Studio

Variant = Literal["video", "thumbnail", "latent"]

_KINDS: Mapping[Variant, tuple[str, ...]] = {
    "video": ("video",),
    "thumbnail": ("contact_sheet", "preview"),
    "latent": ("latent",),
}
_MEDIA_TYPES = {".mp4": "video/mp4", ".png": "image/png"}
_ANY = "application/octet-stream"
CONTENT: dict[int | str, dict[str, Any]] = {
    status: {
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (*_MEDIA_TYPES.values(), _ANY)
        },
        "description": meaning,
    }
    for status, meaning in ((200, "The file."), (206, "The ranges asked for."))
}
"""What OpenAPI says of the answer."""


def content_of(studio: Studio, job: Job, variant: Variant, clip: int) -> FileResponse:
    """A file of a finished clip. Raises JobStateError before that, HTTPException 404 without one."""
    progress = follow(Progress(), studio.queue.events(job.id))
    if clip >= len(progress.files) and not job.is_final:
        raise JobStateError(f"video {job.id}: is not made yet. Follow it at /v1/videos/{job.id}/events.")
    files = progress.files[clip] if clip < len(progress.files) else {}
    named = next((files[kind] for kind in _KINDS[variant] if kind in files), None)
    path = None if named is None else job.folder / named
    if path is None or not _is_open(studio, path):
        there = ", ".join(files) or "nothing"
        raise HTTPException(404, f"there is no {variant} of clip {clip} here; there is {there}")
    return FileResponse(path, media_type=_MEDIA_TYPES.get(path.suffix, _ANY), filename=path.name)


def _is_open(studio: Studio, path: Path) -> bool:
    """Whether it is a file that lies in a folder of this studio, wherever links lead."""
    return studio.places.inside(path) and path.is_file()
