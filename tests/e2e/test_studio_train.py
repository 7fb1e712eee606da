"""Train in a browser: data is checked and encoded, a training is stopped and goes on, its LoRA is used."""

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from reelwright.jobs.job import run_workflow
from reelwright.jobs.order import Order, arguments_of

from .studio_pages import DONE, TIMEOUT, expect_state
from .studio_process import StudioProcess

KINDS = ("latents", "text")


@pytest.fixture
def encoded(clips: Path) -> Path:
    """The data set of those clips, with its caches."""
    dataset = clips / "dataset.toml"
    for kind in KINDS:
        values, options = {"dataset": str(dataset)}, {"kind": kind}
        order = Order(workflow="cache", family="cogvideox", values=values, options=options)
        assert run_workflow("cache", arguments_of(order), []) == 0
    return dataset


def open_train(page: Page, dataset: Path) -> None:
    page.goto("/train")
    page.get_by_test_id("family-cogvideox").click()
    page.get_by_test_id("train-data").get_by_test_id("input-dataset").fill(str(dataset))


def start_training(page: Page, **fields: str) -> None:
    form = page.get_by_test_id("train-form")
    for name, text in fields.items():
        form.get_by_test_id(f"input-{name}").fill(text)
    page.get_by_test_id("train-start").click()


def hold_early(studio: StudioProcess) -> Path:
    """Have the next job hold at the first step that its worker does; its run folder.

    A training of so few steps would else be over before a browser that has much to do shows its buttons.
    """
    while not (running := studio.jobs().list(("running",))):
        time.sleep(0.05)
    run = studio.jobs().pause(running[-1].id).run
    assert run is not None
    return run


def steps_of(run: Path) -> list[int]:
    """The steps that a run tells of its loss, in the order of its file."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "loss" in line]


def test_clips_are_checked_and_encoded(page: Page, clips: Path):
    open_train(page, clips / "dataset.toml")
    page.get_by_test_id("data-check").click()
    expect(page.get_by_test_id("data-sheet")).to_be_visible(timeout=TIMEOUT)
    expect(page.get_by_test_id("data-found")).to_contain_text("training items in an epoch")
    page.get_by_test_id("data-cache").click()
    for kind in KINDS:
        expect(page.get_by_test_id(f"cache-{kind}")).to_have_text("Done", timeout=TIMEOUT)


def test_a_training_that_is_stopped_goes_on_to_its_last_step_while_curves_and_samples_grow(
    page: Page, studio: StudioProcess, encoded: Path
):
    prompts = studio.folder / "prompts.txt"
    prompts.write_text("a ball --w 32 --h 32 --f 9 --s 1\n")
    watched = {"samples.prompts": str(prompts), "validation.dataset": str(encoded)}
    every = {"samples.every_steps": "20", "validation.every_steps": "5"}
    open_train(page, encoded)
    start_training(page, name="ball", steps="20", **watched, **every)
    run = hold_early(studio)
    page.wait_for_url(re.compile(r"train\?run="))
    expect_state(page, "Paused")
    page.get_by_test_id("train-stop").click()
    expect(page.get_by_test_id("train-go-on")).to_be_visible(timeout=TIMEOUT)
    stopped_at = steps_of(run)[-1]
    assert 0 < stopped_at < 20
    expect(page.get_by_test_id("number-step")).to_have_text(f"{stopped_at} / 20")
    expect(page.get_by_test_id("saved")).to_contain_text("ball")
    assert [path.name for path in (run / "states").iterdir()] == [f"step-{stopped_at:08d}"]

    page.get_by_test_id("train-go-on").click()
    expect(page.get_by_test_id("number-step")).to_have_text("20 / 20", timeout=TIMEOUT)
    expect_state(page, DONE)
    assert page.url.endswith(run.name)
    assert list(studio.runs.glob("*_ball*")) == [run], "it has gone on in its own folder"
    assert steps_of(run) == [*range(1, 21)], "no step is done twice"
    drawn = page.get_by_test_id("loss-chart").locator("svg path[stroke]")
    assert drawn.count() >= 3, "loss, smoothed loss and validation"
    expect_picture(page, "sample-0")
    expect_picture(page, "sample-20")
    expect(page.get_by_test_id("saved")).to_contain_text("ball.safetensors")
    page.get_by_test_id("use-lora").click()
    expect(page.get_by_test_id("generate")).to_be_visible(timeout=TIMEOUT)
    look_into(page, run / "ball.safetensors")


def expect_picture(page: Page, name: str) -> None:
    """Wait until a picture has come, of more than a few pixels."""
    picture = page.get_by_test_id(name).locator("img")
    expect(picture).to_be_visible(timeout=TIMEOUT)
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 32


def look_into(page: Page, weights: Path) -> None:
    """A LoRA is inspected, and converted."""
    page.goto("/models")
    page.get_by_test_id("upload-lora").locator("input[type=file]").set_input_files(weights)
    page.get_by_test_id("lora-inspect").click()
    told = page.get_by_test_id("lora-told")
    expect(told).to_contain_text("rank", timeout=TIMEOUT)
    page.get_by_test_id("lora-convert").click()
    expect(told).to_contain_text("Written", timeout=TIMEOUT)
