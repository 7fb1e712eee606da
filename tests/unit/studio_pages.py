"""A studio whose pages are opened without a browser, and whose answers are told beforehand."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.pages.desk import Desk
from reelwright.web.studio import Studio

PLAN = {
    "stages": [{"name": "denoise", "device": 0, "host": 2_000_000_000, "seconds": 30.0, "terms": []}],
    **{"device": 0, "host": 2_000_000_000, "seconds": 30.0, "problems": [], "flags": "", "machine": "a test"},
}


class Answers:
    """Answers by workflow what was told beforehand, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.told: dict[str, list[dict[str, Any]]] = {"plan": [{"event": "planned", "plan": PLAN}]}

    def ask(self, order: Any, *, topic: str = "", limit: float = 0.0) -> list[dict[str, Any]]:
        self.asked.append(order)
        return self.told.get(order.workflow, [])

    def stop(self) -> None: ...


def idle_studio(folder) -> Studio:
    """A studio with its folders, which does no job."""
    studio = Studio(StudioConfig(runs=folder / "runs", queue=folder / "runs" / ".queue", workers=0))
    studio.answers = Answers()
    studio.start()
    return studio


def visit(build: Callable[..., None], studio: Studio, scenario: Callable[..., Awaitable[None]], **query: str):
    """Open a page as a browser would and play a scenario on it; the desk is the one left behind."""
    from nicegui.testing.user_simulation import user_simulation

    desk = Desk.open(studio.queue.folder)

    async def play() -> None:
        async with user_simulation(partial(build, studio, desk, **query)) as user:
            await user.open("/")
            await scenario(user)

    screen = os.environ.pop("NICEGUI_SCREEN_TEST_PORT", None)
    try:
        asyncio.run(play())
    finally:
        if screen is not None:
            os.environ["NICEGUI_SCREEN_TEST_PORT"] = screen
    return desk


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, as long as a slow machine may take."""
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("what was waited for did not come")
