"""A kept process that answers short questions, so that who asks never imports what models need."""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reelwright.core.errors import UserError
from reelwright.jobs.order import Order

_ANSWERER = (sys.executable, "-m", "reelwright.jobs.answering")


class QuestionReplacedError(UserError):
    """A later question of the same topic came before this one had its turn."""


@dataclass(eq=False)
class _Question:
    topic: str
    is_replaced: bool = False


class AnsweringProcess:
    """Runs short workflows, one at a time, in a process that starts with the first question, and when it died."""

    def __init__(self, command: Sequence[str] = _ANSWERER) -> None:
        self._command = tuple(command)
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Condition()
        self._waiting: deque[_Question] = deque()
        self._is_stopped = False

    def ask(self, order: Order, *, topic: str = "", limit: float = 600.0) -> list[dict[str, Any]]:
        """The events of the workflow, as JSON has them; the last one is a `failed` where it failed.

        A question with a topic takes the place of one of that topic that still waits, which raises
        QuestionReplacedError. After `limit` seconds the process is killed. Blocks: ask in a thread.
        """
        question = _Question(topic)
        self._wait_for_turn(question)
        try:
            return self._answer(order, limit)
        finally:
            with self._turn:
                self._waiting.popleft()
                self._turn.notify_all()

    def stop(self) -> None:
        """End the process; later questions start another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _wait_for_turn(self, question: _Question) -> None:
        with self._turn:
            for other in list(self._waiting)[1:]:
                if question.topic and other.topic == question.topic:
                    other.is_replaced = True
                    self._waiting.remove(other)
            self._waiting.append(question)
            self._turn.notify_all()
            self._turn.wait_for(lambda: question.is_replaced or self._waiting[0] is question)
        if question.is_replaced:
            raise QuestionReplacedError("a later question took its place.")

    def _answer(self, order: Order, limit: float) -> list[dict[str, Any]]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        killer = threading.Timer(limit, process.kill)
        killer.start()
        events: list[dict[str, Any]] = []
        try:
            process.stdin.write(order.to_json() + "\n")
            process.stdin.flush()
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "answered":
                    return events
                events.append(event)
        except OSError:
            pass
        finally:
            killer.cancel()
        self.stop()
        message = "the process that answers died. Ask again; if it dies again, ask for something smaller."
        return [*events, {"event": "failed", "kind": "UserError", "message": message}]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        return self._process
