"""Jobs in real worker processes that only count: what kills them, what is wished of them, how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.order import Order
from reelwright.jobs.queue import Job, JobQueue

from .process_of_dispatcher import TOY_WORKER

FAMILY = families.names()[0]
PATIENCE = 120.0


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobQueue]:
    """An empty queue. Workers that a failed test left are killed."""
    monkeypatch.chdir(tmp_path)
    yield (queue := JobQueue(tmp_path / "queue"))
    for job in queue.list(("running", "paused")):
        with suppress(OSError, ValueError):
            os.killpg(process_of(queue, job), signal.SIGKILL)


@pytest.fixture
def dispatch(queue: JobQueue) -> Iterator[Callable[..., Dispatcher]]:
    """Start a dispatcher in this process; stopped at the end."""
    started: list[Dispatcher] = []

    def start(**settings: Any) -> Dispatcher:
        started.append(Dispatcher(queue, command=TOY_WORKER, **settings))
        started[-1].start()
        return started[-1]

    yield start
    for dispatcher in started:
        dispatcher.stop()


@pytest.fixture
def dispatcher_process(queue: JobQueue) -> Iterator[subprocess.Popen[bytes]]:
    """A dispatcher that can be killed."""
    script = Path(__file__).with_name("process_of_dispatcher.py")
    process = subprocess.Popen([sys.executable, script, str(queue.folder)], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def add(queue: JobQueue, prompt: str = "a fox", steps: int = 3) -> Job:
    return queue.add(Order(workflow="generate", family=FAMILY, values={"prompt": prompt, "steps": steps}))


def wait_until(reached: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


def wait_for_state(queue: JobQueue, job: Job, *states: str) -> Job:
    wait_until(lambda: queue.get(job.id).state in states)
    return queue.get(job.id)


def process_of(queue: JobQueue, job: Job) -> int:
    return int((queue.folder_of(job.id) / "process").read_text())


def made(job: Job) -> list[str]:
    """The sections that were made, in the order they were, those made twice twice."""
    assert job.run is not None
    path = job.run / "made.txt"
    return path.read_text().split() if path.exists() else []


def states_told(queue: JobQueue, job: Job) -> list[str]:
    return [event["state"] for event in queue.events(job.id) if event["event"] == "job"]


def test_jobs_end_one_after_another_each_as_it_must(queue: JobQueue, dispatch, tmp_path: Path):
    """One is well; options of one are no more; others fail in words, by surprise, on a full disk, crash."""
    good, illegal, failing, stumbling, full, crashing = (
        add(queue, prompt, steps=1) for prompt in ("a fox", "", "fail", "stumble", "", "crash")
    )
    with queue._file.changing() as rows:
        work = good.order.to_json().replace('"steps"', '"stepps"')
        rows.update(illegal.id, {"work": work})
    queue.folder_of(full.id).mkdir(parents=True)
    (queue.folder_of(full.id) / "events.jsonl").symlink_to("/dev/full")
    dispatch()
    wait_for_state(queue, crashing, "failed")
    ends = [queue.get(job.id) for job in (good, illegal, failing, stumbling, full, crashing)]
    assert [job.state for job in ends] == ["done", *["failed"] * 5]
    assert "stepps: unknown key. Did you mean steps?" in ends[1].message
    assert ends[2].message == "fox.png: there is no fox. Take another picture."
    output = queue.folder_of(stumbling.id) / "output.txt"
    assert ends[3].message == f"ZeroDivisionError: division by zero. The traceback is in {output}."
    assert 'raise ZeroDivisionError("division by zero")' in output.read_text()
    assert "The disk is full" in ends[4].message
    assert "killed by SIGKILL (often because memory ran out), at attempt 3" in ends[5].message
    assert (states_told(queue, good), made(good)) == (["running", "done"], ["1"])
    assert states_told(queue, crashing) == ["running", "queued"] * 2 + ["running", "failed"]
    assert [event["event"] for event in queue.events(good.id)] == [
        *("job", "stage_started", "step_done", "file_saved", "preview_saved", "finished", "job")
    ]
    assert ends[0].progress | {"seconds": 0} == {
        **{"stage": "denoise", "step": 1, "total": 1, "seconds": 0},
        "preview": str((good.run or tmp_path) / "preview.png"),
    }


def test_a_worker_outlives_its_dispatcher_and_is_adopted_by_the_next(
    queue: JobQueue, dispatch, dispatcher_process: subprocess.Popen[bytes], tmp_path: Path
):
    (tmp_path / "hold-2").touch()
    job = add(queue)
    wait_until(lambda: made(job) == ["1"])
    dispatcher_process.kill()
    dispatcher_process.wait()
    follower = dispatch()
    wait_until(lambda: queue.get(job.id).owner == follower.name)
    (tmp_path / "hold-2").unlink()
    assert wait_for_state(queue, job, "done", "failed").attempts == 1
    assert (made(job), states_told(queue, job)) == (["1", "2", "3"], ["running", "done"])


def test_a_job_goes_on_when_worker_and_dispatcher_are_both_killed(
    queue: JobQueue, dispatch, dispatcher_process: subprocess.Popen[bytes], tmp_path: Path
):
    (tmp_path / "hold-3").touch()
    job = add(queue)
    wait_until(lambda: made(job) == ["1", "2"])
    dispatcher_process.kill()
    dispatcher_process.wait()
    os.kill(process_of(queue, job), signal.SIGKILL)
    (tmp_path / "hold-3").unlink()
    dispatch()
    assert wait_for_state(queue, job, "done", "failed").attempts == 2
    assert (made(job), states_told(queue, job)) == (["1", "2", "3"], ["running", "queued", "running", "done"])


def test_a_job_that_was_claimed_by_someone_who_died_at_once_is_not_lost(queue: JobQueue, dispatch):
    job = add(queue, steps=1)
    queue.claim("someone who is no more")
    dispatch()
    assert wait_for_state(queue, job, "done", "failed").attempts == 2


def test_two_dispatchers_share_a_queue_and_do_nothing_twice(queue: JobQueue, dispatch):
    jobs = [add(queue, steps=2) for _ in range(4)]
    dispatch(devices=("0",))
    dispatch(devices=("1",))
    for job in jobs:
        assert wait_for_state(queue, job, "done", "failed").attempts == 1
        assert (made(job), states_told(queue, job)) == (["1", "2"], ["running", "done"])


def test_a_job_holds_at_a_step_and_lets_go_at_a_section(queue: JobQueue, dispatch, tmp_path: Path):
    for number in (2, 3):
        (tmp_path / f"hold-{number}").touch()
    job = add(queue, steps=4)
    dispatch()
    wait_until(lambda: made(job) == ["1"])
    queue.pause(job.id)
    (tmp_path / "hold-2").unlink()
    assert wait_for_state(queue, job, "paused").holds
    worker = process_of(queue, job)
    queue.go_on(job.id)
    assert queue.pause(job.id, at="section").state == "running"
    (tmp_path / "hold-3").unlink()
    freed = wait_for_state(queue, job, "paused")
    assert (freed.holds, made(job)[:2], worker) == (False, ["1", "2"], process_of(queue, job))
    queue.go_on(job.id)
    assert wait_for_state(queue, job, "done").attempts == 1
    assert (made(job), process_of(queue, job) == worker) == (["1", "2", "3", "4"], False)
    assert states_told(queue, job) == [*("running", "paused", "running", "paused"), *("running", "done")]


def test_a_running_and_a_held_job_are_cancelled_and_can_be_retried(queue: JobQueue, dispatch, tmp_path: Path):
    (tmp_path / "hold-2").touch()
    running, held = add(queue), add(queue)
    dispatch(workers=2)
    wait_until(lambda: made(running) == made(held) == ["1"])
    queue.cancel(running.id)
    wait_for_state(queue, running, "cancelled")
    queue.pause(held.id)
    (tmp_path / "hold-2").unlink()
    wait_for_state(queue, held, "paused")
    queue.cancel(held.id)
    wait_for_state(queue, held, "cancelled")
    queue.retry(running.id)
    wait_for_state(queue, running, "done")
    assert (made(running), made(held)) == (["1", "2", "3"], ["1", "2"])
    assert states_told(queue, running) == ["running", "cancelled", "running", "done"]
    assert states_told(queue, held) == ["running", "paused", "cancelled"]


def test_a_worker_that_is_deaf_to_a_wish_to_cancel_is_killed(
    queue: JobQueue, dispatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("reelwright.jobs.dispatcher._GRACE", 0.0)
    (tmp_path / "hold-2").touch()
    job = add(queue)
    dispatch()
    wait_until(lambda: made(job) == ["1"])
    os.kill(process_of(queue, job), signal.SIGSTOP)
    queue.cancel(job.id)
    assert wait_for_state(queue, job, "cancelled", "failed").state == "cancelled"
    assert states_told(queue, job) == ["running", "cancelled"]
