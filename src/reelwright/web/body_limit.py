"""Requests that are too large are turned away while they arrive, before their content is kept anywhere."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelwright.core.sizes import size_text
from reelwright.web.errors import error_body
from reelwright.web.uploads import UploadTooLargeError

PLAIN_BYTES = 4_000_000
"""The most that a request may hold which sends no file."""
_FORM_ROOM = 1_000_000
"""What the other fields of a form with a file may take."""


class BodyLimit:
    """Counts what arrives. A declared length is enough to refuse; who declares none is stopped on the way."""

    def __init__(self, app: ASGIApp, max_upload: int) -> None:
        self.app = app
        self.max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(headers)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            body = error_body(str(_too_large(limit)), "invalid_request_error", UploadTooLargeError.__name__)
            await JSONResponse(body, status_code=413, headers={"connection": "close"})(scope, receive, send)
            return
        await self.app(scope, _counted(receive, limit), send)

    def _limit(self, headers: Headers) -> int:
        if headers.get("content-type", "").lower().startswith("multipart/"):
            return self.max_upload + _FORM_ROOM
        return PLAIN_BYTES


def _counted(receive: Receive, limit: int) -> Receive:
    arrived = 0

    async def receive_counted() -> Message:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > limit:
            raise _too_large(limit)
        return message

    return receive_counted


def _too_large(limit: int) -> UploadTooLargeError:
    return UploadTooLargeError(
        f"The request is larger than the {size_text(limit)} that are taken."
        " Send a smaller file, or start the studio with a larger --max-upload-mb."
    )
