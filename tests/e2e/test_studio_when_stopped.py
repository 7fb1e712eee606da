"""A studio that stops while a job is at work: nothing is lost, and the next studio goes on with it."""

from playwright.sync_api import Page, expect

from .studio_pages import DONE, TIMEOUT, expect_state, fill_generate
from .studio_process import StudioProcess


def test_a_job_that_is_watched_and_held_outlives_the_studio_and_finishes_under_the_next(
    page: Page, studio: StudioProcess
):
    fill_generate(page, prompt="a blue ball rolls", steps="400", seed="6")
    page.get_by_test_id("generate").click()
    expect(page.get_by_test_id("job-preview")).to_be_visible(timeout=TIMEOUT)
    job = studio.jobs().list(("running",))[-1].id
    page.get_by_test_id(f"pause-{job}").click()
    expect_state(page, "Paused")
    expect(page.get_by_test_id("job-preview")).to_be_visible()
    expect(page.get_by_test_id("job-line")).to_contain_text(" of 400")
    page.goto("about:blank")
    studio.stop()
    studio.start()
    page.goto(studio.address)
    expect_state(page, "Paused")
    page.get_by_test_id(f"go-on-{job}").click()
    expect_state(page, DONE)
    expect(page.get_by_test_id("job-video")).to_be_visible(timeout=TIMEOUT)
    assert studio.jobs().get(job).attempts == 1
