"""The studio's pages, opened without a browser."""

import json
import threading

import pytest

pytest.importorskip("nicegui", reason="the pages need NiceGUI: install reelwright[studio]")

from reelwright.core.config import to_toml
from reelwright.core.events import ClipFinished, Finished, to_json
from reelwright.jobs.order import Order
from reelwright.protocols.configs import GenerateConfig
from reelwright.web.pages import gallery, generate, queue
from reelwright.web.pages.desk import Desk

from .studio_pages import Answers, idle_studio, until, visit


def _field(user, name):
    return next(iter(user.find(marker=name).elements))


def _order(prompt, **values):
    return Order(workflow="generate", family="cogvideox", values={"prompt": prompt, **values})


def test_what_is_filled_in_becomes_an_order_in_the_queue(tmp_path):
    studio = idle_studio(tmp_path)

    async def play(user):
        _field(user, "input-prompt").set_value("a fox")
        _field(user, "input-steps").set_value("12")
        user.find(marker="size-128x64").click()
        user.find(marker="generate").click()
        await until(studio.queue.list)

    visit(generate.build, studio, play)
    (job,) = studio.queue.list()
    kept = {name: job.order.values[name] for name in ("prompt", "steps", "width", "height")}
    assert kept == {"prompt": "a fox", "steps": 12, "width": 128, "height": 64}
    assert job.order.family == "cogvideox"


def test_a_clip_that_was_seen_before_its_job_was_over_can_be_stopped_and_heard_once_it_is(tmp_path):
    studio = idle_studio(tmp_path)

    async def play(user):
        _field(user, "input-prompt").set_value("a fox")
        user.find(marker="generate").click()
        await until(studio.queue.list)
        job = studio.queue.claim("a test")
        assert job is not None
        clip = studio.runs / "clip-001.mp4"
        clip.write_bytes(b"a clip")
        studio.queue.folder_of(job.id).mkdir(parents=True, exist_ok=True)
        event = ClipFinished(clip=1, total=1, files={"video": str(clip)})
        studio.queue.log_of(job.id).append(to_json(event))
        await user.should_see(marker="job-preview", retries=100)
        studio.queue.finish(job.id, "done")
        await user.should_see(marker="job-video", retries=100)
        assert "controls" in _field(user, "job-video").props

    visit(generate.build, studio, play)


