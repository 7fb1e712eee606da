"""The process that answers questions: one at a time, replaced when it dies, the newest of a topic first."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reelwright.jobs.answers import AnsweringProcess, QuestionReplacedError
from reelwright.jobs.order import Order

PATIENCE = 120.0


@pytest.fixture
def answers() -> Iterator[AnsweringProcess]:
    process = AnsweringProcess((sys.executable, str(Path(__file__).with_name("process_of_answers.py"))))
    yield process
    process.stop()


def say(word: str) -> Order:
    return Order(workflow="plan", family=word)


def facts(events: list[dict[str, Any]]) -> dict[str, Any]:
    (event,) = events
    return event["facts"]


def wait_until(reached: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


def test_one_process_answers_until_it_dies_and_another_after_it(answers: AnsweringProcess):
    first, second = (facts(answers.ask(say(word)))["process"] for word in ("a", "b"))
    assert first == second
    for end in ("die", "babble"):
        (event,) = answers.ask(say(end))
        assert (event["event"], event["message"].split(".")[0]) == (
            "failed",
            "The process that answers ended before it had an answer, or took too long",
        )
    assert facts(answers.ask(say("c")))["process"] != first


def test_a_question_that_takes_too_long_is_given_up(answers: AnsweringProcess, tmp_path: Path):
    (event,) = answers.ask(say(f"wait {tmp_path / 'never'}"), limit=0.5)
    assert event["event"] == "failed"
    assert facts(answers.ask(say("a")))["asked"] == "a"


def test_a_later_question_takes_the_place_of_one_of_its_topic_that_waits(
    answers: AnsweringProcess, tmp_path: Path
):
    go = tmp_path / "go"
    with ThreadPoolExecutor(4) as pool:

        def ask(word: str, topic: str) -> "Future[list[dict[str, Any]]]":
            return pool.submit(answers.ask, say(word), topic=topic)

        asked = ask(f"wait {go}", "plan")
        wait_until(go.with_suffix(".asked").exists)
        older, other = ask("older", "plan"), ask("other", "lora")
        wait_until(lambda: len(answers._questions) == 3)
        newer = ask("newer", "plan")
        with pytest.raises(QuestionReplacedError):
            older.result(PATIENCE)
        go.touch()
        said = [facts(future.result(PATIENCE))["asked"] for future in (asked, other, newer)]
    assert said == ["wait", "other", "newer"]


def test_questions_that_wait_end_with_the_process(answers: AnsweringProcess, tmp_path: Path):
    never = tmp_path / "never"
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(answers.ask, say(f"wait {never}"))
        wait_until(never.with_suffix(".asked").exists)
        waiting = pool.submit(answers.ask, say("a"))
        wait_until(lambda: len(answers._questions) == 2)
        answers.stop()
        assert asked.result(PATIENCE)[-1]["event"] == "failed"
        with pytest.raises(QuestionReplacedError):
            waiting.result(PATIENCE)
