"""`reelwright studio`: the pages in the browser and REST."""

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import validate
from reelwright.core.events import Event
from reelwright.core.optional_library import import_optional
from reelwright.protocols.studio_config import StudioConfig

_TOKEN = "REELWRIGHT_TOKEN"


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Serve the studio until it is stopped, and return the exit code."""
    config = parse(arguments)
    for library in ("fastapi", "uvicorn", "nicegui"):
        import_optional(library, extra="studio", purpose="serves the studio")
    server = import_module("reelwright.web.server")  # by name: front ends do not know each other
    with open_sinks(output) as sinks:

        def tell(event: Event, /) -> None:
            for sink in sinks:
                sink(event)

        return server.serve(config, tell)


def parse(arguments: Sequence[str]) -> StudioConfig:
    """Where to listen, and what to serve. Raises ConfigError."""
    about = str(StudioConfig.__doc__)
    config = read_command_line(StudioConfig, arguments, command="studio", about=about)
    return validate(replace(config, token=config.token or os.environ.get(_TOKEN, "")), ORIGIN)
