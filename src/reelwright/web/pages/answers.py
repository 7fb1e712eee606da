"""Questions about files that a visitor named: only of files that are open to pages."""

from typing import Any

from reelwright.core.errors import UserError
from reelwright.jobs.order import Order
from reelwright.web.pages.asking import events_of
from reelwright.web.studio import Studio

_LIMIT = 600.0
"""Seconds: data sets take their time."""


async def ask(studio: Studio, order: Order, topic: str) -> list[dict[str, Any]] | None:
    """The events that answer an order; what is wrong with it is a `failed` event.

    None if a later question of the same topic took its place.
    """
    try:
        settled = studio.places.settled(order)
    except UserError as error:
        return [{"event": "failed", "kind": type(error).__name__, "message": str(error)}]
    return await events_of(studio, settled, topic=topic, limit=_LIMIT)


def failure_of(events: list[dict[str, Any]]) -> str:
    """Why there is no answer; empty where there is one."""
    return next((str(each["message"]) for each in events if each["event"] == "failed"), "")
