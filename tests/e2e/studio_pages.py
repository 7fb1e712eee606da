"""What tests of several pages do in the browser."""

import re

from playwright.sync_api import Page, expect

from .studio_process import PATIENCE

TIMEOUT = PATIENCE * 1000
DONE, RUNNING = re.compile("Done"), re.compile("Running")


def fill_generate(page: Page, **fields: str) -> None:
    """Open Generate with the family of which the built-in model is trained, and type."""
    page.goto("/")
    page.get_by_test_id("family-cogvideox").click()
    for name, text in fields.items():
        page.get_by_test_id(f"input-{name}").fill(text)


def expect_state(page: Page, text: str | re.Pattern[str]) -> None:
    """Wait until the job on the page is in this state."""
    expect(page.get_by_test_id("job-state")).to_have_text(text, timeout=TIMEOUT)
