"""The files of a clip and the events of a run, as other programs meet them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("small_tiny")
STEM = "clip-001_seed-3"


def frames_of(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_frames_can_be_had_as_pictures_that_the_clip_shows_too(generate, tmp_path):
    generate("--run", "png", "--format", "png")
    generate("--run", "mp4", "--crf", "1")
    pictures = sorted((tmp_path / "png" / STEM).iterdir())
    assert [path.name for path in pictures] == [f"frame_{index:05d}.png" for index in range(9)]
    assert not list((tmp_path / "png").glob("*.mp4"))
    for path, frame in zip(pictures, frames_of(tmp_path / "mp4" / f"{STEM}.mp4"), strict=True):
        picture = np.asarray(Image.open(path)).astype(int)
        assert picture.shape == (64, 64, 3)
        assert np.abs(picture.mean((0, 1)) - frame.mean((0, 1))).max() < 2


def test_latents_alone_can_be_had_and_shown_later(generate, reelwright, tmp_path, digests):
    assert generate("--run", "latent", "--format", "latent").code == 0
    assert list(digests(tmp_path / "latent")) == [f"{STEM}.latent.safetensors"]
    reelwright(
        "generate", "cogvideox", "--from-latent", f"latent/{STEM}.latent.safetensors", "--run", "shown"
    )
    generate("--run", "whole")
    shown, whole = (tmp_path / run / f"{STEM}.mp4" for run in ("shown", "whole"))
    assert shown.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("num_frames", "shown"), [(1, 1), (9, 9), (17, 12)])
def test_the_contact_sheet_shows_up_to_twelve_frames(generate, tmp_path, num_frames, shown):
    generate("--run", "run", "--num-frames", num_frames)
    sheet = np.asarray(Image.open(tmp_path / "run" / f"{STEM}.sheet.png")).astype(int)
    is_picture = (sheet != sheet[0, 0]).any(-1)
    columns = stretches(is_picture.mean(0) > 0.1)
    rows = stretches(is_picture[:, columns[0]].mean(1) > 0.9)
    assert sum(is_picture[row, column].mean() > 0.9 for row in rows for column in columns) == shown


def stretches(line: np.ndarray) -> list[slice]:
    """Where a line is True without a break."""
    changes = np.diff(np.concatenate([[False], line, [False]]).astype(int))
    return [slice(*ends) for ends in zip(*(np.flatnonzero(changes == sign) for sign in (1, -1)), strict=True)]


def test_no_contact_sheet_and_no_preview_are_made_where_none_is_wanted(generate, tmp_path):
    generate("--run", "run", "--no-contact-sheet", "--preview-every", "0")
    assert not list((tmp_path / "run").glob("*.png"))


def test_a_preview_appears_while_a_clip_is_made(generate, tmp_path):
    outcome = generate("--run", "run", "--steps", "4", "--preview-every", "2", "--json")
    previews = [event for event in outcome.events if event["event"] == "preview_saved"]
    assert [event["step"] for event in previews] == [2]
    with Image.open(tmp_path / previews[0]["path"]) as preview:
        assert preview.height == 64 // 8
        assert np.asarray(preview).std() > 0


def test_events_are_json_lines_in_the_order_of_the_work(generate, tmp_path):
    outcome = generate("--run", "run", "--num-videos", "2", "--json")
    assert outcome.err == ""
    events = outcome.events
    kept = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in kept] == events
    stages = [event["stage"] for event in events if event["event"] == "stage_started"]
    assert stages == ["encode prompts", "load networks", "denoise", "decode", "denoise", "decode"]
    steps = [
        (event["step"], event["total"])
        for event in events
        if event.get("stage") == "denoise" and "step" in event
    ]
    assert steps == [(1, 2), (2, 2)] * 2
    saved = [event["kind"] for event in events if event["event"] == "file_saved"]
    assert saved == ["latent", "video", "contact_sheet"] * 2
    assert [event["clip"] for event in events if event["event"] == "clip_finished"] == [1, 2]
    assert events[-1]["event"] == "finished"
    assert all(Path(tmp_path / path).is_file() for clip in events[-1]["files"] for path in clip.values())


def test_an_error_is_an_event_too(generate):
    outcome = generate("--prompt", "", "--json")
    assert outcome.code == 2
    assert outcome.events == [
        {
            "event": "failed",
            "kind": "ConfigError",
            "message": "prompt: is empty. Describe what to show, best in a few sentences.",
        }
    ]


def test_tiles_give_the_same_size_and_nearly_the_same_pictures(generate, tmp_path):
    size = ("--height", "160", "--width", "176")
    for words in (("--run", "whole"), ("--run", "tiled", "--execution.tiling")):
        assert generate(*size, *words).code == 0
    whole, tiled = (
        np.stack(frames_of(tmp_path / run / f"{STEM}.mp4")).astype(int) for run in ("whole", "tiled")
    )
    assert whole.shape == tiled.shape == (9, 160, 176, 3)
    difference = np.abs(whole - tiled).mean()
    assert 0 < difference < 0.25 * whole.std()


def test_the_side_of_a_tile_can_be_chosen(generate, tmp_path):
    """One as large as the frame is no tiling; a smaller one than the released one gives other seams."""
    size = ("--height", "160", "--width", "176", "--execution.tiling")
    for side in ("0", "48", "176"):
        assert generate(*size, "--execution.tile-size", side, "--run", side).code == 0
    assert generate(*size[:4], "--run", "whole").code == 0
    runs = ("0", "48", "176", "whole")
    frames = {run: np.stack(frames_of(tmp_path / run / f"{STEM}.mp4")) for run in runs}
    assert (frames["176"] == frames["whole"]).all()
    assert (frames["48"] != frames["0"]).any()


def test_pieces_that_would_change_the_picture_are_refused(refused):
    assert "execution.vae_chunk" in refused("--execution.vae-chunk", "4", code=2)


MARGIN = 4 << 20
"""Bytes by which the peaks of two processes may differ that decode clips of different length."""
# Memory of any size goes back to the system when it is freed, so that the peak is that of what is held.
EXACT_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
DECODE = """
import re, sys
from pathlib import Path
from reelwright.cli.main import main
words = ["generate", "cogvideox", "--from-latent", "noise.safetensors", "--quiet"]
assert main([*words, "--run", sys.argv[1], "--model", sys.argv[2]]) == 0
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_decoding_does_not_grow_with_the_number_of_frames(small_model, tmp_path):
    """Held as floats, the 160 frames that the longer clip has more would be 12 MB."""
    peaks: list[int] = []
    for num_latents in (17, 57):
        noise = torch.randn(1, 16, num_latents, 8, 12, generator=torch.Generator().manual_seed(0))
        save_file({"latent": noise}, tmp_path / "noise.safetensors")
        model = str(small_model("cogvideox"))
        command = [sys.executable, "-c", DECODE, f"run-{num_latents}", model]
        environment = {**os.environ, **EXACT_MEMORY}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.splitlines()[-1]) * 1024)
    assert peaks[1] - peaks[0] < MARGIN, peaks


def test_an_autoencoder_is_loaded_only_when_pixels_are_wanted(generate):
    outcome = generate("--steps", "1", "--format", "latent", "--no-contact-sheet", "--preview-every", "0")
    assert (outcome.code, outcome.loaded) == (0, ["T5EncoderModel", "CogVideoXTransformer"])
    outcome = generate("--steps", "1", "--preview-every", "0")
    assert outcome.loaded[-2:] == ["CogVideoXTransformer", "CogVideoXAutoencoder"]
