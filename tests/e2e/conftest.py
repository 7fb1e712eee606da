"""One browser and one studio for all tests of this folder; each test has a window of its own.

Both are gone after them: Playwright keeps an event loop running, beside which no other can be run.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from .studio_process import PATIENCE, StudioProcess, find_chromium

_SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All in one of the test processes: a second studio and browser would cost more than they win."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip(
            "NO BROWSER: the pages were not tried. Install Chromium (apt install chromium), or name one in"
            " REELWRIGHT_CHROMIUM."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_SWITCHES])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def studio(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    studio = StudioProcess(tmp_path_factory.mktemp("studio")).start()
    yield studio
    studio.cancel_all()
    studio.stop()


@pytest.fixture
def page(browser: Browser, studio: StudioProcess) -> Iterator[Page]:
    """A window in which nothing may go wrong unseen, and from which nothing may go out."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=studio.address)
    context.set_default_timeout(PATIENCE * 1000)
    page, troubles = context.new_page(), list[str]()

    def watch_console(message: ConsoleMessage) -> None:
        if message.type == "error" and "ERR_CONNECTION" not in message.text:
            troubles.append(f"console: {message.text}")

    def watch_requests(request: Request) -> None:
        if not request.url.startswith((*studio.addresses, "data:", "blob:")):
            troubles.append(f"request: {request.url}")

    page.on("console", watch_console)
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    context.on("request", watch_requests)
    yield page
    context.close()
    assert troubles == []


@pytest.fixture(scope="package")
def clips(studio: StudioProcess) -> Path:
    """A data set of three small drawn clips, in a folder that the studio may read."""
    from reelwright.jobs.job import run_workflow
    from reelwright.jobs.order import Order, arguments_of

    folder = studio.folder / "clips"
    values = {"count": 3, "width": 32, "height": 32, "num_frames": 33, "seed": 3}
    order = Order(workflow="synth", values=values, options={"out": str(folder)})
    assert run_workflow("synth", arguments_of(order), []) == 0
    return folder
