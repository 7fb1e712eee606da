"""Train and Models in a browser: data is checked and encoded, curves grow, a LoRA is looked into."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from .studio_pages import DONE, TIMEOUT, expect_state
from .studio_process import StudioProcess


def test_clips_are_checked_encoded_and_trained_on_while_the_curve_moves(
    page: Page, studio: StudioProcess, clips: Path
):
    page.goto("/train")
    page.get_by_test_id("family-cogvideox").click()
    data = page.get_by_test_id("train-data")
    data.get_by_test_id("input-dataset").fill(str(clips / "dataset.toml"))
    page.get_by_test_id("data-check").click()
    expect(page.get_by_test_id("data-sheet")).to_be_visible(timeout=TIMEOUT)
    expect(page.get_by_test_id("data-found")).to_contain_text("training items in an epoch")
    page.get_by_test_id("data-cache").click()
    for kind in ("latents", "text"):
        expect(page.get_by_test_id(f"cache-{kind}")).to_have_text("Done", timeout=TIMEOUT)

    form = page.get_by_test_id("train-form")
    form.get_by_test_id("input-name").fill("ball")
    form.get_by_test_id("input-steps").fill("20")
    form.get_by_test_id("input-validation.dataset").fill(str(clips / "dataset.toml"))
    form.get_by_test_id("input-validation.every_steps").fill("5")
    page.get_by_test_id("train-start").click()
    page.wait_for_url(re.compile(r"train\?run="))
    expect(page.get_by_test_id("number-step")).to_have_text("20 / 20", timeout=TIMEOUT)
    expect_state(page, DONE)
    drawn = page.get_by_test_id("loss-chart").locator("svg path[stroke]")
    assert drawn.count() >= 3, "loss, smoothed loss and validation"
    expect(page.get_by_test_id("saved")).to_contain_text("ball.safetensors")
    page.get_by_test_id("use-lora").click()
    expect(page.get_by_test_id("generate")).to_be_visible(timeout=TIMEOUT)
    weights = next(studio.runs.glob("*_ball/ball.safetensors"))
    look_into(page, weights)


def look_into(page: Page, weights: Path) -> None:
    """Models are listed, and a LoRA is inspected and converted."""
    page.goto("/models")
    expect(page.get_by_test_id("state-cogvideox-tiny")).to_have_text("Here", timeout=TIMEOUT)
    drop = page.get_by_test_id("upload-lora").locator("input[type=file]")
    drop.set_input_files(weights)
    page.get_by_test_id("lora-inspect").click()
    told = page.get_by_test_id("lora-told")
    expect(told).to_contain_text("rank", timeout=TIMEOUT)
    page.get_by_test_id("lora-convert").click()
    expect(told).to_contain_text("Written", timeout=TIMEOUT)
