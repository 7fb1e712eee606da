"""The studio as a process: its socket, the moment it answers, its end."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from reelwright.core.errors import ConfigError
from reelwright.core.events import EventSink, Facts
from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.access import check_access
from reelwright.web.app import create_app

_LAST_WORDS = 3
"""Seconds in which answers that are on their way may still be sent."""


def serve(config: StudioConfig, sink: EventSink) -> int:
    """Serve the studio until Ctrl-C or SIGTERM, and return the exit code; jobs that run then go on.

    `sink` learns the address once the studio answers. Raises ConfigError for an address that cannot be had,
    FileError for folders that cannot be used.
    """
    check_access(config)
    with bound_socket(config) as listening:
        app = create_app(config)
        address = f"http://{_readable(config.host)}:{listening.getsockname()[1]}"

        def announce() -> None:
            sink(Facts({"studio": address, "runs": str(config.runs), "queue": str(config.queue)}))

        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_LAST_WORDS,
            server_header=False,
            forwarded_allow_ips=[],
        )
        before = signal.signal(signal.SIGTERM, _do_nothing)  # uvicorn raises it again when all is closed
        try:
            with suppress(KeyboardInterrupt):
                _Server(settings, app, announce).run(sockets=[listening])
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0


def bound_socket(config: StudioConfig) -> socket.socket:
    """A socket that listens at the address. Raises ConfigError where it is taken, or not of this machine."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host: {config.host!r}: is no address ({error}). Use 127.0.0.1.") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigError(_why_not(config, error)) from error
    return listening


class _Server(uvicorn.Server):
    """Tells when it answers, and lets streams end before it waits for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._announce)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.studio.is_stopping = True
        await super().shutdown(sockets)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Take a signal without an end in the middle of things."""


def _readable(host: str) -> str:
    """The host as a browser takes it; one that means every address is reached here by 127.0.0.1."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _why_not(config: StudioConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port: {config.port} is taken, perhaps by another studio. Open http://{_readable(config.host)}:"
            f"{config.port} to see, or start this one with another --port; 0 takes a free one."
        )
    if error.errno == errno.EACCES:
        return f"port: {config.port} is not open to you. Use one above 1023."
    return f"host: {config.host!r}: this machine has no such address ({error.strerror}). Use 127.0.0.1."
