"""The gallery reads run folders, and nothing else."""

import json
import os

from reelwright.core.config import to_toml
from reelwright.core.events import Failed, Finished, StageStarted, to_json
from reelwright.protocols.configs import GenerateConfig
from reelwright.web.gallery import list_runs, read_run_card, thumbnail_of


def _make_run(folder, *, prompt="a fox", events=(), files=(), at=None):
    folder.mkdir(parents=True)
    recipe = to_toml(GenerateConfig(prompt=prompt), {"workflow": "generate", "family": "some"})
    (folder / "recipe.toml").write_text(recipe)
    lines = [json.dumps(to_json(event)) for event in events]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for name in files:
        (folder / name).write_bytes(b"x")
    if at is not None:
        for path in (*folder.iterdir(), folder):
            os.utime(path, (at, at))
    return folder


def test_a_run_tells_its_settings_its_files_and_how_it_ended(tmp_path):
    run = _make_run(
        tmp_path / "a",
        events=[StageStarted("denoise", 4), Finished((), 12.5, 2000)],
        files=["clip-001_seed-1.mp4", "clip-001_seed-1.sheet.png", "clip-001_seed-1.latent.safetensors"],
    )
    card = read_run_card(run)
    assert (card.workflow, card.family, card.title, card.state) == ("generate", "some", "a fox", "done")
    assert (card.seconds, card.peak_memory) == (12.5, 2000)
    assert [path.name for path in card.clips] == ["clip-001_seed-1.mp4"]
    assert [path.name for path in card.latents] == ["clip-001_seed-1.latent.safetensors"]
    assert card.thumbnail.name == "clip-001_seed-1.mp4"
    assert card.settings["steps"] == 50
    assert "workflow" not in card.settings


def test_a_run_that_failed_says_why(tmp_path):
    card = read_run_card(_make_run(tmp_path / "a", events=[Failed("UserError", "no disk")]))
    assert (card.state, card.message) == ("failed", "no disk")


def test_a_run_that_was_started_again_is_not_finished_yet(tmp_path):
    events = [Failed("UserError", "no disk"), StageStarted("denoise", 4)]
    assert read_run_card(_make_run(tmp_path / "a", events=events)).state == "unfinished"


def test_a_line_that_is_cut_off_does_not_hide_the_end(tmp_path):
    run = _make_run(tmp_path / "a", events=[Finished()])
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "fin')
    assert read_run_card(run).state == "done"


def test_the_newest_run_comes_first_and_other_folders_are_passed_over(tmp_path):
    _make_run(tmp_path / "old", at=1000)
    _make_run(tmp_path / "new", at=2000)
    _make_run(tmp_path / ".queue")
    (tmp_path / "notes").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.toml").write_text("prompt = ")
    assert [card.folder.name for card in list_runs(tmp_path)] == ["new", "old"]
    assert list_runs(tmp_path / "missing") == []


def test_a_run_is_read_again_when_it_goes_on(tmp_path):
    run = _make_run(tmp_path / "a", events=[StageStarted("denoise", 4)], at=1000)
    assert read_run_card(run).state == "unfinished"
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(to_json(Finished())) + "\n")
    assert read_run_card(run).state == "done"


def test_what_stands_for_a_run_is_the_best_there_is(tmp_path):
    run = _make_run(tmp_path / "a")
    assert thumbnail_of(run) is None
    (run / "clip-001_seed-1").mkdir()
    (run / "clip-001_seed-1" / "frame_00000.png").write_bytes(b"x")
    assert thumbnail_of(run).name == "frame_00000.png"
    (run / "preview.png").write_bytes(b"x")
    assert thumbnail_of(run).name == "preview.png"
    (run / "clip-001_seed-1.sheet.png").write_bytes(b"x")
    assert thumbnail_of(run).name == "clip-001_seed-1.sheet.png"
