"""Questions of pages to the process that answers, asked so that the page goes on meanwhile."""

import asyncio
from typing import Any

from reelwright.core.errors import UserError
from reelwright.jobs.answers import QuestionReplacedError
from reelwright.jobs.order import Order
from reelwright.web.studio import Studio

Events = list[dict[str, Any]]


async def ask(studio: Studio, order: Order, topic: str) -> Events | None:
    """The events that answer an order, whose paths must be open to pages; what is wrong is a `failed` event.

    None if a later question of the same topic took its place.
    """
    try:
        settled = studio.places.settled(order)
        return await asyncio.to_thread(studio.answers.ask, settled, topic=topic)
    except QuestionReplacedError:
        return None
    except UserError as error:
        return [{"event": "failed", "kind": type(error).__name__, "message": str(error)}]


def failure_of(events: Events) -> str:
    """Why there is no answer; empty where there is one."""
    return next((str(each["message"]) for each in events if each["event"] == "failed"), "")
