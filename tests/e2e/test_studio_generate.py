"""Generate, Queue and Gallery in a browser: what is filled in is made, can be held, and comes back."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from reelwright.core.config import read_toml

from .studio_pages import DONE, RUNNING, TIMEOUT, expect_state, fill_generate
from .studio_process import StudioProcess

MAPS = Path("/proc/self/maps")


def test_a_filled_form_shows_its_plan_becomes_a_clip_and_comes_back_from_the_file(
    page: Page, studio: StudioProcess
):
    fill_generate(page, prompt="a green box turns", steps="12", seed="5")
    expect(page.get_by_test_id("plan-seconds")).to_be_visible(timeout=TIMEOUT)
    page.get_by_test_id("generate").click()
    expect_state(page, DONE)
    expect(page.get_by_test_id("job-video")).to_be_visible(timeout=TIMEOUT)
    run = studio.jobs().list(("done",))[-1].run
    assert run is not None
    recipe = read_toml(run / "recipe.toml")
    assert (recipe["prompt"], recipe["steps"], recipe["seed"]) == ("a green box turns", 12, 5)

    page.get_by_test_id("reset").click()
    page.goto("/gallery")
    clip = next(run.glob("clip-*.mp4"))
    page.get_by_test_id("upload-restore").locator("input[type=file]").set_input_files(clip)
    expect(page.get_by_test_id("input-prompt")).to_have_value("a green box turns", timeout=TIMEOUT)
    expect(page.get_by_test_id("input-seed")).to_have_value("5")


def test_a_cancelled_job_stops_and_can_be_tried_again(page: Page, studio: StudioProcess):
    fill_generate(page, prompt="a long way to go", steps="1000")
    page.get_by_test_id("generate").click()
    expect_state(page, RUNNING)
    job = studio.jobs().list(("running",))[-1].id
    page.goto("/queue")
    page.get_by_test_id(f"cancel-{job}").click()
    expect(page.get_by_test_id(f"row-{job}")).to_contain_text("Cancelled", timeout=TIMEOUT)
    expect(page.get_by_test_id(f"retry-{job}")).to_be_visible()


def test_a_file_that_is_none_of_use_is_refused_in_the_page(page: Page, tmp_path: Path):
    hostile = tmp_path / "..%2f..%2fetc.png"
    hostile.write_text("#!/bin/sh\nrm -rf /\n")
    page.goto("/")
    page.get_by_test_id("family-cogvideox").click()
    page.get_by_test_id("upload-image").locator("input[type=file]").set_input_files(hostile)
    expect(page.locator(".q-notification")).to_contain_text("none that can be used", timeout=TIMEOUT)


def test_no_page_is_wider_than_a_phone_and_each_is_reached_by_its_link(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    for name in ("storyboard", "queue", "gallery", "train", "models", "generate"):
        page.get_by_test_id(f"go-{name}").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name.capitalize(), timeout=TIMEOUT)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.skipif(not MAPS.exists(), reason="the system does not list what a process has loaded")
def test_the_process_of_the_pages_has_never_loaded_torch(page: Page, studio: StudioProcess):
    for name in ("", "storyboard", "queue", "gallery", "train", "models"):
        page.goto(f"/{name}")
        expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=TIMEOUT)
    assert "torch" not in Path(f"/proc/{studio.pid}/maps").read_text(encoding="utf-8")
