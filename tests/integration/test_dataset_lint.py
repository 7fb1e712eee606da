"""`reelwright dataset lint` from the command line: what it tells, remembers, and writes with --fix."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from reelwright.core import optional_library
from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render_clip
from reelwright.media.video_reader import probe_video, read_video
from reelwright.media.video_writer import write_mp4
from reelwright.workflows.linting import survey

FPS = 8.0
SIZE = (96, 64)


def frames_of(index: int, num_frames: int = 24) -> torch.Tensor:
    return torch.cat(list(render_clip(describe(5, index), SIZE, FPS, num_frames)))


def barred(frames: torch.Tensor) -> torch.Tensor:
    black = torch.zeros_like(frames)
    black[:, 8:-8] = frames[:, 8:-8]
    return black


CLIPS = {
    "bars": lambda: barred(frames_of(104)),
    "clean": lambda: frames_of(2),
    "cut": lambda: torch.cat([frames_of(100, 14), frames_of(4, 10)]),
    "start": lambda: torch.cat([frames_of(101, 1).expand(16, -1, -1, -1), frames_of(101)]),
    "short": lambda: frames_of(8, 3),
    "still": lambda: frames_of(105, 1).expand(24, -1, -1, -1),
}


@pytest.fixture
def clips(tmp_path: Path):
    """Write clips by name into a folder; the file of their data set."""

    def write(*names: str, keys: str = "") -> Path:
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        for name in names:
            write_mp4(folder / f"{name}.mp4", [CLIPS[name]()], fps=FPS, crf=8)
            (folder / f"{name}.txt").write_text(f"a scene, {name}")
        file = tmp_path / "data.toml"
        file.write_text(
            "[[datasets]]\nvideo_directory = 'clips'\nresolution = [48, 32]\n"
            f"target_frames = [9, 17]\n{keys}\n"
        )
        return file

    return write


@pytest.fixture
def lint(reelwright):
    def run(file: Path, *words: object):
        return reelwright("dataset", "lint", "cogvideox", "--dataset", file, *words)

    return run


def found(outcome) -> dict[str, set[str]]:
    """Kinds of findings by the name of the item, from events."""
    kinds: dict[str, set[str]] = {}
    for event in outcome.events:
        if event["event"] == "item_finding":
            kinds.setdefault(Path(event["item"]).name, set()).add(event["kind"])
    return kinds


def facts(outcome) -> dict[str, str]:
    return next(event["facts"] for event in outcome.events if event["event"] == "facts")


def test_a_clean_data_set_is_counted_and_nothing_is_found(lint, clips):
    outcome = lint(clips("clean", keys="num_repeats = 3\nbatch_size = 2"), "--json")
    assert (outcome.code, found(outcome)) == (0, {})
    told = facts(outcome)
    assert told["items"] == "1"
    assert told["bucket 48 x 32, 17 frames"] == "1"
    assert told["training items in an epoch"] == "6"
    assert told["steps in an epoch"] == "4"  # three of each length, by twos
    assert "--measure" in told["time for caches"]


def test_every_fault_is_told_with_its_item_and_one_bad_file_stops_nothing(lint, clips, tmp_path):
    file = clips(*CLIPS)
    whole = (tmp_path / "clips" / "clean.mp4").read_bytes()
    (tmp_path / "clips" / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "clips" / "zcopy.mp4").write_bytes(whole)
    for name, caption in (("broken", "x"), ("zcopy", "word " * 300)):
        (tmp_path / "clips" / f"{name}.txt").write_text(caption)
    (tmp_path / "clips" / "still.txt").unlink()
    outcome = lint(file, "--json")
    assert outcome.code == 1
    assert found(outcome) == {
        "bars.mp4": {"bars"},
        "broken.mp4": {"unreadable"},
        "cut.mp4": {"cut"},
        "short.mp4": {"short"},
        "start.mp4": {"static"},
        "still.mp4": {"static", "caption"},
        "zcopy.mp4": {"caption", "duplicate"},
    }
    assert facts(outcome)["items"] == "8"
    assert "trained on: 3" in outcome.err
    assert "--fix" in outcome.err


def test_people_get_a_line_for_each_finding_and_totals(lint, clips):
    outcome = lint(clips("clean", "bars"))
    assert outcome.code == 0
    line, *totals = outcome.out.splitlines()
    assert line.startswith("warning: ")
    assert "bars.mp4: bars: has black bars" in line
    assert "items: 2" in totals
    assert "warnings, bars: 1" in totals


def test_a_second_run_watches_only_what_changed(lint, clips, tmp_path, monkeypatch):
    file = clips("clean", "bars", "cut")
    first = lint(file, "--json")
    watched: list[str] = []
    watch = survey.watch

    def note_and_watch(source, facts):
        watched.append(Path(source.media).name)
        return watch(source, facts)

    monkeypatch.setattr(survey, "watch", note_and_watch)
    again = lint(file, "--json")
    assert watched == []
    assert found(again) == found(first)
    shutil.copy(tmp_path / "clips" / "clean.mp4", tmp_path / "clips" / "clean-copy.mp4")
    write_mp4(tmp_path / "clips" / "bars.mp4", [frames_of(104)], fps=FPS)
    assert "bars.mp4" not in found(lint(file, "--json"))
    assert watched == ["bars.mp4"]


@pytest.fixture
def mended(lint, clips, tmp_path):
    """The outcome of --fix over clips with every fault, and the folder written."""
    file = clips(*CLIPS, keys="num_repeats = 2\ntrim_seconds = 0.0")
    return lint(file, "--fix", "--out", tmp_path / "mended", "--json"), tmp_path / "mended"


def listed(folder: Path) -> dict[str, str]:
    lines = (folder / "1-videos.jsonl").read_text().splitlines()
    return {line["video_path"]: line["caption"] for line in map(json.loads, lines)}


def test_fix_writes_pieces_without_faults_and_lists_what_it_leaves_out(mended):
    outcome, folder = mended
    assert listed(folder) == {
        "1/bars-1.mp4": "a scene, bars",
        "1/clean.mp4": "a scene, clean",
        "1/cut-1.mp4": "a scene, cut",
        "1/cut-2.mp4": "a scene, cut",
        "1/start-1.mp4": "a scene, start",
    }
    left_out = {item for item, kinds in found(outcome).items() if "left out" in kinds}
    assert left_out == {"short.mp4", "still.mp4"}
    assert outcome.code == 1  # a short clip had to be left out
    assert outcome.events[-2]["files"] == [{"dataset": str(folder / "dataset.toml")}]


def test_the_pieces_hold_the_frames_they_should(mended, tmp_path):
    _, folder = mended
    originals = {
        "bars-1": read_video(tmp_path / "clips" / "bars.mp4")[:, 8:-8],
        "cut-1": read_video(tmp_path / "clips" / "cut.mp4")[:14],
        "cut-2": read_video(tmp_path / "clips" / "cut.mp4")[14:],
        "start-1": read_video(tmp_path / "clips" / "start.mp4")[17:],
    }
    for name, original in originals.items():
        piece = read_video(folder / "1" / f"{name}.mp4")
        assert probe_video(folder / "1" / f"{name}.mp4").fps == pytest.approx(FPS)
        assert abs(len(piece) - len(original)) <= (1 if name == "start-1" else 0)
        num_frames = min(len(piece), len(original))
        difference = piece[-num_frames:].float() - original[-num_frames:].float()
        assert difference.abs().mean() < 3.0, name
    assert (folder / "1" / "clean.mp4").read_bytes() == (tmp_path / "clips" / "clean.mp4").read_bytes()


def test_what_fix_wrote_passes_and_keeps_the_keys_of_the_data_set(mended, lint):
    _, folder = mended
    again = lint(folder / "dataset.toml", "--json")
    assert (again.code, found(again)) == (0, {})
    assert facts(again)["training items in an epoch"] == "16"  # twice 2 + 2 + 2 + 1 + 1
    assert "target_frames" in (folder / "dataset.toml").read_text()


def test_originals_stay_as_they_are_and_a_stopped_run_goes_on(clips, lint, tmp_path, digests):
    file = clips("bars", "clean", "cut")
    before = digests(tmp_path / "clips")
    arguments = (file, "--fix", "--out", tmp_path / "mended")
    assert lint(*arguments).code == 0
    assert digests(tmp_path / "clips") == before

    folder = tmp_path / "mended" / "1"
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    whole = (folder / "cut-2.mp4").read_bytes()
    (folder / "cut-2.mp4").unlink()
    (folder / "bars-1.mp4").write_bytes(b"half of it")
    (folder / ".0123456789ab.mp4").write_bytes(b"half-built")
    assert lint(*arguments).code == 0
    assert (folder / "cut-2.mp4").read_bytes() == whole
    now = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in now if now[name] != written[name]} == {"cut-2.mp4", "bars-1.mp4"}
    assert now.keys() == written.keys()


@pytest.mark.parametrize("out", ["clips/mended", "full", ""], ids=["inside", "full", "nowhere"])
def test_fix_refuses_a_folder_where_originals_or_others_files_are(lint, clips, tmp_path, out):
    file = clips("clean")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    words = ("--out", tmp_path / out) if out else ()
    outcome = lint(file, "--fix", *words)
    assert outcome.code == 2
    assert outcome.err.startswith("error: out: ")


def test_two_clips_of_one_name_are_told_and_kept_apart_by_fix(lint, clips, tmp_path):
    clips("clean", "bars")
    lines = []
    for name in ("clean", "bars"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "clips" / f"{name}.mp4", tmp_path / name / "clip.mp4")
        lines.append(json.dumps({"video_path": f"{name}/clip.mp4", "caption": name}))
    (tmp_path / "clips.jsonl").write_text("\n".join(lines))
    file = tmp_path / "lists.toml"
    file.write_text(
        "[[datasets]]\nvideo_jsonl_file = 'clips.jsonl'\ncache_directory = 'cache'\nresolution = [96, 64]\n"
    )
    outcome = lint(file, "--json")
    assert outcome.code == 1
    (told,) = [each for each in outcome.events if each.get("kind") == "name"]
    assert told["item"].endswith("bars/clip.mp4")
    assert "clean/clip.mp4" in told["message"]
    assert lint(file, "--fix", "--out", tmp_path / "mended").code == 0
    assert listed(tmp_path / "mended") == {"1/clip.mp4": "clean", "1/clip-1.mp4": "bars"}


def test_what_cannot_be_listed_keeps_no_other_data_set_from_being_looked_at(lint, clips, tmp_path):
    file = clips("bars")
    file.write_text(f"[[datasets]]\nfolder = 'nowhere'\n{file.read_text()}")
    outcome = lint(file, "--json")
    assert outcome.code == 1
    assert found(outcome)["nowhere"] == {"list"}
    assert "bars" in found(outcome)["bars.mp4"]
    assert any(event["event"] == "facts" for event in outcome.events)


def test_a_broken_line_of_a_list_is_a_finding_and_the_others_are_looked_at(lint, clips, tmp_path):
    clips("bars")
    (tmp_path / "clips.jsonl").write_text(
        '{"video_path": \n{"video_path": "clips/bars.mp4", "caption": "x"}\n'
    )
    file = tmp_path / "lists.toml"
    file.write_text("[[datasets]]\nvideo_jsonl_file = 'clips.jsonl'\ncache_directory = 'cache'\n")
    outcome = lint(file, "--json")
    assert outcome.code == 1
    assert found(outcome)["clips.jsonl"] == {"list"}
    assert "bars" in found(outcome)["bars.mp4"]
    (told,) = [each for each in outcome.events if each.get("kind") == "list"]
    assert told["message"].startswith("line 1: is no JSON: ")


def test_clips_in_a_tar_file_are_checked_as_well(lint, clips, tmp_path):
    clips("clean", "bars")
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for path in sorted((tmp_path / "clips").iterdir()):
            shard.add(path, path.name)
    outcome = lint(tmp_path / "shard.tar", "--json")
    assert outcome.code == 0
    assert any(event.get("kind") == "bars" for event in outcome.events)


def test_the_time_that_caches_take_is_measured_on_request(lint, clips):
    outcome = lint(clips("clean"), "--measure", "--json")
    assert facts(outcome)["time for caches"].startswith("about ")


def test_without_a_tokenizer_the_length_of_captions_is_not_checked(lint, clips, tmp_path, model_of):
    folder = tmp_path / "model"
    shutil.copytree(model_of("text"), folder)
    shutil.rmtree(folder / "tokenizer")
    file = clips("clean")
    (tmp_path / "clips" / "clean.txt").write_text("word " * 300)
    outcome = lint(file, "--model", folder, "--json")
    assert (outcome.code, found(outcome)) == (0, {})
    notices = [event["message"] for event in outcome.events if event["event"] == "notice"]
    assert len([message for message in notices if "length of captions" in message]) == 1


def test_a_missing_library_is_told_with_the_extra_that_has_it(lint, clips, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optional_library, "import_module", missing)
    outcome = lint(clips("clean"))
    assert outcome.code == 2
    assert "pip install 'reelwright[dataset]'" in outcome.err
