"""Images and clips as they come: odd ones are used with a notice, broken ones refused before loading."""

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

STEM = "clip-001_seed-3"


def huge_png() -> bytes:
    """A few hundred bytes that claim to be 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def from_image(reelwright, model_of):
    def run(*words: object):
        small = ("--steps", "1", "--num-frames", "1", "--seed", "3", "--prompt", "a red ball")
        return reelwright("generate", "cogvideox", "--model", model_of("image"), *small, *words)

    return run


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "is not a picture that can be read"),
        (b"", "is empty (0 bytes)"),
        (huge_png(), "exceeds limit"),
        (None, "there is no such file"),
    ],
)
def test_what_is_no_picture_is_refused(from_image, refused, tmp_path, content: bytes | None, reason: str):
    if content is not None:
        (tmp_path / "image.png").write_bytes(content)
    said = refused("--image", "image.png", "--run", "run", code=1, command=from_image)
    assert "image.png: " in said
    assert reason in said


def test_a_picture_that_is_cut_short_is_refused(from_image, refused, tmp_path, picture):
    content = picture.read_bytes()
    (tmp_path / "image.png").write_bytes(content[: len(content) // 2])
    said = refused("--image", "image.png", "--run", "run", code=1, command=from_image)
    assert "damaged or cut short" in said


def test_alpha_and_cmyk_are_converted_with_one_notice_each(from_image, tmp_path, picture):
    image = Image.open(picture)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.putalpha(100)
    image.save(tmp_path / "alpha.png")
    outcome = from_image("--image", "alpha.png", "--run", "alpha")
    assert outcome.code == 0
    assert "note: alpha.png: transparent parts were laid over white." in outcome.notices
    outcome = from_image("--image", "cmyk.jpg", "--run", "cmyk")
    assert outcome.code == 0
    assert "note: cmyk.jpg: converted from CMYK to RGB" in outcome.notices


def test_a_picture_with_its_camera_on_the_side_is_the_picture_turned(
    from_image, tmp_path, picture, digests: Callable[[Path], dict[str, str]]
):
    image = Image.open(picture)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright"
    image.save(tmp_path / "photo.png", exif=exif)
    image.rotate(-90, expand=True).save(tmp_path / "turned.png")
    for name in ("photo", "turned"):
        outcome = from_image("--image", f"{name}.png", "--no-metadata", "--run", name)
        assert outcome.code == 0
        assert ("turned upright" in outcome.notices) == (name == "photo")

    def made(run: str) -> dict[str, str]:
        return {
            name: made for name, made in digests(tmp_path / run).items() if not name.endswith(".record.json")
        }

    assert made("photo") == made("turned")


def test_inputs_that_the_model_has_no_use_for_are_refused(generate, refused, model_of, picture, clip_of):
    said = refused("--image", picture, "--run", "run", code=2)
    assert "tiny takes text alone, or a clip with --video" in said
    model = ("--model", model_of("image"), "--run", "run")
    assert "image: is missing." in refused(*model, code=2)
    assert "video: this model has no input for it." in refused(
        *model, "--image", picture, "--video", "no.mp4", code=2
    )
    assert "end_image: needs an --image" in refused(*model, "--end-image", picture, code=2)
    assert "control_video: is missing" in refused("--model", model_of("control"), "--run", "run", code=2)


def test_a_clip_shorter_than_asked_for_is_used_as_far_as_it_goes(generate, refused, clip_of):
    outcome = generate("--video", clip_of(5), "--run", "run")
    assert outcome.code == 0
    assert "has 5 frames at 8 per second, 9 were asked for. Ask for 1 or fewer. Using 1." in outcome.notices
    said = refused("--video", clip_of(5), "--strict", "--run", "strict", code=2)
    assert "has 5 frames at 8 per second, 9 were asked for" in said


def test_no_more_frames_are_made_than_the_clip_has_whatever_was_asked_for(generate, clip_of):
    """The length nearest to 15 is 17, which a clip of 15 frames does not have."""
    outcome = generate("--video", clip_of(15), "--num-frames", "15", "--run", "run")
    assert outcome.code == 0
    assert "has 15 frames" in outcome.notices
    assert "Using 9." in outcome.notices


def test_a_clip_gives_its_own_length_where_none_is_asked_for(reelwright, clip_of):
    words = ("--height", "64", "--width", "64", "--steps", "1", "--seed", "3", "--prompt", "a ball")
    outcome = reelwright("generate", "cogvideox", *words, "--video", clip_of(15), "--run", "run")
    assert outcome.code == 0
    assert "has 15 frames at 8 per second. Using 9." in outcome.notices


def test_a_clip_of_variable_rate_is_read_by_its_times(generate, tmp_path, digests):
    """Frames 0, 1, 2, ... shown for 1/8 s or 1/4 s give the clip in which the latter are repeated."""
    levels = [0, 30, 30, 60, 90, 90, 120, 150, 180]
    shown = {0: 0, 125: 30, 375: 60, 500: 90, 750: 120, 875: 150, 1000: 180}
    write_gray(tmp_path / "variable.mkv", shown)
    write_gray(tmp_path / "steady.mkv", {125 * index: level for index, level in enumerate(levels)})
    for name in ("variable", "steady"):
        outcome = generate("--video", f"{name}.mkv", "--no-metadata", "--run", name)
        assert outcome.code == 0, outcome.err
    assert digests(tmp_path / "variable")[f"{STEM}.mp4"] == digests(tmp_path / "steady")[f"{STEM}.mp4"]


def write_gray(path: Path, levels: dict[int, int]) -> None:
    """A lossless clip of plain gray frames, by the millisecond at which each appears."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for moment, level in levels.items():
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv444p")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_broken_clips_are_refused(refused, tmp_path, clip_of, picture):
    content = clip_of(17).read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("not a clip")
    (tmp_path / "empty.mp4").touch()
    assert "cut short: only" in refused("--video", "half.mp4", "--num-frames", "17", "--run", "run", code=1)
    assert "cannot be opened as a video" in refused("--video", "text.mp4", "--run", "run", code=1)
    assert "is empty" in refused("--video", "empty.mp4", "--run", "run", code=1)
    assert "no such file" in refused("--video", "missing.mp4", "--run", "run", code=1)


def test_sound_alone_is_refused(refused, tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        sound.rate = 16_000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert "has no video track" in refused("--video", "song.mp4", "--run", "run", code=1)
