"""A short wait until typing pauses."""

from collections.abc import Callable

from nicegui import ui

_SECONDS = 0.3


class Pause:
    """Calls `settled` once nothing has changed for a moment."""

    def __init__(self, settled: Callable[[], None]) -> None:
        self._settled = settled
        self._place = ui.element("div").classes("rw-quiet")
        self._timer: ui.timer | None = None

    def begin(self) -> None:
        """Something has changed: wait anew."""
        if self._timer is not None:
            self._timer.cancel()
        with self._place:
            self._timer = ui.timer(_SECONDS, self._settled, once=True)
