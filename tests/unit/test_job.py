"""Workflows run by name: their events are forwarded and their end becomes an exit code."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from reelwright import workflows
from reelwright.core.errors import ConfigError, FileError, MemoryLimitError, UserError
from reelwright.core.events import Event, Failed, Finished, Notice, Stopped
from reelwright.jobs.job import run_workflow

Run = Callable[..., Iterator[Event]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Make a function the workflow `toy`."""

    def install_toy(run: Run) -> None:
        (tmp_path / "toy.py").touch()
        module = ModuleType("reelwright.workflows.toy")
        module.run = run  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setattr(workflows, "__path__", [str(tmp_path)])
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return install_toy


def test_events_reach_every_sink_in_order(install):
    def run(count: int) -> Iterator[Event]:
        yield from (Notice(str(number)) for number in range(count))
        yield Finished()

    install(run)
    first: list[Event] = []
    second: list[Event] = []
    assert run_workflow("toy", {"count": 2}, [first.append, second.append]) == 0
    assert first == second == [Notice("0"), Notice("1"), Finished()]


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("a"), 1), (FileError("a"), 1), (ConfigError("a"), 2), (MemoryLimitError("a"), 3)],
)
def test_a_users_error_becomes_its_message_and_exit_code(install, error: UserError, code: int):
    def run() -> Iterator[Event]:
        yield Notice("started")
        raise error

    install(run)
    seen: list[Event] = []
    assert run_workflow("toy", {}, [seen.append]) == code
    assert seen == [Notice("started"), Failed(type(error).__name__, "a")]


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate"),
    ],
)
def test_running_out_of_memory_has_its_own_exit_code_and_advice(install, error: Exception):
    def run() -> Iterator[Event]:
        yield Notice("started")
        raise error

    install(run)
    seen: list[Event] = []
    assert run_workflow("toy", {}, [seen.append]) == 3
    failure = seen[-1]
    assert isinstance(failure, Failed)
    assert failure.kind == "MemoryLimitError"
    assert "num_frames" in failure.message


def test_an_unexpected_error_becomes_one_line(install, caplog: pytest.LogCaptureFixture):
    def run() -> Iterator[Event]:
        yield Notice("started")
        raise ZeroDivisionError("division by zero\nmore\nlines")

    install(run)
    seen: list[Event] = []
    with caplog.at_level("DEBUG", "reelwright"):
        assert run_workflow("toy", {}, [seen.append]) == 1
    message = "ZeroDivisionError: division by zero. Run it again with --debug to see the traceback."
    assert seen[-1] == Failed("ZeroDivisionError", message)
    assert caplog.records[-1].exc_info is not None


def test_an_unknown_workflow_is_a_mistake_of_the_caller(install):
    install(lambda: iter(()))
    seen: list[Event] = []
    assert run_workflow("toi", {}, [seen.append]) == 2
    assert seen == [Failed("ConfigError", "toi: unknown workflow. Did you mean toy?")]


def test_a_sink_that_fails_ends_the_run_and_closes_the_workflow(install):
    closed: list[str] = []

    def run() -> Iterator[Event]:
        try:
            yield Notice("started")
            yield Notice("never")
        finally:
            closed.append("closed")

    def full_disk(event: Event, /) -> None:
        raise FileError("events.jsonl: the disk is full.")

    install(run)
    seen: list[Event] = []
    assert run_workflow("toy", {}, [seen.append, full_disk]) == 1
    assert closed == ["closed"]
    assert seen == [Notice("started"), Failed("FileError", "events.jsonl: the disk is full.")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_workflow_save_its_state_undisturbed(install, number: signal.Signals, code: int):
    saved: list[str] = []

    def run() -> Iterator[Event]:
        try:
            yield Notice("started")
            os.kill(os.getpid(), number)
            yield Notice("never")
        finally:
            os.kill(os.getpid(), number)  # an impatient second one
            saved.append("state")

    install(run)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    seen: list[Event] = []
    assert run_workflow("toy", {}, [seen.append]) == code
    assert saved == ["state"]
    assert seen == [Notice("started"), Stopped(number.name)]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_third_signal_leaves_a_hanging_workflow_at_once(tmp_path: Path):
    script = tmp_path / "hang.py"
    script.write_text(
        textwrap.dedent("""
            import os, signal, sys
            from reelwright.jobs.interrupt import StopSignals
            with StopSignals():
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                finally:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGINT)
                    sys.exit("still here")
        """)
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "")


def test_a_workflow_runs_in_a_thread_too(install):
    install(lambda: iter((Finished(),)))
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_workflow("toy", {}, [])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_workflow_stopped_while_its_event_is_shown_knows_the_signal(install):
    seen: list[object] = []

    def run() -> Iterator[Event]:
        try:
            yield Notice("shown")
        except KeyboardInterrupt as interruption:
            seen.append(interruption)
            raise

    def kill(event: Event, /) -> None:
        if isinstance(event, Notice):
            os.kill(os.getpid(), signal.SIGTERM)

    install(run)
    assert run_workflow("toy", {}, [kill]) == 143
    assert [interruption.name for interruption in seen] == ["SIGTERM"]
