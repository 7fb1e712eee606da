"""What is written is read back with PyAV and Pillow directly, not with the package's own reader."""

import hashlib
import json
import os
import subprocess
import sys
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.core.errors import FileError
from reelwright.media.png_sequence import write_png_sequence
from reelwright.media.video_reader import read_mp4_metadata
from reelwright.media.video_writer import write_mp4


def moving_frames(count=12, width=64, height=48):
    """Gradients that shift from frame to frame, uint8 video_FHWC."""
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([(x * 3 + 5 * n) % 256, y * 5 % 256, (x + y + 9 * n) % 256], -1) for n in range(count)]
    return torch.from_numpy(np.stack(frames).astype(np.uint8))


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def stream_facts(path, read):
    with av.open(str(path)) as container:
        return read(container.streams.video[0])


def test_every_frame_is_there_in_order_and_close_to_what_went_in(tmp_path):
    frames = moving_frames(30) // 2 + 60
    write_mp4(tmp_path / "a.mp4", frames.split(7), fps=16)
    found = decoded(tmp_path / "a.mp4")
    assert len(found) == 30
    errors = [[np.abs(f.astype(int) - frame.numpy().astype(int)).mean() for frame in frames] for f in found]
    assert [int(np.argmin(row)) for row in errors] == list(range(30))


@pytest.mark.parametrize("height", [64, 720])
def test_flat_colors_survive_in_small_and_large_frames(tmp_path, height):
    colors = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (255, 255, 255), (0, 0, 0), (190, 120, 60)]
    frames = torch.zeros(2, height, 64 * len(colors), 3, dtype=torch.uint8)
    for index, color in enumerate(colors):
        frames[:, :, 64 * index : 64 * (index + 1)] = torch.tensor(color, dtype=torch.uint8)
    write_mp4(tmp_path / "a.mp4", [frames], fps=8)
    found = decoded(tmp_path / "a.mp4")[0]
    for index, color in enumerate(colors):
        block = found[16:48, 64 * index + 16 : 64 * index + 48].reshape(-1, 3).mean(0)
        assert np.abs(block - color).max() <= 3


def test_the_colors_are_tagged_as_bt709_limited_range(tmp_path):
    write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=8)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
    assert frame.format.name == "yuv420p"


@pytest.mark.parametrize(
    ("fps", "rate"), [(8, 8), (16.0, 16), (12.5, Fraction(25, 2)), (23.976, 23.976), (30000 / 1001, 29.97003)]
)
def test_whole_and_fractional_rates_are_kept(tmp_path, fps, rate):
    write_mp4(tmp_path / "a.mp4", [moving_frames(24)], fps=fps)
    assert float(stream_facts(tmp_path / "a.mp4", lambda s: s.average_rate)) == pytest.approx(
        float(rate), rel=1e-6
    )
    assert stream_facts(tmp_path / "a.mp4", lambda s: s.frames) == 24
    seconds = stream_facts(tmp_path / "a.mp4", lambda s: float(s.duration * s.time_base))
    assert seconds == pytest.approx(24 / fps, rel=1e-3)


def test_a_single_frame_is_a_clip(tmp_path):
    write_mp4(tmp_path / "a.mp4", [moving_frames(1)], fps=8)
    assert len(decoded(tmp_path / "a.mp4")) == 1


def test_a_lower_crf_spends_more_bytes_on_less_error(tmp_path):
    noise = torch.randint(
        0, 256, (8, 48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for crf in (5, 35):
        write_mp4(tmp_path / f"{crf}.mp4", [noise], fps=8, crf=crf)
    assert (tmp_path / "5.mp4").stat().st_size > 2 * (tmp_path / "35.mp4").stat().st_size


WRITE_IN_A_PROCESS = """
import os, sys, torch
os.sched_setaffinity(0, {int(core) for core in sys.argv[2].split(",")})
from pathlib import Path
from reelwright.media.video_writer import write_mp4
torch.manual_seed(0)
noise = torch.randint(0, 256, (40, 256, 256, 3), dtype=torch.uint8)
write_mp4(Path(sys.argv[1]), noise.split(int(sys.argv[3])), fps=16, metadata={"reelwright": "x" * 5000})
"""


def test_the_bytes_are_the_same_in_every_process_on_any_cores_and_in_any_chunks(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    for name, allowed, chunk in (("one.mp4", cores[:1], "1"), ("all.mp4", cores, "40")):
        arguments = [str(tmp_path / name), ",".join(map(str, allowed)), chunk]
        subprocess.run([sys.executable, "-c", WRITE_IN_A_PROCESS, *arguments], check=True)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert len(digests) == 1


@pytest.mark.parametrize(("width", "height"), [(80, 80), (112, 112), (144, 144), (240, 160)])
def test_the_bytes_do_not_depend_on_what_was_in_memory_before(tmp_path, width, height):
    frames = moving_frames(17, width, height)
    generator = np.random.default_rng(0)
    digests = set()
    for _ in range(12):
        used_and_freed = [generator.bytes(size) for size in generator.integers(1000, 400_000, 8)]
        del used_and_freed
        write_mp4(tmp_path / "a.mp4", [frames], fps=8)
        digests.add(hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_file_names_neither_encoder_nor_version(tmp_path):
    write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=8)
    content = (tmp_path / "a.mp4").read_bytes()
    assert not any(word in content for word in (b"x264", b"Lavf", b"Lavc"))


def test_the_index_comes_before_the_pictures_for_playing_while_loading(tmp_path):
    write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=8)
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


TEXTS = {
    "reelwright": json.dumps(
        {"prompt": "a \"cat\"\n– 猫 😀 \\ 'x' = ; #", "n": list(range(20_000))}, ensure_ascii=False
    ),
    "title": "A cat",
    "comment": "line one\nline 'two'\ttab",
    "a key with spaces; and = signs": " leading and trailing ",
}


def test_texts_come_back_unchanged_and_pyav_reads_them_too(tmp_path):
    assert len(TEXTS["reelwright"]) > 100_000
    write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=8, metadata=TEXTS)
    assert read_mp4_metadata(tmp_path / "a.mp4") == TEXTS
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["reelwright"] == TEXTS["reelwright"]


def test_texts_do_not_change_the_pictures(tmp_path):
    write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=8, metadata=TEXTS)
    write_mp4(tmp_path / "b.mp4", [moving_frames()], fps=8)
    assert read_mp4_metadata(tmp_path / "b.mp4") == {}
    assert all(
        (a == b).all() for a, b in zip(decoded(tmp_path / "a.mp4"), decoded(tmp_path / "b.mp4"), strict=True)
    )


