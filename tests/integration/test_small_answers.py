"""What pages ask before and after a run: whether settings will do, how a file was made, its last frame."""

import numpy
import pytest
import torch
from PIL import Image

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.events import Facts, FileSaved, Notice
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.jobs.order import Order, arguments_of
from reelwright.media.image_ops import write_png
from reelwright.media.video_writer import stream_to_mp4
from reelwright.workflows import check, last_frame, record


def _checked(**values):
    order = Order(workflow="check", family="cogvideox", values={"prompt": "a fox", **values})
    return [event.message for event in check.run(**arguments_of(order)) if isinstance(event, Notice)]


def test_settings_that_will_do_are_told_with_all_that_is_adjusted():
    said = "\n".join(_checked(num_frames=20, height=100))
    assert "num_frames: 20 is not of the form 8k + 1" in said
    assert "height: 100 is no multiple of 16. Using 96." in said


def test_all_that_a_model_cannot_do_is_told_at_once_and_nothing_is_made(tmp_path):
    with pytest.raises(ConfigError) as raised:
        _checked(prompt="", image=str(tmp_path / "a.png"), out=str(tmp_path / "out"))
    assert {line.partition(":")[0] for line in str(raised.value).splitlines()} == {"prompt", "image"}
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_here_is_not_fetched_to_find_out(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("nothing may be fetched"))
    with pytest.raises(FileError):
        _checked(model="2b")


def test_a_file_tells_the_settings_that_made_it(tmp_path):
    made = Provenance(
        version="1", workflow="generate", family="cogvideox", config={"steps": 7, "prompt": "ä"}
    )
    path = tmp_path / "a.png"
    write_png(path, Image.new("RGB", (8, 8)), {METADATA_KEY: made.to_json()})
    (event,) = record.run(path)
    assert event == Facts(
        {
            "version": "1",
            "workflow": "generate",
            "family": "cogvideox",
            "config": '{"prompt": "ä", "steps": 7}',
        }
    )


def test_a_file_without_a_record_says_so(tmp_path):
    write_png(tmp_path / "a.png", Image.new("RGB", (8, 8)))
    with pytest.raises(FileError, match="carries no record"):
        list(record.run(tmp_path / "a.png"))


def test_the_last_frame_of_a_clip_becomes_a_picture(tmp_path):
    levels = (0, 60, 120, 240)
    frames = torch.stack([torch.full((32, 32, 3), level, dtype=torch.uint8) for level in levels])
    list(stream_to_mp4(tmp_path / "a.mp4", iter([frames]), fps=8.0, crf=1, metadata={}))
    (event,) = last_frame.run(tmp_path / "a.mp4", tmp_path / "last.png")
    assert event == FileSaved("picture", str(tmp_path / "last.png"))
    pixels = numpy.asarray(Image.open(tmp_path / "last.png"))
    assert pixels.shape == (32, 32, 3)
    assert abs(float(pixels.mean()) - 240) < 4
