"""What a look at real encoded clips finds, where the truth is known, and that it finds nothing else."""

import numpy as np
import pytest
from PIL import Image

from reelwright.data.lint.checks import check
from reelwright.data.lint.findings import Subject
from reelwright.data.lint.look import Look
from reelwright.data.lint.watching import watch
from reelwright.data.media_facts import probe
from reelwright.data.memory import Memory
from reelwright.protocols.clips import ClipRule, Source
from reelwright.protocols.datasets import DatasetConfig

from .drawn_clips import make_clip
from .drawn_scenes import scene

SIZE = (160, 120)
RULE = ClipRule(fps=30.0, frame_step=4, min_frames=5, default_size=(160, 112))
MOVING = (1, 2, 4, 8, 100, 101, 102, 104, 105, 106)
"""Scenes in which something moves for the whole time."""


def still(index, num_frames):
    return scene(index, 1) * num_frames


def source_of(path, kind="video"):
    return Source(media=str(path), kind=kind, stem=path.stem, caption="a caption", caption_origin="a.txt")


def look_at(path, frames, **options):
    make_clip(path, frames, **{"fps": 30, "options": {"crf": "20"}, **options})
    return watch(source_of(path), probe(source_of(path)))


def findings_of(path, look, dataset=None):
    return list(
        check(
            Subject(
                source=source_of(path),
                dataset=dataset or DatasetConfig(video_directory="clips"),
                rule=RULE,
                facts=probe(source_of(path)),
                look=look,
            )
        )
    )


def with_bars(frames, top=0, bottom=0, left=0, right=0):
    height, width = frames[0].shape[:2]
    barred = [np.zeros_like(frame) for frame in frames]
    for black, frame in zip(barred, frames, strict=True):
        inner = slice(top, height - bottom), slice(left, width - right)
        black[inner] = frame[inner]
    return barred


@pytest.mark.parametrize("index", MOVING)
def test_a_clip_in_which_things_move_has_nothing_wrong(tmp_path, index):
    path = tmp_path / "clip.mp4"
    assert findings_of(path, look_at(path, scene(index))) == []


@pytest.mark.parametrize(
    "bars",
    [
        {"top": 16, "bottom": 16},
        {"left": 20, "right": 30},
        {"top": 10, "bottom": 12, "left": 20, "right": 24},
        {"bottom": 6},
        {"top": 2, "bottom": 2},
    ],
    ids=["letterbox", "pillarbox", "all around", "one side", "thin"],
)
@pytest.mark.parametrize("crf", ["0", "28"], ids=["lossless", "coarse"])
def test_bars_are_found_to_the_pixel(tmp_path, bars, crf):
    look = look_at(tmp_path / "clip.mp4", with_bars(scene(104), **bars), options={"crf": crf})
    sides = {"top": 0, "bottom": 0, "left": 0, "right": 0, **bars}
    box = sides["left"], sides["top"], SIZE[0] - sides["right"], SIZE[1] - sides["bottom"]
    assert look.content_box == box


def test_bars_are_told_in_numbers_of_the_clip_itself(tmp_path):
    path = tmp_path / "clip.mp4"
    look = look_at(path, with_bars(scene(104), top=16, bottom=20), options={"crf": "0"})
    (finding,) = findings_of(path, look)
    assert finding.kind == "bars"
    assert "16 at the top, 20 at the bottom" in finding.message
    assert "0, 16, 160, 100 of 160 x 120" in finding.message


@pytest.mark.parametrize("step", [(4, 0), (0, 3), (3, 2)], ids=["across", "down", "aslant"])
def test_a_bright_thing_that_crosses_the_dark_is_no_picture_between_bars(tmp_path, step):
    frames = []
    for number in range(30):
        frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        left, top = 10 + step[0] * number, 20 + step[1] * number
        frame[top : top + 24, left : left + 24] = (230, 200, 40)
        frames.append(frame)
    assert look_at(tmp_path / "clip.mp4", frames).content_box is None


def test_a_clip_that_fades_in_from_black_has_no_bars(tmp_path):
    lit = [np.uint8(frame * (number / 36)) for number, frame in enumerate(scene(104))]
    assert look_at(tmp_path / "clip.mp4", lit).content_box is None


@pytest.mark.parametrize("at", [1, 13, 30, 35])
def test_a_cut_is_found_at_its_frame(tmp_path, at):
    look = look_at(tmp_path / "clip.mp4", [*scene(104)[:at], *scene(2)[at:]])
    assert [round(moment * 30, 3) for moment in look.cuts] == [at]


