"""Takes the pictures of docs/how-to/studio.md from a real studio: `python take_screenshots.py NAME`."""

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from studio_process import PATIENCE, StudioProcess, find_chromium

from reelwright.jobs.order import Order

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 115_000
SIZE = {"width": 1280, "height": 860}


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        studio = StudioProcess(Path(folder)).start()
        try:
            prepare(studio)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
                for name, show in PAGES.items():
                    if not names or name in names:
                        page = browser.new_page(viewport=SIZE, base_url=studio.address)
                        page.set_default_timeout(PATIENCE * 1000)
                        show(page)
                        save(name, page)
                        page.close()
                browser.close()
        finally:
            studio.cancel_all()
            studio.stop()


def prepare(studio: StudioProcess) -> None:
    """Some clips, a training, and jobs that wait."""
    clips = studio.folder / "clips"
    small = ("--count", "4", "--width", "96", "--height", "96", "--num-frames", "17", "--seed", "3")
    run_line("dataset", "synth", str(clips), *small)
    dataset = str(clips / "dataset.toml")
    for kind in ("latents", "text"):
        run_line("cache", kind, "cogvideox", "--dataset", dataset)
    for number, prompt in enumerate(PROMPTS):
        add(studio, "generate", {"prompt": prompt, "steps": 30, "guidance_scale": 3.0, "seed": 7 + number})
    train = {"dataset": dataset, "name": "shapes", "steps": 240, "seed": 1}
    validation = {"dataset": dataset, "every_steps": 20}
    optimizer = {"learning_rate": 1e-3}
    add(studio, "train", {**train, "validation": validation, "optimizer": optimizer}, run="shapes")
    while studio.jobs().list(("queued", "running")):
        time.sleep(1.0)


def add(studio: StudioProcess, workflow: str, values: Mapping[str, Any], run: str = "") -> str:
    folder = studio.runs / run if run else None
    values = {"out": str(studio.runs), **values}
    return studio.jobs().add(Order(workflow=workflow, family="cogvideox", values=values), run=folder).id


def show_generate(page: Page) -> None:
    page.goto("/gallery")
    page.locator("article.rw-run .open").last.click()
    page.get_by_test_id("use-settings").click()
    page.get_by_test_id("plan-seconds").wait_for()
    page.get_by_test_id("generate").click()
    page.get_by_test_id("job-video").wait_for()


def show_storyboard(page: Page) -> None:
    page.goto("/storyboard")
    for number, name in ((0, "ball-left.png"), (2, "ball-right.png")):
        page.get_by_test_id(f"upload-part-{number}").locator("input[type=file]").set_input_files(
            IMAGES / name
        )
    for number, text in enumerate(STORY):
        page.get_by_test_id(f"prompt-{number}").fill(text)
    page.get_by_test_id("longer-1").click()
    page.get_by_test_id("plan-seconds").wait_for()


def show_queue(page: Page) -> None:
    page.goto("/")
    for prompt in ("a red ball moves right on grass", "a white star falls at night", "a blue square rises"):
        page.get_by_test_id("input-prompt").fill(prompt)
        page.get_by_test_id("input-steps").fill("600")
        page.wait_for_timeout(600)
        page.get_by_test_id("generate").click()
        page.get_by_text("In the queue").last.wait_for()
    page.goto("/queue")
    page.locator(".rw-job.running").wait_for()


def show_gallery(page: Page) -> None:
    page.goto("/gallery")
    page.locator("article.rw-run").nth(len(PROMPTS) - 1).wait_for()


def show_train(page: Page) -> None:
    page.goto("/train?run=shapes")
    page.locator("[data-testid=loss-chart] svg path").nth(3).wait_for(state="attached")


def show_models(page: Page) -> None:
    page.goto("/models")
    page.locator("[data-testid^=state-]").first.wait_for()


PROMPTS = (
    "a red heart moves right over the sea",
    "a green cross stands still in the snow",
    "a yellow star moves left at night",
)
STORY = (
    "a red ball stands still on sand",
    "a red ball moves right on sand",
    "a red ball stands still on sand",
)
PAGES: Mapping[str, Callable[[Page], None]] = {
    "generate": show_generate,
    "storyboard": show_storyboard,
    "gallery": show_gallery,
    "train": show_train,
    "models": show_models,
    "queue": show_queue,
}


def save(name: str, page: Page) -> None:
    """The window as a small PNG: few colors, and as many pixels as then fit."""
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(2500)
    page.evaluate("document.querySelectorAll('video').forEach(each => each.pause())")
    whole = picture_of(page)
    page.add_style_tag(content="video, .rw-frame img, .rw-thumb img { visibility: hidden }")
    colors = palette(whole, picture_of(page))
    for width in (1280, 1120, 1000, 880, 760):
        small = whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        colored = small.quantize(palette=colors, dither=Image.Dither.NONE)
        colored.save(content, "PNG", optimize=True)
        if content.tell() <= LARGEST:
            break
    (IMAGES / f"studio-{name}.png").write_bytes(content.getvalue())


def picture_of(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def palette(whole: Image.Image, plain: Image.Image) -> Image.Image:
    """Colors of the page itself, which clips would crowd out, and colors of the clips."""
    found = [
        (picture.quantize(count).getpalette() or [])[: 3 * count]
        for picture, count in ((plain, 144), (whole, 112))
    ]
    colors = Image.new("P", (1, 1))
    colors.putpalette([value for each in found for value in each])
    return colors


def run_line(*words: str) -> None:
    subprocess.run([Path(sys.executable).parent / "reelwright", *words, "--quiet"], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
