"""/v1/uploads: files that jobs are to use."""

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from reelwright.core.errors import ConfigError
from reelwright.web.file_kind import FileGroup
from reelwright.web.rest.bodies import FORM, ORIGIN, is_form, sent_file, sent_form
from reelwright.web.studio import Studio
from reelwright.web.uploads import Upload


@dataclass(frozen=True, kw_only=True)
class SentFile:
    """A file that jobs may name as upload:ID."""

    id: str
    object: Literal["upload"] = "upload"
    kind: FileGroup
    bytes: int


@dataclass(frozen=True, kw_only=True)
class DeletedFile:
    """A file that is gone."""

    id: str
    object: Literal["upload.deleted"] = "upload.deleted"
    deleted: Literal[True] = True


def routes(studio: Studio) -> APIRouter:
    """The routes, over a studio."""
    router = APIRouter(prefix="/uploads", tags=["uploads"])

    @router.post("", openapi_extra=_FORM_WITH_FILE)
    async def send_file(request: Request) -> SentFile:
        """Keep a picture, a clip or safetensors, as they are to the last byte."""
        if not is_form(request):
            raise HTTPException(415, f"the body is not {FORM}")
        async with sent_form(request) as (texts, files):
            if texts or list(files) != ["file"]:
                raise ConfigError(f"{ORIGIN}: the form must have one field, the file: file.")
            return _sent(await studio.uploads.keep(sent_file(files["file"])))

    @router.get("/{upload_id}")
    def get_file(upload_id: str) -> SentFile:
        """Tell what a file is."""
        return _sent(studio.uploads.get(upload_id))

    @router.delete("/{upload_id}")
    def delete_file(upload_id: str) -> DeletedFile:
        """Remove a file that no job is going to use."""
        studio.remove_upload(upload_id)
        return DeletedFile(id=upload_id)

    return router


_FORM_WITH_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                    "additionalProperties": False,
                }
            }
        },
    }
}


def _sent(upload: Upload) -> SentFile:
    return SentFile(id=upload.id, kind=upload.kind, bytes=upload.size)
