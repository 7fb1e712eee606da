"""What buttons of Train and Models set going, without a browser and without a worker."""

from pathlib import Path

import pytest

pytest.importorskip("nicegui", reason="the pages need NiceGUI: install reelwright[studio]")

from reelwright.jobs.order import Order
from reelwright.web.pages import models, train
from reelwright.web.studio import Studio

from .studio_pages import idle_studio, until, visit


def held_training(studio: Studio, run: Path) -> str:
    """A job that holds after its third step of twenty."""
    run.mkdir()
    (run / "recipe.toml").write_text('workflow = "train"\nfamily = "cogvideox"\nsteps = 20\nseed = 3\n')
    (run / "metrics.jsonl").write_text('{"step": 3, "loss": 0.5}\n')
    order = Order(workflow="train", family="cogvideox", values={"steps": 20, "seed": 3, "run": str(run)})
    job = studio.queue.add(order, run=run).id
    studio.queue.claim("a test")
    studio.queue.pause(job)
    studio.queue.hold(job)
    return job


def test_a_held_training_goes_on_to_its_end_by_stop_and_a_stopped_one_in_its_folder_by_go_on(tmp_path: Path):
    studio = idle_studio(tmp_path)
    run = studio.runs / "ball"
    job = held_training(studio, run)

    async def play(user):
        await user.should_see("3 / 20", retries=100)
        user.find(marker="train-stop").click()
        await until(lambda: studio.queue.get(job).state == "running")
        assert (run / "stop").exists(), "which the training looks for after each step"
        studio.queue.finish(job, "done")
        await user.should_see(marker="train-go-on", retries=100)
        user.find(marker="train-go-on").click()
        await until(lambda: len(studio.queue.list()) == 2)

    visit(train.build, studio, play, run="ball")
    again = studio.queue.list()[-1]
    assert (again.run, again.order.workflow, again.state) == (run, "train", "queued")
    assert (again.order.values["steps"], again.order.values["seed"]) == (20, 3)
    assert not (run / "stop").exists(), "the old wish would end it after one step"


def test_of_a_damaged_model_of_ones_own_the_file_is_named_and_a_path_elsewhere_is_refused(tmp_path: Path):
    studio = idle_studio(tmp_path)
    mine = studio.runs / "mine"
    mine.mkdir()

    async def play(user):
        user.find(marker="own-path").type("/etc")
        user.find(marker="verify-own").click()
        await user.should_see("is not among the runs and uploads", retries=100)
        user.find(marker="own-path").clear().type(str(mine))
        user.find(marker="verify-own").click()
        await until(studio.queue.list)
        job = studio.queue.claim("a test")
        assert job is not None
        assert job.order.options == {"action": "verify", "family": "", "model": str(mine)}
        studio.queue.folder_of(job.id).mkdir(parents=True)
        log = studio.queue.log_of(job.id)
        found = {"item": str(mine), "kind": "vae", "message": f"{mine}/vae: is cut.", "severity": "error"}
        log.append({"event": "item_finding", **found})
        log.append({"event": "facts", "facts": {"vae": "damaged"}})
        log.append({"event": "failed", "kind": "UserError", "message": "1 damaged, listed above."})
        studio.queue.finish(job.id, "failed", "1 damaged, listed above.")
        for text in ("Damaged", f"{mine}/vae: is cut.", "1 damaged, listed above."):
            await user.should_see(text, retries=100)

    visit(models.build, studio, play)
