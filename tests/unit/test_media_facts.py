"""What media are is told once and remembered until they change."""

import hashlib
import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from reelwright.core.errors import FileError
from reelwright.data import media_facts
from reelwright.data.media_facts import MediaLedger
from reelwright.protocols.clips import Source

from .drawn_clips import gray_pictures, make_clip


def source(path, kind="video"):
    return Source(media=str(path), kind=kind, stem=path.stem, caption="", caption_origin="a.txt")


@pytest.fixture
def probes(monkeypatch):
    """The media that were opened."""
    opened = []
    probe = media_facts.probe
    monkeypatch.setattr(media_facts, "probe", lambda each: opened.append(each.media) or probe(each))
    return opened


def write_picture(path, color="red", size=(40, 30), **options):
    Image.new("RGB", size, color).save(path, **options)
    return path


def test_a_clip_is_told_by_size_rate_length_and_content(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(20, 64, 48), fps=10, rotation=(90,))
    facts = MediaLedger(tmp_path / "ledger.sqlite").facts(source(clip))
    assert (facts.size, facts.num_frames, facts.fps, facts.duration) == ((48, 64), 20, 10, 2)
    assert facts.content == hashlib.sha256(clip.read_bytes()).hexdigest()


def test_a_picture_has_its_upright_size_one_frame_and_no_times(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = write_picture(tmp_path / "a.jpg", exif=exif)
    facts = MediaLedger(tmp_path / "ledger.sqlite").facts(source(picture, "image"))
    assert (facts.size, facts.num_frames, facts.fps, facts.duration) == ((30, 40), 1, 0, 0)


def test_a_folder_of_pictures_is_a_clip_without_times(tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(12):
        write_picture(folder / f"{number}.png")
    (folder / "notes.txt").write_text("none")
    facts = MediaLedger(tmp_path / "ledger.sqlite").facts(source(folder))
    assert (facts.size, facts.num_frames, facts.fps, facts.duration) == ((40, 30), 12, 0, 0)
    write_picture(folder / "7.png", "blue")
    changed = MediaLedger(tmp_path / "ledger.sqlite").facts(source(folder))
    assert changed.content != facts.content


def test_what_did_not_change_is_opened_once(tmp_path, probes):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(5))
    first = MediaLedger(tmp_path / "ledger.sqlite")
    told = [first.facts(source(clip)), first.facts(source(clip))]
    told.append(MediaLedger(tmp_path / "ledger.sqlite").facts(source(clip)))
    assert told[0] == told[1] == told[2]
    assert len(probes) == 1


def test_a_changed_file_is_opened_again_even_with_the_same_size_and_time(tmp_path, probes):
    picture = write_picture(tmp_path / "a.bmp", "red")
    ledger = MediaLedger(tmp_path / "ledger.sqlite")
    before, times = ledger.facts(source(picture, "image")), picture.stat()
    content = picture.read_bytes()
    picture.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = ledger.facts(source(picture, "image"))
    assert after.content == hashlib.sha256(picture.read_bytes()).hexdigest() != before.content
    assert len(probes) == 2


def test_what_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    picture = write_picture(tmp_path / "a.png", "red")
    ledger = MediaLedger(tmp_path / "ledger.sqlite")
    probe = media_facts.probe

    def overtaken(each):
        facts = probe(each)
        write_picture(picture, "blue", (64, 64))
        return facts

    monkeypatch.setattr(media_facts, "probe", overtaken)
    ledger.facts(source(picture, "image"))
    monkeypatch.setattr(media_facts, "probe", probe)
    assert ledger.facts(source(picture, "image")).size == (64, 64)


def test_one_file_as_picture_and_as_clip_is_two_things(tmp_path):
    frames = [Image.new("RGB", (16, 16), (each, 0, 0)) for each in (0, 90, 180)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    ledger = MediaLedger(tmp_path / "ledger.sqlite")
    assert ledger.facts(source(tmp_path / "a.gif")).num_frames == 3
    assert ledger.facts(source(tmp_path / "a.gif", "image")).num_frames == 1


def ruin_whole(path):
    path.write_bytes(b"no database at all" * 500)


def ruin_inside(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))


def ruin_kind(path):
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE remembered (something TEXT)")


@pytest.mark.parametrize("ruin", [ruin_whole, ruin_inside, ruin_kind])
def test_a_broken_ledger_is_begun_anew(tmp_path, probes, ruin):
    clips = [write_picture(tmp_path / f"{number}.png") for number in range(30)]
    path = tmp_path / "ledger.sqlite"
    ledger = MediaLedger(path)
    for clip in clips:
        ledger.facts(source(clip, "image"))
    ledger.close()
    ruin(path)
    assert MediaLedger(path).facts(source(clips[0], "image")).size == (40, 30)
    probes.clear()
    assert MediaLedger(path).facts(source(clips[0], "image")).size == (40, 30)
    assert probes == []


@pytest.mark.parametrize("place", ["file/ledger.sqlite", "folder"])
def test_a_ledger_that_cannot_be_written_still_tells(tmp_path, probes, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    picture = write_picture(tmp_path / "a.png")
    ledger = MediaLedger(tmp_path / place)
    assert ledger.facts(source(picture, "image")) == ledger.facts(source(picture, "image"))
    assert len(probes) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [("missing.mp4", "video"), ("text.mp4", "video"), ("text.mp4", "image"), ("empty", "video")],
)
def test_what_cannot_be_read_is_a_file_error_that_names_it(tmp_path, name, kind):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=name):
        MediaLedger(tmp_path / "ledger.sqlite").facts(source(tmp_path / name, kind))


def test_a_short_relative_path_is_named_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("hello")
    item = Source(media="./a", kind="video", stem="a", caption="", caption_origin="")
    with pytest.raises(FileError, match=r"^a: cannot be opened as a video; it is damaged"):
        MediaLedger(tmp_path / "ledger.sqlite").facts(item)


def test_threads_share_a_ledger(tmp_path):
    pictures = [write_picture(tmp_path / f"{number}.png", size=(16 + number, 16)) for number in range(24)]
    ledger = MediaLedger(tmp_path / "ledger.sqlite")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda path: ledger.facts(source(path, "image")).size[0], pictures * 3))
    assert told == [16 + number for number in range(24)] * 3


def tell_all(ledger, folder):
    told = MediaLedger(ledger)
    return [told.facts(source(path, "image")).size[0] for path in sorted(folder.glob("*.png"))]


def test_processes_share_a_ledger(tmp_path, probes):
    for number in range(20):
        write_picture(tmp_path / f"{number:02d}.png", size=(16 + number, 16))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        told = pool.starmap(tell_all, [(tmp_path / "ledger.sqlite", tmp_path)] * 4)
    assert told == [[16 + number for number in range(20)]] * 4
    assert tell_all(tmp_path / "ledger.sqlite", tmp_path) == told[0]
    assert probes == []


def test_a_member_of_a_tar_is_named_by_its_location(tmp_path):
    import tarfile

    picture = write_picture(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(np.random.default_rng(0).bytes(99))
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        shard.add(picture, "a.png")
        shard.add(tmp_path / "bad.png", "bad.png")
    ledger = MediaLedger(tmp_path / "ledger.sqlite")

    def member(name):
        location = f"tar://{name}::{tmp_path}/shard.tar"
        return Source(media=location, kind="image", stem="a", caption="", caption_origin="")

    assert ledger.facts(member("a.png")).content == hashlib.sha256(picture.read_bytes()).hexdigest()
    with pytest.raises(FileError, match=f"^tar://bad.png::{tmp_path}/shard.tar"):
        ledger.facts(member("bad.png"))
