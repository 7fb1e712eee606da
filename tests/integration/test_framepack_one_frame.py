"""Single frames at chosen times, made from control images."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo
from PIL import Image, ImageDraw
from torch import Tensor

from reelwright.families.framepack.conditions import Conditions
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.media.image_ops import read_png_metadata

STEM = "clip-001_seed-3"


@pytest.fixture
def frame(packed) -> Callable[..., object]:
    """Make single frames in the folder `run` as the released models know them."""
    return lambda *words: packed("--latent-window-size", "9", "--run", "run", *words)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Conditions]:
    """What the transformer was shown, call by call."""
    shown: list[Conditions] = []
    forward = FramePackTransformer.forward

    def note(self: FramePackTransformer, latents: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        shown.append(conditions)
        return forward(self, latents, timestep, conditions)

    monkeypatch.setattr(FramePackTransformer, "forward", note)
    return shown


@pytest.fixture
def hand(tmp_path) -> Path:
    """A picture of 120 x 80 pixels, whose alpha is an ellipse."""
    image = Image.radial_gradient("L").resize((120, 80))
    picture = Image.merge(
        "RGB", (image, image.transpose(Image.Transpose.ROTATE_180), image.point(lambda x: 255 - x))
    )
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse((30, 10, 100, 70), fill=255)
    picture.save(tmp_path / "hand.png")
    mask.save(tmp_path / "mask.png")
    picture.putalpha(mask)
    picture.save(tmp_path / "with-alpha.png")
    return tmp_path / "hand.png"


def cover_and_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """As specs: FramePack 3.4, written out."""
    scale = max(width / image.width, height / image.height)
    large = image.resize(
        (int(image.width * scale + 0.5), int(image.height * scale + 0.5)), Image.Resampling.LANCZOS
    )
    left, top = (large.width - width) // 2, (large.height - height) // 2
    return large.crop((left, top, left + width, top + height))


def reference_latents(image: Image.Image, mask: Image.Image | None) -> Tensor:
    """[1, 16, 1, 8, 8] of a picture for 64 x 64 pixels by the reference autoencoder, masked in numpy."""
    folder = Path(str(files("reelwright") / "assets" / "framepack-tiny"))
    autoencoder = AutoencoderKLHunyuanVideo.from_pretrained(
        folder, subfolder="vae", torch_dtype=torch.float32
    )
    pixels = np.asarray(cover_and_crop(image.convert("RGB"), 64, 64), np.float32) / 127.5 - 1
    with torch.no_grad():
        posterior = autoencoder.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None, :, None]).latent_dist
    latents = posterior.mode() * autoencoder.config.scaling_factor
    if mask is None:
        return latents
    small = cover_and_crop(mask, 64, 64).resize((8, 8), Image.Resampling.LANCZOS)
    return latents * torch.from_numpy(np.asarray(small, np.float32) / 255)


def indices(conditions: Conditions) -> Sequence[list[int] | None]:
    groups = (conditions.clean_1x, conditions.clean_2x, conditions.clean_4x)
    return [None if group is None else group.indices_BT[0].tolist() for group in groups]


def test_a_frame_without_options_is_at_nine_after_zeros(frame, seen, tmp_path):
    outcome = frame("--one-frame", "default", "--video-sections", "7", "--steps", "1")
    assert outcome.code == 0, outcome.err
    (conditions,) = seen
    assert conditions.indices_BT.tolist() == [[9]]
    assert indices(conditions) == [[0, 10], [11, 12], list(range(13, 29))]
    for group in (conditions.clean_1x, conditions.clean_2x, conditions.clean_4x):
        assert not group.latents_BCTHW.any()
    pictures = sorted(path.name for path in (tmp_path / "run" / STEM).iterdir())
    assert pictures == ["frame_00000.png"]
    assert not list((tmp_path / "run").glob("*.mp4"))


def test_several_targets_are_several_frames_and_options_leave_context_out(frame, seen, tmp_path, latents_of):
    outcome = frame("--one-frame", "target_index=1;5;9,no_post,no_2x,no_4x", "--steps", "1")
    assert outcome.code == 0, outcome.err
    assert seen[0].indices_BT.tolist() == [[1, 5, 9]]
    assert indices(seen[0]) == [[0], None, None]
    assert latents_of(at="run").shape == (1, 16, 3, 8, 8)
    frames = [tmp_path / "run" / STEM / f"frame_{number:05d}.png" for number in range(3)]
    assert len({path.read_bytes() for path in frames}) == 3
    assert "target_index=1;5;9" in read_png_metadata(frames[2])["reelwright"]


def test_control_images_are_cropped_and_encoded_as_the_reference_does(frame, seen, hand, picture):
    words = ("--control-image", hand, picture, "--one-frame", "target_index=1,control_index=0;10,no_post")
    assert frame(*words).code == 0
    assert seen[0].indices_BT.tolist() == [[1]]
    assert indices(seen[0])[0] == [0, 10]
    expected = torch.cat([reference_latents(Image.open(path), None) for path in (hand, picture)], dim=2)
    assert (seen[0].clean_1x.latents_BCTHW - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    "words",
    [("--control-image", "hand.png", "--control-mask", "mask.png"), ("--control-image", "with-alpha.png")],
)
def test_a_mask_is_cropped_like_its_image_and_erases_what_is_black(frame, seen, hand, words):
    assert frame("--one-frame", "control_index=0", *words).code == 0
    controlled = seen[0].clean_1x.latents_BCTHW[:, :, :1]
    expected = reference_latents(Image.open(hand), Image.open(hand.with_name("mask.png")))
    assert (controlled - expected).abs().max() < 1e-4
    assert (controlled == 0).any()
    assert not seen[0].clean_1x.latents_BCTHW[:, :, 1:].any()


def test_a_mask_file_goes_over_alpha_and_only_the_first_image_may_have_one(frame, seen, hand, latents_of):
    Image.new("L", (120, 80), 255).save(hand.with_name("white.png"))
    words = ("--one-frame", "control_index=0;1", "--control-image", "with-alpha.png", "with-alpha.png")
    assert frame(*words, "--control-mask", "white.png").code == 0
    kept, masked = seen[0].clean_1x.latents_BCTHW[:, :, :2].split(1, dim=2)
    assert (kept - reference_latents(Image.open(hand), None)).abs().max() < 1e-4
    assert (masked == 0).any()


def test_the_image_encoder_sees_the_image_and_not_the_controls(frame, seen, hand, picture):
    frame("--one-frame", "default", "--control-image", hand)
    frame("--one-frame", "default", "--control-image", hand, "--image", picture, "--run", "other")
    black, shown = seen[0].image_BLD, seen[-1].image_BLD
    assert not torch.equal(black, shown)
    assert torch.equal(seen[0].clean_1x.latents_BCTHW, seen[-1].clean_1x.latents_BCTHW)


def test_a_frame_can_take_the_shape_of_its_control_image(frame, latents_of, hand):
    words = ("--one-frame", "default", "--control-image", hand, "--one-frame-auto-resize")
    assert frame(*words, "--height", "96", "--width", "96").code == 0
    height, width = latents_of(at="run").shape[3:]
    assert (height * 8, width * 8) == (80, 112)


def test_frames_are_in_sections_that_can_be_resumed_and_replayed(frame, reelwright, digests, tmp_path, hand):
    words = ("--one-frame", "target_index=1;9", "--control-image", "with-alpha.png")
    assert frame(*words).code == 0
    before = digests(tmp_path / "run")
    assert reelwright("replay", f"run/{STEM}", "--run", "again").code == 0
    assert digests(tmp_path / "again") == before
    for path in (tmp_path / "run").glob("clip-*.safetensors"):
        path.unlink()
    outcome = reelwright("resume", "run", "--json")
    assert outcome.code == 0
    assert not [event for event in outcome.events if event.get("stage") == "denoise" and event.get("step")]
    assert digests(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--one-frame", "no_5x"), "one_frame: no_5x is unknown. Did you mean no_4x?"),
        (("--one-frame", "history_index=3"), "It is called control_index now."),
        (("--one-frame", "zero_post"), "zero_post no longer exists."),
        (("--one-frame", "target_index=x"), "target_index=x is not a list of whole numbers."),
        (("--one-frame", "target_index=3;3"), "lists a time twice"),
        (("--one-frame", "control_index=0;10"), "control_index has 2 numbers for 0 control images."),
        (
            ("--one-frame", "default", "--control-mask", "mask.png"),
            "control_mask: 1 masks for 0 control images.",
        ),
        (("--one-frame", "default", "--one-frame-auto-resize"), "Give --control-image."),
        (("--control-image", "hand.png"), "control_image: is for single frames."),
        (("--one-frame-auto-resize",), "one_frame_auto_resize: is for single frames."),
        (("--one-frame", "default", "--loop"), "loop: is for videos, not for single frames."),
        (("--one-frame", "default", "--end-image", "hand.png"), "end_image: is for videos"),
        (("--one-frame", "default", "--section-seeds", "0:3"), "section_seeds: is for videos"),
    ],
)
def test_options_that_do_not_fit_are_refused(packed, refused, hand, words, said):
    assert said in refused(*words, "--run", "run", code=2, command=packed)


def test_missing_and_broken_control_images_are_named(packed, refused, hand):
    one = ("--one-frame", "default", "--run", "run", "--control-image")
    assert "nowhere.png: there is no such file" in refused(*one, "nowhere.png", code=1, command=packed)
    hand.with_name("mask.png").write_text("no picture")
    said = refused(*one, "hand.png", "--control-mask", "mask.png", code=1, command=packed)
    assert "mask.png" in said


def test_f1_is_said_to_be_a_poor_choice(frame):
    assert "expect little of F1" in frame("--one-frame", "default", "--direction", "forward").notices