def test_every_cut_of_several_is_found(tmp_path):
    frames = [*scene(104, 12), *scene(2, 12), *scene(100, 12)]
    path = tmp_path / "clip.mp4"
    look = look_at(path, frames)
    assert [round(moment * 30) for moment in look.cuts] == [12, 24]
    assert "0.40 s, 0.80 s" in next(each.message for each in findings_of(path, look) if each.kind == "cut")


def test_fast_motion_is_no_cut(tmp_path):
    wide = np.asarray(Image.fromarray(scene(104)[0]).resize((1600, 120)))
    texture = np.random.default_rng(0).integers(-40, 40, (15, 200, 3)).repeat(8, 0).repeat(8, 1)
    wide = np.clip(wide + texture, 0, 255).astype(np.uint8)
    frames = [wide[:, 24 * number : 24 * number + 160] for number in range(40)]
    assert look_at(tmp_path / "clip.mp4", frames).cuts == ()


def test_a_still_clip_is_told_and_so_are_still_ends(tmp_path):
    path = tmp_path / "clip.mp4"
    look = look_at(path, still(104, 24), options={"crf": "30"})
    assert look.stills == ((0.0, pytest.approx(0.8)),)
    assert [each.kind for each in findings_of(path, look)] == ["static"]

    ends = [*still(104, 45), *scene(104, 36), *[scene(104, 36)[-1]] * 39]
    look = look_at(path, ends)
    messages = [each.message for each in findings_of(path, look)]
    assert len(messages) == 2
    assert "first 1.5 s" in messages[0]
    assert "last 1.3 s" in messages[1]


def test_grain_over_a_still_picture_is_no_motion(tmp_path):
    draw = np.random.default_rng(1)
    (picture,) = scene(104, 1)
    frames = [np.uint8(np.clip(picture + draw.normal(0, 4, picture.shape), 0, 255)) for _ in range(36)]
    assert len(look_at(tmp_path / "clip.mp4", frames).stills) == 1


def test_a_small_thing_that_moves_slowly_is_motion(tmp_path):
    frames = still(100, 36)
    for number, frame in enumerate(frames := [frame.copy() for frame in frames]):
        frame[60:68, 40 + number // 2 : 48 + number // 2] = (255, 0, 0)
    assert look_at(tmp_path / "clip.mp4", frames).stills == ()


def test_blank_stretches_are_counted_in_seconds(tmp_path):
    path = tmp_path / "clip.mp4"
    gray = [np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)] * 24
    look = look_at(path, [*gray, *scene(104, 36)])
    assert look.blank == pytest.approx(0.8)
    assert "0.8 s of 2.0 s" in next(each.message for each in findings_of(path, look) if each.kind == "blank")
    only = findings_of(path, look_at(path, gray))
    assert {each.kind for each in only} == {"blank", "static"}


def test_a_variable_rate_is_told_and_a_rounded_one_is_not(tmp_path):
    path = tmp_path / "clip.mkv"
    varying = [33 * number + (100 if number > 10 else 0) for number in range(36)]
    look = look_at(path, scene(104), milliseconds=varying)
    assert [each.kind for each in findings_of(path, look)] == ["fps"]
    assert "33 to 133 ms" in findings_of(path, look)[0].message
    rounded = [round(1000 * number / 30) for number in range(36)]
    assert findings_of(path, look_at(path, scene(104), milliseconds=rounded)) == []


def test_a_clip_that_breaks_off_is_one_finding(tmp_path):
    path = tmp_path / "clip.mp4"
    look_at(path, scene(104))
    facts = probe(source_of(path))
    path.write_bytes(path.read_bytes()[:-2000])
    look = watch(source_of(path), facts)
    assert look.error.startswith("is damaged or cut short"), "a copy elsewhere has another name"


def test_pictures_have_bars_but_no_motion(tmp_path):
    path = tmp_path / "picture.png"
    (barred,) = with_bars(scene(104, 1), top=16)
    Image.fromarray(barred).save(path)
    look = watch(source_of(path, "image"), probe(source_of(path, "image")))
    assert (look.content_box, look.num_frames) == ((0, 16, 160, 120), 1)


def test_a_look_is_remembered_as_it_was(tmp_path):
    look = look_at(tmp_path / "clip.mp4", with_bars([*scene(104)[:20], *scene(2)[20:]], top=16))
    memory = Memory(tmp_path / "looks.sqlite", Look, version=1)
    assert memory.recall("content") is None
    memory.remember("content", look)
    memory.close()
    again = Memory(tmp_path / "looks.sqlite", Look, version=1)
    assert again.recall("content") == look
    again.close()
    other = Memory(tmp_path / "looks.sqlite", Look, version=2)
    assert other.recall("content") is None
    other.close()
