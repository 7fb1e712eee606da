"""Signals to stop, kept until work that must not be broken off is whole."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_IMPATIENT = 3


class HeldSignals:
    """While the block runs, SIGINT and SIGTERM only count; at its end the first one is sent again.

    The third one leaves at once. Outside the main thread, where Python allows no handlers, the block changes
    nothing.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._before: dict[int, Any] = {}

    @property
    def is_pending(self) -> bool:
        """Whether one came."""
        return bool(self._received)

    def send_now(self) -> None:
        """Act as if a signal had come, where another process was told to stop."""
        self._received.append(signal.SIGTERM)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self._received and error is None:
            signal.raise_signal(self._received[0])

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        if len(self._received) >= _IMPATIENT:
            os._exit(128 + number)