class _SlowAnswers(Answers):
    """Once `gate` is closed, questions wait at it."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, order, *, topic="", limit=0.0):
        self.asked.append(order)
        assert self.gate.wait(60)
        return self.told.get(order.workflow, [])


def test_what_is_typed_after_the_button_was_pressed_is_not_in_the_job(tmp_path):
    studio = idle_studio(tmp_path)
    studio.answers = answers = _SlowAnswers()

    def num_asked(prompt: str) -> int:
        return sum(order.values.get("prompt") == prompt for order in answers.asked)

    async def play(user):
        answers.gate.clear()
        _field(user, "input-prompt").set_value("a fox")
        await until(lambda: num_asked("a fox") == 1)
        user.find(marker="generate").click()
        await until(lambda: num_asked("a fox") == 2)
        _field(user, "input-prompt").set_value("a dog")
        answers.gate.set()
        await until(studio.queue.list)

    visit(generate.build, studio, play)
    assert [job.order.values["prompt"] for job in studio.queue.list()] == ["a fox"]


def test_a_problem_shows_beside_its_field_and_nothing_is_queued(tmp_path):
    studio = idle_studio(tmp_path)

    async def play(user):
        _field(user, "input-steps").set_value("0")
        await user.should_see("0 is too small. Use 1 or more.", retries=100)
        user.find(marker="generate").click()
        await user.should_see("see what stands beside them")

    visit(generate.build, studio, play)
    assert studio.queue.list() == []
    assert not any(order.values.get("steps") == 0 for order in studio.answers.asked)


def _fails(kind, message):
    return [{"event": "failed", "kind": kind, "message": message}]


def test_what_only_the_model_can_tell_shows_beside_its_field_too(tmp_path):
    studio = idle_studio(tmp_path)
    studio.answers.told["check"] = _fails("ConfigError", "image: needs another model.")

    async def play(user):
        user.find(marker="generate").click()
        await user.should_see("needs another model.", retries=100)
        assert _field(user, "problem-image").text == "First frame: needs another model."

    visit(generate.build, studio, play)
    assert studio.queue.list() == []


def test_that_there_is_no_prompt_yet_is_said_when_one_wants_to_go(tmp_path):
    studio = idle_studio(tmp_path)
    studio.answers.told["check"] = _fails("ConfigError", "prompt: is empty.")

    async def play(user):
        await user.should_see("2.0 GB", retries=100)
        await user.should_not_see("is empty.")
        user.find(marker="generate").click()
        await user.should_see("is empty.", retries=100)

    visit(generate.build, studio, play)
    assert studio.queue.list() == []


def test_a_model_that_is_still_to_be_fetched_stops_nobody(tmp_path):
    studio = idle_studio(tmp_path)
    studio.answers.told["check"] = _fails("FileError", "The model is not on this machine.")

    async def play(user):
        await user.should_see("The model is not on this machine.", retries=100)
        user.find(marker="generate").click()
        await until(studio.queue.list)

    visit(generate.build, studio, play)


def test_the_plan_of_the_settings_is_shown_before_anything_runs(tmp_path):
    studio = idle_studio(tmp_path)

    async def play(user):
        await user.should_see("2.0 GB", retries=100)
        await user.should_see("denoise")

    visit(generate.build, studio, play)
    assert [order.workflow for order in studio.answers.asked] == ["check", "plan"]


def test_a_tab_that_comes_back_finds_the_form_as_it_was_left(tmp_path):
    studio = idle_studio(tmp_path)

    async def fill(user):
        user.find(marker="family-framepack").click()
        _field(user, "input-prompt").set_value("city lights")
        await until(lambda: Desk.open(studio.queue.folder).drafts.get("framepack", {}).get("prompt"))

    async def look(user):
        assert _field(user, "input-prompt").value == "city lights"
        assert _field(user, "family-framepack").props["aria-pressed"] == "true"

    visit(generate.build, studio, fill)
    visit(generate.build, studio, look)


def test_a_waiting_job_is_edited_in_the_same_form(tmp_path):
    studio = idle_studio(tmp_path)
    job = studio.add(_order("a fox", steps=9))

    async def play(user):
        assert _field(user, "input-steps").value == "9"
        _field(user, "input-prompt").set_value("a wolf")
        user.find(marker="generate").click()
        await until(lambda: studio.queue.get(job.id).order.values["prompt"] == "a wolf")

    desk = visit(generate.build, studio, play, job=job.id)
    assert studio.queue.get(job.id).order.values["steps"] == 9
    assert desk.drafts == {}


def test_rows_of_the_queue_move_pause_and_go_by_buttons(tmp_path):
    studio = idle_studio(tmp_path)
    first, second = studio.add(_order("first")), studio.add(_order("second"))

    async def play(user):
        user.find(marker=f"up-{second.id}").click()
        assert [job.id for job in studio.queue.list()] == [second.id, first.id]
        user.find(marker=f"down-{second.id}").click()
        assert [job.id for job in studio.queue.list()] == [first.id, second.id]
        user.find(marker=f"pause-{first.id}").click()
        assert studio.queue.get(first.id).state == "paused"
        user.find(marker=f"go-on-{first.id}").click()
        assert studio.queue.get(first.id).state == "queued"
        user.find(marker=f"cancel-{first.id}").click()
        assert studio.queue.get(first.id).state == "cancelled"
        user.find(marker=f"retry-{first.id}").click()
        assert studio.queue.get(first.id).state == "queued"

    visit(queue.build, studio, play)


def test_what_happens_elsewhere_shows_in_the_queue(tmp_path):
    studio = idle_studio(tmp_path)

    async def play(user):
        await user.should_see("Nothing waits.")
        studio.add(_order("from the command line"))
        await user.should_see("from the command line", retries=100)

    visit(queue.build, studio, play)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "20260101-000000_cogvideox"
    folder.mkdir(parents=True)
    config = GenerateConfig(prompt="a fox in snow", steps=7, seed=3)
    (folder / "recipe.toml").write_text(to_toml(config, {"workflow": "generate", "family": "cogvideox"}))
    (folder / "events.jsonl").write_text(json.dumps(to_json(Finished((), 3.0))) + "\n")
    (folder / "clip-001_seed-3.mp4").write_bytes(b"x")
    return folder


def test_runs_stand_in_the_gallery_and_are_found_by_their_prompt(tmp_path, run):
    studio = idle_studio(tmp_path)

    async def play(user):
        await user.should_see("a fox in snow", retries=100)
        _field(user, "search").set_value("wolf")
        await user.should_see("Nothing is called so.", retries=100)

    visit(gallery.build, studio, play)


def test_the_settings_of_a_run_come_back_into_the_form(tmp_path, run):
    studio = idle_studio(tmp_path)

    async def play(user):
        await user.should_see("a fox in snow")
        user.find(marker="use-settings").click()

    desk = visit(gallery.build, studio, play, run=run.name)
    assert desk.family == "cogvideox"
    assert desk.drafts["cogvideox"] == {"prompt": "a fox in snow", "steps": 7, "seed": 3}


def test_only_names_of_runs_open_runs(tmp_path, run):
    studio = idle_studio(tmp_path)

    async def play(user):
        await user.should_see("a fox in snow", retries=100)
        await user.should_not_see(marker="run-title")

    visit(gallery.build, studio, play, run="../runs/" + run.name)
