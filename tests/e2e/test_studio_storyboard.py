"""Storyboard in a browser: sections are written as cards, the video grows, one section is made again."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from reelwright.core.config import read_toml

from .studio_pages import DONE, TIMEOUT, expect_state
from .studio_process import StudioProcess

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "ball-left.png"


def write_story(page: Page) -> None:
    """Three sections of two latents each, the second twice as long, the last removed."""
    page.goto("/storyboard")
    page.get_by_test_id("upload-part-0").locator("input[type=file]").set_input_files(PICTURE)
    for number, text in enumerate(("a ball lies still", "it rolls away")):
        page.get_by_test_id(f"prompt-{number}").fill(text)
    page.get_by_test_id("remove-2").click()
    settings = page.get_by_test_id("story-settings")
    settings.get_by_test_id("fold-all").click()
    settings.get_by_test_id("fold-more").click()
    said = {"width": "64", "height": "64", "steps": "2", "seed": "7", "latent_window_size": "2"}
    for name, text in said.items():
        settings.get_by_test_id(f"input-{name}").fill(text)
    expect(page.get_by_test_id("length-1")).to_have_text("0.3 s")
    page.get_by_test_id("longer-1").click()


def test_a_fold_stays_open_while_cards_come_go_and_take_pictures(page: Page):
    page.goto("/storyboard")
    cards = page.get_by_test_id("story-cards").locator("section")
    expect(cards).not_to_have_count(0)
    count = cards.count()
    page.get_by_test_id("story-add").click()
    expect(cards).to_have_count(count + 1, timeout=TIMEOUT)
    opened = [card.locator(".nicegui-expansion-content .rw-field").first for card in cards.all()]
    page.get_by_test_id("more-0").click()
    expect(opened[0]).to_be_visible(timeout=TIMEOUT)
    page.get_by_test_id("upload-part-0").locator("input[type=file]").set_input_files(PICTURE)
    expect(page.get_by_test_id("clear-part-0")).to_be_visible(timeout=TIMEOUT)
    expect(opened[0]).to_be_visible(timeout=TIMEOUT)
    page.get_by_test_id("later-0").click()
    expect(opened[1]).to_be_visible(timeout=TIMEOUT)
    expect(opened[0]).to_be_hidden(timeout=TIMEOUT)
    page.get_by_test_id("remove-1").click()
    expect(cards).to_have_count(count, timeout=TIMEOUT)


def test_a_storyboard_grows_section_by_section_and_sections_are_made_again_beside_it_and_in_its_place(
    page: Page, studio: StudioProcess
):
    write_story(page)
    expect(page.get_by_test_id("story-sum")).to_contain_text("3 sections")
    page.get_by_test_id("story-make").click()
    page.wait_for_url(re.compile(r"storyboard\?run="))
    expect(page.get_by_test_id("job-preview")).to_be_visible(timeout=TIMEOUT)
    expect_state(page, DONE)
    shown = [page.get_by_test_id(f"shown-prompt-{index}") for index in range(3)]
    for section, text in zip(shown, ("a ball lies still", "it rolls away", "it rolls away"), strict=True):
        expect(section).to_have_text(text, timeout=TIMEOUT)
    run = studio.jobs().list(("done",))[-1].run
    assert run is not None
    before = {path.name for path in (run / "sections" / "clip-001").glob("*.safetensors")}

    page.get_by_test_id("redo-1").click()
    page.get_by_test_id("redo-prompt").fill("it jumps")
    page.get_by_test_id("redo-seed").fill("3")
    page.get_by_test_id("redo-start").click()
    page.wait_for_url(re.compile(r"-branch"))
    expect_state(page, DONE)
    expect(page.get_by_test_id("shown-prompt-1")).to_have_text("it jumps", timeout=TIMEOUT)
    branch = studio.jobs().list(("done",))[-1].run
    assert branch is not None
    after = {path.name for path in (branch / "sections" / "clip-001").glob("*.safetensors")}
    assert before < after, "the sections that stay are taken over"
    assert len(after - before) == 2, "the second and, since it saw it, the first"
    assert read_toml(run / "recipe.toml").get("section_seeds", "") == ""
    assert "it jumps" in str(read_toml(branch / "recipe.toml")["prompt"])

    was = next(branch.glob("clip-*.mp4")).read_bytes()
    page.get_by_test_id("redo-0").click()
    page.get_by_test_id("redo-prompt").fill("it lies there")
    page.get_by_test_id("redo-branch").get_by_text("In this run").click()
    page.get_by_test_id("redo-start").click()
    expect(page.get_by_test_id("shown-prompt-0")).to_have_text("it lies there", timeout=TIMEOUT)
    expect_state(page, DONE)
    assert page.url.endswith(branch.name)
    assert studio.jobs().list(("done",))[-1].run == branch
    assert next(branch.glob("clip-*.mp4")).read_bytes() != was
    expect(page.get_by_test_id("shown-prompt-1")).to_have_text("it jumps")
