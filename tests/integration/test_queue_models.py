"""A job with a model that lets go of its memory half-way makes the video that nothing disturbs."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reelwright.cli.generate import parse
from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.order import order_of
from reelwright.jobs.queue import JobQueue

from .conftest import PACKED, Command

PATIENCE = 300.0


def test_a_job_paused_at_a_section_goes_on_to_the_same_video(
    packed: Command,
    digests: Callable[[Path], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert packed("--run", tmp_path / "undisturbed", "--quiet").code == 0
    queue = JobQueue(tmp_path / "queue")
    family, line = parse(["framepack", *PACKED, "--prompt", "a red ball"])
    job = queue.add(order_of("generate", {"family": family, "config": line.config}))
    dispatcher = Dispatcher(queue)
    dispatcher.start()
    wait_for(lambda: queue.get(job.id).state == "running")
    queue.pause(job.id, at="section")
    wait_for(lambda: queue.get(job.id).state != "running")
    assert (queue.get(job.id).state, kinds(queue, job.id).count("section")) == ("paused", 1)
    queue.go_on(job.id)
    wait_for(lambda: queue.get(job.id).is_final)
    dispatcher.stop()
    done = queue.get(job.id)
    assert done.run is not None
    assert (done.state, digests(done.run)) == ("done", digests(tmp_path / "undisturbed"))
    assert kinds(queue, job.id)[1:] == ["section", "section", "section", "latent", "video", "contact_sheet"]


def kinds(queue: JobQueue, job: str) -> list[str]:
    """What was kept, in the order in which it was."""
    return [event["kind"] for event in queue.events(job) if event["event"] == "file_saved"]


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.05)
