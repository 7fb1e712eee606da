"""When memory runs out in an autoencoder, it works on in smaller tiles; at last the latents are safe."""

import shlex
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import Tensor

from reelwright.families.cogvideox.autoencoder import Decoder, Encoder
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.media.video_reader import probe_video, read_video

pytestmark = pytest.mark.usefixtures("small_tiny")
RUN = (
    *("--run", "run", "--seed", "3", "--steps", "1", "--prompt", "a ball"),
    *("--height", "128", "--width", "64"),
)
COGVIDEOX = ("generate", "cogvideox", *RUN, "--num-frames", "9", "--preview-every", "0")
FRAMEPACK = (
    *("generate", "framepack", *RUN, "--latent-window-size", "2", "--video-sections", "1"),
    *("--no-preview-sections", "--preview-every", "0"),
)
STEM = "clip-001_seed-3"
LATENTS = f"{STEM}.latent.safetensors"
CPU = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."
)
GPU = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
PARTS = {
    "cogvideox decodes": (COGVIDEOX, Decoder, "forward"),
    "cogvideox encodes": (COGVIDEOX, Encoder, "forward"),
    "framepack decodes": (FRAMEPACK, FramePackAutoencoder, "decode"),
    "framepack encodes": (FRAMEPACK, FramePackAutoencoder, "moments"),
}
Fitting = Callable[..., list[tuple[int, int]]]


@pytest.fixture
def fitting(monkeypatch) -> Fitting:
    """Let a method of an autoencoder run out of memory for larger tensors; tells the sizes it was given."""

    def limit(kind: type, method: str, side: int, error: Exception = CPU) -> list[tuple[int, int]]:
        sizes: list[tuple[int, int]] = []
        work = getattr(kind, method)

        def run(self: object, frames_BCFHW: Tensor, *others: object, **named: object) -> Tensor:
            sizes.append((frames_BCFHW.shape[3], frames_BCFHW.shape[4]))
            if max(sizes[-1]) > side:
                raise error
            return work(self, frames_BCFHW, *others, **named)

        monkeypatch.setattr(kind, method, run)
        return sizes

    return limit


@pytest.mark.parametrize("error", [CPU, GPU], ids=["processor", "GPU"])
@pytest.mark.parametrize("name", ["cogvideox decodes", "framepack decodes"])
def test_a_clip_that_does_not_fit_is_decoded_in_smaller_tiles(name, error, fitting, reelwright, tmp_path):
    command, kind, method = PARTS[name]
    sizes = fitting(kind, method, 8, error)
    outcome = reelwright(*command)
    assert outcome.code == 0, outcome.err
    assert sizes[0] == (16, 8)
    assert max(sizes[-1]) <= 8
    assert "tiles of 64 x 64 pixels. Seams are possible." in outcome.notices
    assert probe_video(tmp_path / "run" / f"{STEM}.mp4").num_frames == 9
    assert "tiles of 64 x 64 pixels, since memory ran out" in outcome.err


@pytest.mark.parametrize("name", ["cogvideox encodes", "framepack encodes"])
def test_a_picture_that_does_not_fit_is_encoded_in_smaller_tiles(
    name, fitting, reelwright, picture, model_of
):
    command, kind, method = PARTS[name]
    sizes = fitting(kind, method, 64)
    model = ("--model", model_of("image")) if command is COGVIDEOX else ()
    outcome = reelwright(*command, "--image", picture, *model)
    assert outcome.code == 0, outcome.err
    assert max(sizes[0]) == 128
    assert max(sizes[-1]) <= 64
    assert "tiles of 64 x 64 pixels. Seams are possible." in outcome.notices


def test_a_half_decoded_clip_begins_anew(monkeypatch, reelwright, tmp_path):
    """The second chunk of frames does not fit; then all are what small tiles give from the start."""
    forward, calls = Decoder.forward, 0

    def run(self: Decoder, latents_BCTHW: Tensor, past: object) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise CPU
        return forward(self, latents_BCTHW, past)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "forward", run)
        assert reelwright(*COGVIDEOX, "--num-frames", "17").code == 0
    tiled = ("--num-frames", "17", "--execution.tiling", "--execution.tile-size", "64", "--run", "tiled")
    assert reelwright(*COGVIDEOX, *tiled).code == 0
    begun_anew, tiled = (read_video(tmp_path / run / f"{STEM}.mp4") for run in ("run", "tiled"))
    assert torch.equal(begun_anew, tiled)


@pytest.mark.parametrize("name", ["cogvideox decodes", "framepack decodes"])
def test_where_no_tiles_fit_the_latents_are_safe_and_the_command_to_decode_them_is_told(
    name, fitting, reelwright, tmp_path, monkeypatch
):
    command, kind, method = PARTS[name]
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(len(sizes)))
    work = getattr(kind, method)
    sizes = fitting(kind, method, 0)
    outcome = reelwright(*command)
    assert outcome.code == 3, outcome.err
    assert "Traceback" not in outcome.err
    assert emptied == list(range(1, len(sizes)))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == (8, 8)
    assert [path.name for path in (tmp_path / "run").glob("*clip*")] == [LATENTS]
    (told,) = (line for line in outcome.err.splitlines() if "--from-latent" in line)
    again = shlex.split(told[told.index("reelwright generate") :])[1:]
    assert again[-3:] == ["--execution.tiling", "--execution.tile-size", "64"]
    monkeypatch.setattr(kind, method, work)
    outcome = reelwright(*again, "--run", "again")
    assert outcome.code == 0, outcome.err
    assert len(outcome.loaded) == 1
    assert (tmp_path / "again" / f"{STEM}.mp4").is_file()


def test_the_next_clip_is_decoded_in_the_tiles_that_fit(fitting, reelwright, tmp_path):
    sizes = fitting(Decoder, "forward", 8)
    assert reelwright(*COGVIDEOX, "--num-videos", "2", "--format", "png", "--num-frames", "1").code == 0
    assert sum(size == (16, 8) for size in sizes) == 1
    for seed in (3, 4):
        (png,) = (tmp_path / "run").glob(f"clip-*_seed-{seed}/frame_00000.png")
        assert "since memory ran out" in str(Image.open(png).text)


def test_other_failures_of_a_decoder_are_not_tried_again(fitting, reelwright):
    sizes = fitting(Decoder, "forward", 0, RuntimeError("a kernel is missing"))
    outcome = reelwright(*COGVIDEOX)
    assert outcome.code == 1
    assert len(sizes) == 1
    assert "a kernel is missing" in outcome.err
    assert "The latents are kept" in outcome.err