def test_reading_texts_of_what_is_no_clip_is_a_file_error(tmp_path):
    (tmp_path / "a.mp4").write_text("hello")
    with pytest.raises(FileError, match="cannot be opened"):
        read_mp4_metadata(tmp_path / "a.mp4")


def failing_after(frames):
    yield frames
    raise RuntimeError("the decoder failed")


@pytest.mark.parametrize("write", [lambda p, f: write_mp4(p, f, fps=8), write_png_sequence])
def test_when_making_frames_fails_nothing_is_left_and_the_old_output_stays(tmp_path, write):
    path = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="the decoder failed"):
        write(path, failing_after(moving_frames(60)))
    assert list(tmp_path.iterdir()) == []
    write(path, [moving_frames(2)])

    def fingerprint():
        return {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}

    before = fingerprint()
    with pytest.raises(RuntimeError):
        write(path, failing_after(moving_frames(60)))
    assert fingerprint() == before


@pytest.mark.parametrize("write", [lambda p, f: write_mp4(p, f, fps=8), write_png_sequence])
def test_chunks_are_let_go_as_they_are_written(tmp_path, write):
    alive = []

    def chunks():
        for _ in range(30):
            chunk = moving_frames(2)
            alive.append(weakref.ref(chunk))
            yield chunk
            del chunk
            assert sum(reference() is not None for reference in alive) <= 2

    write(tmp_path / "a.mp4", chunks())
    assert len(alive) == 30


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "none"),
        ([moving_frames(2, width=63)], "even"),
        ([moving_frames(2, height=47)], "even"),
        ([moving_frames(2).float()], "uint8"),
        ([moving_frames(2)[0]], r"\[F, H, W, 3\]"),
        ([moving_frames(2).permute(0, 3, 1, 2)], r"\[F, H, W, 3\]"),
        ([moving_frames(2), moving_frames(2, width=32)], "before"),
    ],
)
def test_frames_that_cannot_be_written_are_refused_and_leave_nothing(tmp_path, frames, reason):
    with pytest.raises(ValueError, match=reason):
        write_mp4(tmp_path / "a.mp4", frames, fps=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_senseless_rate_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match="fps"):
        write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=fps)


@pytest.mark.parametrize("texts", [{"": "x"}, {"k": "a\0b"}])
def test_texts_that_no_file_can_hold_are_refused(tmp_path, texts):
    with pytest.raises(ValueError, match="metadata"):
        write_mp4(tmp_path / "a.mp4", [moving_frames()], fps=8, metadata=texts)


@pytest.mark.parametrize("write", [lambda p, f: write_mp4(p, f, fps=8), write_png_sequence])
def test_a_place_that_cannot_be_written_is_a_file_error_that_names_it(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be written") as caught:
        write(tmp_path / "file" / "a.mp4", [moving_frames()])
    assert str(tmp_path / "file" / "a.mp4") in str(caught.value)


FILL_THE_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from reelwright.core.errors import FileError
from reelwright.media.video_writer import write_mp4
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
noise = torch.randint(0, 256, (60, 256, 256, 3), dtype=torch.uint8)
try:
    write_mp4(Path(sys.argv[1]), [noise], fps=16)
except FileError as error:
    sys.exit(f"told: {error}")
"""


def test_running_out_of_room_is_a_file_error_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "a.mp4")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert said.startswith(f"told: {tmp_path / 'a.mp4'}: cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_a_png_sequence_holds_every_pixel_and_the_texts(tmp_path):
    frames = moving_frames(5, width=33, height=21)
    write_png_sequence(tmp_path / "clip", frames.split(2), {"reelwright": "{é}"})
    files = sorted((tmp_path / "clip").iterdir())
    assert [file.name for file in files] == [f"frame_{n:05d}.png" for n in range(5)]
    for file, frame in zip(files, frames, strict=True):
        with Image.open(file) as image:
            assert (np.asarray(image) == frame.numpy()).all()
            assert image.info["reelwright"] == "{é}"


def test_writing_a_png_sequence_again_replaces_it(tmp_path):
    write_png_sequence(tmp_path / "clip", [moving_frames(5)])
    write_png_sequence(tmp_path / "clip", [moving_frames(3)])
    assert len(list((tmp_path / "clip").iterdir())) == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "clip"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "diary.txt").write_text("dear diary")
    with pytest.raises(FileError, match="holds other files"):
        write_png_sequence(tmp_path / "clip", [moving_frames(3)])
    assert (tmp_path / "clip" / "diary.txt").read_text() == "dear diary"


def test_a_png_sequence_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none"):
        write_png_sequence(tmp_path / "clip", [])
    assert list(tmp_path.iterdir()) == []
