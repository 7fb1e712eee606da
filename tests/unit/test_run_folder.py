"""A run folder belongs to one living process and keeps what happened in it."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reelwright.core.errors import FileError
from reelwright.core.events import Notice
from reelwright.core.log import RunLog
from reelwright.core.run_folder import RunFolder


def test_a_new_folder_is_named_after_the_time_and_the_run(tmp_path: Path):
    with RunFolder.create(tmp_path, None, "a fox/ in: snow") as folder:
        assert re.fullmatch(r"\d{8}-\d{6}_a-fox-in-snow", folder.path.name)
        assert folder.path.parent == tmp_path


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path):
    folders = [RunFolder.create(tmp_path, None, "fox") for _ in range(5)]
    assert len({folder.path for folder in folders}) == 5
    for folder in folders:
        folder.release()


def test_a_named_folder_is_taken_as_it_is_and_refused_while_in_use(tmp_path: Path):
    with RunFolder.create(tmp_path, tmp_path / "mine", "fox") as folder:
        assert folder.path == tmp_path / "mine"
        with pytest.raises(FileError, match=r"mine: another run is using this folder.*--run"):
            RunFolder.create(tmp_path, tmp_path / "mine", "fox")
    RunFolder.create(tmp_path, tmp_path / "mine", "fox").release()


def test_another_process_is_refused_too_and_a_dead_one_is_not_in_the_way(tmp_path: Path):
    code = (
        "import sys, os; from pathlib import Path; from reelwright.core.run_folder import RunFolder;"
        f"folder = RunFolder.create(Path(), Path({str(tmp_path / 'mine')!r}), 'fox');"
        "print('held', flush=True); sys.stdin.read(); os._exit(9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FileError, match="another run"):
            RunFolder.create(tmp_path, tmp_path / "mine", "fox")
        holder.kill()
    RunFolder.create(tmp_path, tmp_path / "mine", "fox").release()


def test_a_file_in_the_place_of_the_folder_is_explained(tmp_path: Path):
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(FileError, match="outputs"):
        RunFolder.create(tmp_path / "outputs", None, "fox")
    with pytest.raises(FileError, match="outputs"):
        RunFolder.create(tmp_path, tmp_path / "outputs", "fox")


def test_events_are_on_disk_as_soon_as_they_happen(tmp_path: Path):
    with RunFolder.create(tmp_path, None, "fox") as folder:
        sink = folder.sink()
        sink(Notice("Füchse"))
        sink(Notice("two"))
        lines = (folder.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": "notice", "message": "Füchse"},
        {"event": "notice", "message": "two"},
    ]


def test_the_recipe_is_stored(tmp_path: Path):
    with RunFolder.create(tmp_path, None, "fox") as folder:
        path = folder.write_recipe("steps = 3\n")
    assert path == folder.path / "recipe.toml"
    assert path.read_text() == "steps = 3\n"


def test_the_log_holds_records_and_the_traceback_of_a_crash(tmp_path: Path):
    path = tmp_path / "log.txt"
    with pytest.raises(ZeroDivisionError) as caught, RunLog(path):
        logging.getLogger("reelwright.test").info("loading")
        _ = 1 / 0
    assert caught.value.__notes__ == [f"The traceback is in {path}."]
    text = path.read_text()
    assert "INFO reelwright.test: loading" in text
    assert "Traceback" in text
    assert "ZeroDivisionError" in text


def test_a_users_mistake_leaves_no_traceback_in_the_log(tmp_path: Path):
    with pytest.raises(FileError), RunLog(tmp_path / "log.txt"):
        raise FileError("fox.png: is no image.")
    assert not (tmp_path / "log.txt").exists()
    assert logging.getLogger("reelwright").handlers == []


def test_what_a_killed_run_left_half_built_is_removed_and_nothing_else(tmp_path: Path):
    run = tmp_path / "run"
    for folder in (".0123456789ab", ".0123456789ab-old"):
        (run / folder).mkdir(parents=True)
        (run / folder / "frame_00000.png").touch()
    for file in (".ba9876543210.mp4", "clip.mp4", ".hidden.mp4"):
        (run / file).touch()
    RunFolder.create(tmp_path, run, "fox").release()
    assert sorted(path.name for path in run.iterdir()) == [".hidden.mp4", ".lock", "clip.mp4"]
