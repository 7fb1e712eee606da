"""Ctrl-C and SIGTERM as one exception, raised once, so that a workflow can save its state in peace."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_IMPATIENT = 3


class Interrupted(KeyboardInterrupt):
    """The process was told to stop by `signal_number`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.name = signal.Signals(signal_number).name
        self.exit_code = 128 + signal_number


class StopSignals:
    """While the block runs, the first SIGINT or SIGTERM raises Interrupted in the main thread.

    Further ones are ignored while the work closes; the third leaves at once. Outside the main thread, where
    Python allows no handlers, the block changes nothing.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._armed = True
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise Interrupted if a signal came where Python had to swallow the exception, as in a finalizer."""
        if self._armed and self._received:
            self._armed = False
            raise Interrupted(self._received[0])

    def disarm(self) -> None:
        """From here on the signals only count: the work is over, its end is being reported."""
        self._armed = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        if len(self._received) >= _IMPATIENT:
            os._exit(128 + number)
        if len(self._received) == 1 and self._armed:
            raise Interrupted(number)
