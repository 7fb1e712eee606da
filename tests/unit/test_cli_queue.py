"""`reelwright queue` on the command line, without workers."""

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.cli.main import main
from reelwright.core.config import to_toml
from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.queue import JobQueue

FAMILY = families.names()[0]
PATIENCE = 120.0


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What `reelwright queue ...` writes, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(line: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["queue", *shlex.split(line)]) == code
        written = capsys.readouterr()
        return written.err if code else written.out

    return run


def jobs(said: Callable[..., str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said("list --json").splitlines()]


def test_a_command_line_waits_with_all_that_it_says(said):
    said(f"add --title generate generate {FAMILY} --prompt 'a fox' --steps 3 --execution.tiling")
    said("add cache text cogvideox --dataset data.toml")
    fox, texts = jobs(said)
    assert (fox["title"], texts["title"]) == ("generate", "cache cogvideox")
    del fox["order"]["values"]["seed"]
    assert fox["order"]["values"] == {"prompt": "a fox", "steps": 3, "execution": {"tiling": True}}
    assert texts["order"]["options"] == {"kind": "text"}
    assert (Path(fox["run"]).parent, texts["run"]) == (Path.cwd() / "outputs", None)
    assert "queued" in said("show generate")


def test_a_run_that_was_stopped_can_wait_and_so_can_its_sections(said):
    run = Path("runs") / "fox"
    run.mkdir(parents=True)
    config = families.configs(FAMILY).GENERATE(prompt="a fox", seed=3)
    (run / "recipe.toml").write_text(to_toml(config, {"workflow": "generate", "family": FAMILY}))
    said(f"add resume {run}")
    said(f"add resume {run} --branch 1 --prompt 'a bear'")
    plain, branch = jobs(said)
    assert (plain["run"], plain["owns_run"]) == (str(Path.cwd() / run), False)
    assert (branch["order"]["workflow"], branch["order"]["options"]["prompt"]) == ("redo", "a bear")
    assert branch["run"] == str(Path.cwd() / "runs" / "fox-branch")


def test_flags_go_over_what_a_job_has(said):
    said(f"add --title fox generate {FAMILY} --prompt 'a fox' --steps 3 --seed 7")
    said("edit fox --steps 4 --no-contact-sheet")
    (fox,) = jobs(said)
    assert fox["order"]["values"] == {"prompt": "a fox", "steps": 4, "seed": 7, "contact_sheet": False}
    for words in ("edit --queue outputs/.queue fox", "edit --queue=outputs/.queue fox"):
        assert "steps: 0 is too small" in said(f"{words} --steps 0", code=2)
    assert "--steps" in said("edit fox --stepz 4", code=2)


def test_jobs_are_named_by_id_by_its_beginning_or_by_title(said):
    for title in ("a", "b", "c"):
        said(f"add --title {title} generate {FAMILY}")
    first, second, _ = (job["id"] for job in jobs(said))
    said(f"move c --before {first}")
    said(f"pause {second[:7]}")
    assert [(job["title"], job["state"]) for job in jobs(said)] == [
        ("c", "queued"),
        ("a", "queued"),
        ("b", "paused"),
    ]
    said("go-on b")
    said("cancel c")
    said("retry c")
    said("remove a")
    assert [(job["title"], job["state"]) for job in jobs(said)] == [("c", "queued"), ("b", "queued")]
    assert said("list --state paused running") == ""


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        ("show nothing", 1, "job nothing: there is no such job in the queue"),
        ("retry fox", 1, "is queued and cannot be retried. It can be moved, edited, paused or cancelled."),
        ("add", 2, "say what to do: generate, train, cache, resume"),
        ("add generate", 2, "generate: needs more words"),
        (f"add generate {FAMILY} --interactive", 2, "prompts are typed while it runs"),
        (f"add generate {FAMILY} --steps 0 --height -1", 2, "height: -1 is too small"),
        ("pause fox --at once", 2, "'once' is not one of step, section"),
        ("paus fox", 2, "Did you mean pause?"),
        ("list --queue letter", 1, "letter/queue.sqlite: the queue cannot be used"),
    ],
)
def test_what_cannot_be_done_is_told_in_words(said, line: str, code: int, complaint: str):
    Path("letter").write_text("no folder")
    said(f"add --title fox generate {FAMILY}")
    assert complaint in said(line, code=code)


def test_the_events_of_a_job_are_lines_of_json(said):
    said(f"add --title fox generate {FAMILY}")
    queue = JobQueue(Path("outputs/.queue"))
    log = queue.log_of(queue.list()[0].id)
    log.path.parent.mkdir(parents=True)
    log.append({"event": "notice", "message": "a fox"})
    (event,) = map(json.loads, said("show fox --events").splitlines())
    assert (event["number"], event["event"], event["message"]) == (1, "notice", "a fox")


def test_working_on_a_queue_ends_by_ctrl_c(tmp_path: Path):
    start = "import sys; from reelwright.cli.main import main; sys.exit(main(['queue', 'run']))"
    process = subprocess.Popen([sys.executable, "-c", start], cwd=tmp_path)
    until = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("outputs/.queue/dispatchers/*")):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130


def test_a_queue_ends_by_ctrl_c_in_the_moment_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    start = Dispatcher.start

    def start_and_press(dispatcher: Dispatcher) -> None:
        start(dispatcher)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Dispatcher, "start", start_and_press)
    before = set(threading.enumerate())
    assert main(["queue", "run"]) == 130
    assert set(threading.enumerate()) == before
