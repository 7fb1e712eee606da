"""Errors as HTTP says them: a fit status, and a body that says what, where and what to do."""

import errno
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from reelwright.core.errors import ConfigError, FileError, MemoryLimitError, UserError
from reelwright.jobs.queue import JobStateError, UnknownJobError
from reelwright.web.uploads import UnknownUploadError, UploadKindError, UploadTooLargeError

_logger = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[UserError], int, str], ...] = (
    (UnknownJobError, 404, "not_found_error"),
    (UnknownUploadError, 404, "not_found_error"),
    (JobStateError, 409, "state_error"),
    (UploadTooLargeError, 413, "invalid_request_error"),
    (UploadKindError, 415, "invalid_request_error"),
    (ConfigError, 422, "invalid_request_error"),
    (MemoryLimitError, 507, "server_error"),
    (FileError, 500, "server_error"),
    (UserError, 400, "invalid_request_error"),
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLIENT_LEFT = 499


@dataclass(frozen=True, kw_only=True)
class ErrorFacts:
    """What went wrong."""

    message: str
    """What, where, and what to do; a line for each problem."""
    type: str
    """A family of errors, in one word."""
    code: str | None = None
    """The kind of error, as its class is called."""


@dataclass(frozen=True, kw_only=True)
class ErrorBody:
    """The body of every answer that is an error."""

    error: ErrorFacts


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """An ErrorBody as JSON."""
    return {"error": {"message": message, "type": kind, "code": code}}


def add_error_answers(app: FastAPI) -> None:
    """Give every error an answer: this is the boundary, past which no traceback goes."""
    app.add_exception_handler(UserError, _tell_user_error)
    app.add_exception_handler(OSError, _tell_disk_error)
    app.add_exception_handler(RequestValidationError, _tell_invalid_parameters)
    app.add_exception_handler(HTTPException, _tell_http_error)
    app.add_exception_handler(ClientDisconnect, _tell_nobody)
    app.add_exception_handler(Exception, _tell_unexpected)


def status_of(error: UserError) -> int:
    """The HTTP status that says best what kind of error it is."""
    return _answer_to(error)[0]


def _tell_user_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)
    status, kind = _answer_to(error)
    body = error_body(str(error), kind, type(error).__name__)
    # Who sends too much may still be sending: the door is shut rather than the rest read.
    headers = {"connection": "close"} if status == 413 else None
    return JSONResponse(body, status_code=status, headers=headers)


def _tell_disk_error(request: Request, error: Exception) -> Response:
    if _is_full(error):
        message = "The disk is full. Free some space, then send the request again."
        return JSONResponse(error_body(message, "server_error", "disk_full"), status_code=507)
    return _tell_unexpected(request, error)


def _tell_invalid_parameters(request: Request, error: Exception) -> Response:
    """Of the path and the query; bodies are read by `rest.bodies`."""
    assert isinstance(error, RequestValidationError)
    problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}." for each in error.errors())
    body = error_body("\n".join(problems), "invalid_request_error", "ConfigError")
    return JSONResponse(body, status_code=422)


def _tell_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
    message = f"{request.method} {request.url.path}: {error.detail}. /openapi.json lists what there is."
    return JSONResponse(error_body(message, kind), status_code=error.status_code, headers=error.headers)


def _tell_nobody(request: Request, error: Exception) -> Response:
    """The caller left in the middle of the request; what it had sent is gone with it."""
    return Response(status_code=_CLIENT_LEFT)


def _tell_unexpected(request: Request, error: Exception) -> Response:
    _logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    message = (
        f"{type(error).__name__}: the studio failed at this. Its log has the traceback; please report it."
    )
    return JSONResponse(error_body(message, "server_error", type(error).__name__), status_code=500)


def _answer_to(error: UserError) -> tuple[int, str]:
    if any(map(_is_full, _causes(error))):
        return 507, "server_error"
    return next((status, kind) for kind_of, status, kind in _STATUS if isinstance(error, kind_of))


def _is_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
