"""Questions to the process that answers, asked so that the page goes on meanwhile."""

from functools import partial
from typing import Any

from nicegui import run

from reelwright.core.errors import UserError
from reelwright.jobs.answers import QuestionReplacedError
from reelwright.jobs.order import Order
from reelwright.web.pages.elements import tell
from reelwright.web.studio import Studio

_ANSWER_SECONDS = 120.0


async def events_of(
    studio: Studio, order: Order, *, topic: str = "", limit: float = _ANSWER_SECONDS
) -> list[dict[str, Any]] | None:
    """The events of a short workflow, of which the last is `failed` where it failed.

    None where a later question of the same topic took its place, or the studio is closing.
    """
    question = partial(studio.answers.ask, order, topic=topic, limit=limit)
    try:
        return await run.io_bound(question)
    except QuestionReplacedError:
        return None
    except UserError as error:
        return [{"event": "failed", "kind": type(error).__name__, "message": str(error)}]


async def last_event(studio: Studio, order: Order) -> dict[str, Any] | None:
    """The last event of a short workflow; None where it failed, which is said."""
    events = await events_of(studio, order)
    if events and events[-1]["event"] != "failed":
        return events[-1]
    tell(events[-1]["message"] if events else "There was no answer. Try again.", "negative")
    return None
