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
from reelwright.core.events import Failed, to_json
from reelwright.jobs.order import Order

_ANSWERER = (sys.executable, "-P", "-m", "reelwright.jobs.answering")
_LIMIT = 600.0
_DIED = (
    "The process that answers ended before it had an answer, or took too long. Ask again; if that fails too,"
    " there may be too little memory, or the question needs a job of its own."
)


class QuestionReplacedError(UserError):
    """A question had no turn: a later one of its topic came, or the process was stopped."""


@dataclass(eq=False)
class _Question:
    topic: str
    is_replaced: bool = False


class AnsweringProcess:
    """Runs short workflows one at a time, in a process that starts with a question and stays for the next.

    If it dies, the next question starts another. Any thread may ask.
    """

    def __init__(self, command: Sequence[str] = _ANSWERER) -> None:
        self._command = tuple(command)
        self._process: subprocess.Popen[str] | None = None
        self._changed = threading.Condition()
        self._questions: deque[_Question] = deque()
        """The one that is being answered, and those that wait."""

    def start(self) -> None:
        """Start the process now, so that the first answer comes sooner."""
        with self._changed:
            self._running()

    def ask(self, order: Order, *, topic: str = "", limit: float = _LIMIT) -> list[dict[str, Any]]:
        """The events of the workflow, as JSON has them; the last one is a `failed` where it failed.

        A question with a topic takes the place of one of that topic that still waits, which raises
        QuestionReplacedError. After `limit` seconds the process is killed. This blocks; with asyncio, ask in
        a thread.
        """
        question = _Question(topic)
        self._wait_for_turn(question)
        try:
            return self._answer(order, limit)
        finally:
            with self._changed:
                self._questions.remove(question)
                self._changed.notify_all()

    def stop(self) -> None:
        """End the process and the questions that wait. A later question starts another."""
        with self._changed:
            for question in list(self._questions)[1:]:
                self._replace(question)
            process, self._process = self._process, None
            self._changed.notify_all()
        if process is not None:
            _end(process)

    def _wait_for_turn(self, question: _Question) -> None:
        with self._changed:
            for other in list(self._questions)[1:]:
                if question.topic and other.topic == question.topic:
                    self._replace(other)
            self._questions.append(question)
            self._changed.notify_all()
            self._changed.wait_for(lambda: question.is_replaced or self._questions[0] is question)
        if question.is_replaced:
            raise QuestionReplacedError(
                "The question had no turn, as a later one of its topic came. Ask it again."
            )

    def _replace(self, question: _Question) -> None:
        question.is_replaced = True
        self._questions.remove(question)

    def _answer(self, order: Order, limit: float) -> list[dict[str, Any]]:
        with self._changed:
            process = self._running()
        killer = threading.Timer(limit, process.kill)
        killer.daemon = True
        killer.start()
        try:
            events, is_whole = _talk(process, order)
        finally:
            killer.cancel()
        if is_whole:
            return events
        _end(process)
        return [*events, to_json(Failed(UserError.__name__, _DIED))]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C in a terminal is for who asks; the end of its input ends it
            )
        return self._process


def _talk(process: subprocess.Popen[str], order: Order) -> tuple[list[dict[str, Any]], bool]:
    """The events that answer an order, and whether they are all."""
    assert process.stdin is not None
    assert process.stdout is not None
    events: list[dict[str, Any]] = []
    try:
        process.stdin.write(order.to_json() + "\n")
        process.stdin.flush()
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "answered":
                return events, True
            events.append(event)
    except (OSError, ValueError):  # its pipes broke, or a line is half
        pass
    return events, False


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
