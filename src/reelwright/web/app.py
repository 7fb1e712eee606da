"""The application: pages and REST over one studio, behind one guard."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from reelwright import __version__
from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.access import Gate, Guard, check_access
from reelwright.web.body_limit import BodyLimit
from reelwright.web.errors import add_error_answers
from reelwright.web.login import add_login
from reelwright.web.pages import add_pages
from reelwright.web.rest import add_rest
from reelwright.web.studio import Studio

_ABOUT = """Videos as OpenAI's API has them, under /v1/videos; work of every kind, under /v1/jobs.

Whatever is wrong is told as `{"error": {"message", "type", "code"}}`: what, where, and what to do.
"""


def create_app(config: StudioConfig, *, with_pages: bool = True) -> FastAPI:
    """The application over a studio of its own, which starts and stops with it; `app.state.studio` is it.

    A process can have one with pages. Raises ConfigError for an address that needs a token and has none,
    FileError for folders that cannot be used.
    """
    check_access(config)
    studio = Studio(config)
    studio.check()
    gate = Gate.of(config)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncGenerator[None]:
        await run_sync(studio.start)
        try:
            yield
        finally:
            await run_sync(studio.stop)

    rest = FastAPI(
        title="Reelwright",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # that page and the next load their scripts from elsewhere
        redoc_url=None,
    )
    add_error_answers(rest)
    add_rest(rest, studio)
    app = FastAPI(lifespan=alive, openapi_url=None)
    app.state.studio = studio
    add_error_answers(app)
    add_login(app, gate)
    if with_pages:
        add_pages(app, studio)
    app.add_middleware(RestFirst, rest=rest)
    app.add_middleware(BodyLimit, max_upload=studio.uploads.max_bytes)
    app.add_middleware(Guard, gate=gate)
    return app


class RestFirst:
    """Lets REST answer what is asked of it, an application of its own: pages take all other paths."""

    def __init__(self, app: ASGIApp, rest: ASGIApp) -> None:
        self.app = app
        self.rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        is_rest = scope["type"] == "http" and (path == "/openapi.json" or f"{path}/".startswith("/v1/"))
        await (self.rest if is_rest else self.app)(scope, receive, send)
