"""REST over the queue: videos as OpenAI's API has them, and jobs of every kind."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from reelwright.web.errors import ErrorBody
from reelwright.web.rest import jobs, models, uploads, videos
from reelwright.web.studio import Studio

_MEANINGS = {
    400: "What was sent cannot be read.",
    401: "The token is missing or wrong.",
    403: "The caller is not let in: another host name, or a page of another site.",
    404: "There is no such thing.",
    409: "Its state does not allow this.",
    413: "Too much was sent.",
    415: "What was sent is of a kind that is not taken.",
    422: "What was sent is not legal; the message has a line for each problem.",
    500: "The studio failed.",
    507: "The disk is full.",
}


def add_rest(app: FastAPI, studio: Studio) -> None:
    """Mount everything under /v1."""
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": meaning} for status, meaning in _MEANINGS.items()
    }
    shown = [Depends(HTTPBearer(auto_error=False))] if studio.config.token else []
    router = APIRouter(prefix="/v1", responses=answers, dependencies=shown)
    for part in (videos, jobs, uploads, models):
        router.include_router(part.routes(studio))
    app.include_router(router)
