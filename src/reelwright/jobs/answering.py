"""The process that answers: orders come as lines of JSON, their events go out so; `answered` ends each."""

import json
import os
import sys
from importlib import import_module
from typing import TextIO

from reelwright.core.errors import UserError
from reelwright.core.events import Event, Failed, to_json
from reelwright.jobs.job import run_workflow
from reelwright.jobs.order import Order, arguments_of

_ASKED_FIRST = "reelwright.workflows.plan"


def main() -> int:
    """Answer until whoever asks is gone."""
    answers = _own_output()
    import_module(_ASKED_FIRST)  # which takes seconds, and the first question may come later
    for line in sys.stdin:
        _answer(line, answers)
        _write(answers, {"event": "answered"})
    return 0


def _own_output() -> TextIO:
    """What was stdout; from here on, what a library prints goes to stderr."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


def _answer(line: str, answers: TextIO) -> None:
    def send(event: Event, /) -> None:
        _write(answers, to_json(event))

    try:
        order = Order.from_json(line, "question")
        arguments = arguments_of(order, "question")
    except UserError as error:
        send(Failed(type(error).__name__, str(error)))
    else:
        run_workflow(order.workflow, arguments, [send])


def _write(answers: TextIO, event: dict[str, object]) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
