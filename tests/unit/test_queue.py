"""The queue without workers: what it keeps, which acts a state allows, and many who use it at once."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.core.errors import ConfigError, FileError
from reelwright.jobs.order import Order, arguments_of
from reelwright.jobs.queue import Job, JobQueue, JobStateError, UnknownJobError
from reelwright.jobs.worker import call_of

FAMILY = families.names()[0]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    monkeypatch.chdir(tmp_path)
    return JobQueue(tmp_path / "queue")


def order(**values: Any) -> Order:
    return Order(workflow="generate", family=FAMILY, values={"prompt": "a fox", **values})


def titles(queue: JobQueue) -> list[str]:
    return [job.title for job in queue.list()]


def running(queue: JobQueue) -> Job:
    job = queue.add(order())
    while (claimed := queue.claim("someone")) is not None and claimed.id != job.id:
        pass
    return job


def in_state(queue: JobQueue, state: str) -> Job:
    if state in ("queued", "paused"):
        job = queue.add(order())
        return queue.pause(job.id) if state == "paused" else job
    job = running(queue)
    return queue.get(job.id) if state == "running" else queue.finish(job.id, state)  # pyright: ignore[reportArgumentType]


def test_a_job_outlives_the_process_that_added_it(queue: JobQueue, tmp_path: Path):
    job = queue.add(order(steps=4), title="fox")
    queue.close()
    assert JobQueue(tmp_path / "queue").get(job.id) == job
    assert (job.state, job.title, job.folder, job.order.values["steps"]) == ("queued", "fox", tmp_path, 4)
    assert job.id.isalnum()
    assert job.run is not None
    assert job.run.parent == tmp_path / "outputs"


def test_the_seed_is_drawn_when_a_job_is_added_so_that_each_attempt_makes_the_same(queue: JobQueue):
    first, second = queue.add(order()), queue.add(order(seed=-1))
    assert first.order.values["seed"] >= 0
    assert first.order.values["seed"] != second.order.values["seed"]
    assert first.run != second.run
    assert queue.add(order(seed=7)).order.values["seed"] == 7


def test_an_illegal_order_is_refused_with_all_its_problems(queue: JobQueue):
    with pytest.raises(ConfigError) as refused:
        queue.add(order(stepps=3, height=-1))
    assert "stepps: unknown key. Did you mean steps?" in str(refused.value)
    assert "height: -1 is too small" in str(refused.value)
    assert queue.list() == []


def test_an_unknown_job_is_told_of(queue: JobQueue):
    for act in (queue.get, queue.pause, queue.cancel, queue.retry, queue.go_on, queue.remove, queue.events):
        with pytest.raises(UnknownJobError, match="job nowhere: there is no such job"):
            act("nowhere")


def test_jobs_are_done_in_the_order_of_their_places(queue: JobQueue):
    a, b, c, d = (queue.add(order(), title=title) for title in "abcd")
    queue.move(c.id, before=a.id)
    queue.move(a.id, before=None)
    assert titles(queue) == ["c", "b", "d", "a"]
    queue.move(d.id, before=b.id)
    queue.pause(d.id)
    claimed = [queue.claim("someone") for _ in range(4)]
    assert [job and job.title for job in claimed] == ["c", "b", "a", None]


ACTS: dict[str, Callable[[JobQueue, str], object]] = {
    "pause": lambda queue, job: queue.pause(job),
    "go on": lambda queue, job: queue.go_on(job),
    "cancel": lambda queue, job: queue.cancel(job),
    "retry": lambda queue, job: queue.retry(job),
    "edit": lambda queue, job: queue.edit(job, order(steps=2)),
    "move": lambda queue, job: queue.move(job, None),
    "remove": lambda queue, job: queue.remove(job),
}
ALLOWED = {
    "queued": {"pause", "cancel", "edit", "move", "remove"},
    "running": {"pause", "cancel"},
    "paused": {"pause", "go on", "cancel", "edit", "move", "remove"},
    "done": {"remove"},
    "failed": {"retry", "edit", "remove"},
    "cancelled": {"cancel", "retry", "edit", "remove"},
}


@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize("act", ACTS)
def test_a_state_allows_what_makes_sense_and_says_so_of_the_rest(queue: JobQueue, state: str, act: str):
    job = in_state(queue, state)
    if act in ALLOWED[state]:
        ACTS[act](queue, job.id)
        return
    with pytest.raises(JobStateError, match=rf"job {job.id}: is {state} .*\. ?"):
        ACTS[act](queue, job.id)
    assert queue.get(job.id).state == state


def test_a_job_comes_to_one_end_only(queue: JobQueue):
    job = running(queue)
    assert queue.finish(job.id, "done").state == "done"
    with pytest.raises(JobStateError, match="is done already"):
        queue.finish(job.id, "failed", "too late")
    assert queue.get(job.id).message == ""


def test_a_worker_that_ended_early_did_what_was_wished(queue: JobQueue):
    stopped, paused, held, killed = (running(queue) for _ in range(4))
    queue.cancel(stopped.id)
    queue.pause(paused.id, at="section")
    queue.pause(held.id)
    queue.hold(held.id)
    ends = [queue.finish(job.id, "queued").state for job in (stopped, paused, held, killed)]
    assert ends == ["cancelled", "paused", "paused", "queued"]
    assert not queue.get(held.id).holds


def test_a_held_job_goes_on_at_once_and_one_that_let_go_waits_for_its_turn(queue: JobQueue):
    held, left = running(queue), running(queue)
    queue.pause(held.id)
    assert queue.hold(held.id).holds
    assert queue.hold(left.id).state == "running"
    queue.pause(left.id, at="section")
    queue.finish(left.id, "queued")
    with pytest.raises(JobStateError, match="holds between two steps"):
        queue.edit(held.id, order())
    assert (queue.go_on(held.id).state, queue.go_on(left.id).state) == ("running", "queued")


def test_a_held_job_that_is_to_free_its_memory_works_until_a_section_is_kept(queue: JobQueue):
    job = running(queue)
    queue.pause(job.id)
    queue.hold(job.id)
    now = queue.pause(job.id, at="section")
    assert (now.state, now.wish, now.holds) == ("running", "pause at section", False)


def test_a_wish_can_be_taken_back_before_it_is_followed(queue: JobQueue):
    job = running(queue)
    queue.pause(job.id)
    assert (queue.go_on(job.id).wish, queue.hold(job.id).holds) == ("", False)


def test_an_edited_job_keeps_its_place_its_folder_and_the_title_that_was_given(queue: JobQueue):
    plain, named = queue.add(order()), queue.add(order(), title="mine")
    changed = [queue.edit(job.id, order(prompt="a bear")) for job in (plain, named)]
    assert [job.title for job in changed] == ["a bear", "mine"]
    assert [(job.place, job.run) for job in changed] == [(job.place, job.run) for job in (plain, named)]


def test_clips_of_an_edited_job_give_way_but_never_those_of_a_run_that_was_there(
    queue: JobQueue, tmp_path: Path
):
    there = tmp_path / "there"
    there.mkdir()
    (there / "recipe.toml").touch()
    own, named, other = queue.add(order()), queue.add(order(run="new")), queue.add(order(run=str(there)))
    second = queue.add(order(run="new"))
    calls = [call_of(queue.get(job.id)) for job in (own, named, other, second)]
    assert [call.get("replaces", False) for _, call in calls] == [True, True, False, False]
    assert [call["config"].run for _, call in calls] == [job.run for job in (own, named, other, second)]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_training_that_began_starts_anew_elsewhere_when_it_is_edited(queue: JobQueue):
    def training(**values: Any) -> Order:
        return Order(workflow="train", family=FAMILY, values={"dataset": "data.toml", **values})

    job = queue.add(training())
    assert job.run is not None
    assert (queue.edit(job.id, training(seed=1)).run, job.order.values["seed"] >= 0) == (job.run, True)
    job.run.mkdir(parents=True)
    (job.run / "recipe.toml").touch()
    assert queue.edit(job.id, training(seed=1)).run == job.run
    assert queue.edit(job.id, training(seed=2)).run == job.run.with_name(f"{job.run.name}-2")


def test_a_branch_that_was_begun_is_gone_on_with_as_the_run_it_is(queue: JobQueue, tmp_path: Path):
    redo = {"section": 1, "prompt": "a bear", "branch": "branch"}
    wanted = Order(workflow="redo", family=FAMILY, values={"run": "old"}, options=redo)
    job = queue.add(wanted)
    assert job.run == tmp_path / "branch"
    assert call_of(job)[0] == "redo"
    assert job.order.options["seed"] >= 0
    job.run.mkdir()
    (job.run / "recipe.toml").write_text(f'workflow = "generate"\nfamily = "{FAMILY}"\nprompt = "a bear"\n')
    workflow, call = call_of(job)
    assert (workflow, call["config"].prompt, call["config"].run) == ("generate", "a bear", job.run)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigError, match="holds a run already"):
        queue.add(wanted)


def test_every_change_grows_the_revision_and_nothing_else_does(queue: JobQueue, tmp_path: Path):
    job = queue.add(order())
    seen = [queue.revision()]
    other = JobQueue(tmp_path / "queue")
    for act in (lambda: other.pause(job.id), lambda: queue.go_on(job.id), lambda: queue.remove(job.id)):
        act()
        seen.append(queue.revision())
    assert seen == sorted(set(seen))
    queue.list()
    other.claim("someone")
    assert queue.revision() == seen[-1]


def test_what_is_removed_is_gone_and_its_run_only_if_that_is_asked(queue: JobQueue):
    kept, gone, shared, sharing = (queue.add(order(run=run)) for run in ("a", "b", "c", "c"))
    for job in (kept, gone, shared):
        assert job.run is not None
        job.run.mkdir()
        (job.run / "recipe.toml").touch()
    queue.remove(kept.id)
    queue.remove(gone.id, files=True)
    queue.remove(shared.id, files=True)
    assert [Path(run).exists() for run in "abc"] == [True, False, True]
    assert [job.id for job in queue.list()] == [sharing.id]


def test_events_are_numbered_as_they_come_and_a_torn_line_is_passed_over(queue: JobQueue):
    job = queue.add(order())
    assert queue.events(job.id) == []
    log = queue.log_of(job.id)
    log.path.parent.mkdir(parents=True)
    log.append({"event": "one"})
    assert [event["event"] for event in queue.events(job.id)] == ["one"]
    with log.path.open("a") as file:
        file.write('{"event": "to')  # by a worker that was killed
    assert queue.events(job.id, after=1) == []
    log.append({"event": "three", "text": "ü\n\u2028"})
    (event,) = queue.events(job.id, after=1)
    assert (event["number"], event["event"], event["text"]) == (3, "three", "ü\n\u2028")
    assert [event["number"] for event in queue.events(job.id)] == [1, 3]
    assert queue.events(job.id, after=99) == []


def test_two_hundred_jobs_are_claimed_once_each_by_processes_that_race(queue: JobQueue):
    added = [queue.add(order()).id for _ in range(200)]
    claim_all = (
        "import sys; from pathlib import Path; from reelwright.jobs.queue import JobQueue\n"
        "queue = JobQueue(Path(sys.argv[1]))\n"
        "while (job := queue.claim(sys.argv[2])): print(job.id)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", claim_all, str(queue.folder), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    claimed = [line for racer in racers for line in racer.communicate()[0].split()]
    assert sorted(claimed) == sorted(added)
    assert {job.attempts for job in queue.list()} == {1}


def test_fifty_clients_add_and_cancel_at_once_and_every_job_has_one_end(queue: JobQueue):
    def client(number: int) -> str:
        job = queue.add(order(), title=str(number))
        if number % 2:
            queue.cancel(job.id)
            with pytest.raises(JobStateError):
                queue.pause(job.id)
        return job.id

    with ThreadPoolExecutor(50) as pool:
        made = list(pool.map(client, range(50)))
    states = {job.id: job.state for job in queue.list()}
    assert sorted(states) == sorted(made)
    assert [states[job] for job in made] == ["queued", "cancelled"] * 25
    assert len({job.place for job in queue.list()}) == 50


def test_a_full_disk_refuses_a_job_and_leaves_the_queue_as_it_was(queue: JobQueue):
    job = running(queue)
    queue.folder_of(job.id).mkdir(parents=True)
    with queue._file.reading() as rows:
        rows._connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the least that it can
    with pytest.raises(FileError, match="disk is full"):
        queue.add(order(prompt="a fox " * 20_000))
    with pytest.raises(FileError, match="disk is full"):
        queue.finish(job.id, "failed", "too long " * 20_000)
    assert [each.state for each in queue.list()] == ["running"]
    assert queue.events(job.id) == []
    assert queue.finish(job.id, "queued").state == "queued"
    assert [event["state"] for event in queue.events(job.id)] == ["queued"]
    assert queue.cancel(job.id).state == "cancelled"


def test_a_file_that_is_no_queue_is_told_of(tmp_path: Path):
    (tmp_path / "queue.sqlite").write_text("a letter " * 200)
    with pytest.raises(FileError, match=r"queue\.sqlite: the queue cannot be used"):
        JobQueue(tmp_path).list()


def test_an_order_that_is_damaged_is_shown_and_can_be_mended_or_cancelled(queue: JobQueue, tmp_path: Path):
    jobs = [queue.add(order()) for _ in range(2)]
    with sqlite3.connect(tmp_path / "queue" / "queue.sqlite") as connection:
        connection.execute("UPDATE jobs SET work = '[1'")
    with pytest.raises(ConfigError, match="unknown workflow"):
        arguments_of(queue.list()[0].order)
    assert queue.edit(jobs[0].id, order(steps=3)).order.values["steps"] == 3
    assert queue.cancel(jobs[1].id).state == "cancelled"


def test_the_queue_and_who_dispatches_need_nothing_heavy(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from reelwright.jobs.dispatcher import Dispatcher\n"
        "from reelwright.jobs.queue import JobQueue; from reelwright.jobs.order import Order\n"
        "from reelwright.jobs.answers import AnsweringProcess\n"
        f"queue = JobQueue(Path('queue')); queue.add(Order(workflow='generate', family={FAMILY!r}))\n"
        "dispatcher = Dispatcher(queue, workers=0); dispatcher.start(); dispatcher.stop()\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'av', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_job_is_json(queue: JobQueue):
    job = queue.add(order(image="fox.png"))
    told = json.loads(json.dumps(job.to_json()))
    assert (told["id"], told["order"]["values"]["image"]) == (job.id, "fox.png")
    assert told["run"] == os.fspath(job.run or "")
