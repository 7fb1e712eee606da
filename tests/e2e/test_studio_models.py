"""Models in a browser: what is here is listed and read, and damage is told."""

import hashlib
import shutil
from pathlib import Path

from playwright.sync_api import Page, expect

import reelwright

from .studio_pages import DONE, TIMEOUT
from .studio_process import StudioProcess

TINY = Path(reelwright.__file__).parent / "assets" / "cogvideox-tiny"
WEIGHTS = Path("vae", "diffusion_pytorch_model.safetensors")


def copy_with_a_flipped_bit(folder: Path) -> Path:
    """A model as a download leaves it, with the hash of a file beside it, and one bit of that file wrong."""
    shutil.copytree(TINY, folder)
    content = bytearray((folder / WEIGHTS).read_bytes())
    note = folder / ".cache/huggingface/download" / f"{WEIGHTS}.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"{'0' * 40}\n{hashlib.sha256(content).hexdigest()}\n1700000000.0\n")
    content[-9] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    return folder


def test_a_sound_model_is_called_so_and_of_a_damaged_one_the_file_is_named(page: Page, studio: StudioProcess):
    mine = copy_with_a_flipped_bit(studio.folder / "mine")
    page.goto("/models")
    expect(page.get_by_test_id("state-cogvideox-tiny")).to_have_text("Here", timeout=TIMEOUT)
    page.get_by_test_id("verify-cogvideox-tiny").click()
    expect(page.get_by_test_id("verified-cogvideox-tiny")).to_have_text(DONE, timeout=TIMEOUT)
    sound = page.get_by_test_id("found-cogvideox-tiny")
    expect(sound).to_contain_text("sound:")
    expect(sound.locator(".rw-alert")).to_have_count(0)

    page.get_by_test_id("own-path").fill(str(mine))
    page.get_by_test_id("verify-own").click()
    expect(page.get_by_test_id("verified-own")).to_have_text("Damaged", timeout=TIMEOUT)
    alerts = page.get_by_test_id("found-own").locator(".rw-alert")
    expect(alerts).to_have_count(1)
    expect(alerts).to_contain_text(str(mine / WEIGHTS))
    expect(page.get_by_test_id("found-own")).to_contain_text("1 damaged")
