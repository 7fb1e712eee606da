"""What pages read from run folders: sections of a video, the course of a training."""

import json
from pathlib import Path

from reelwright import families
from reelwright.web.run_sections import finished_clip, read_sections
from reelwright.web.train_layout import group_folds, shared_values
from reelwright.web.training_log import TrainingLog, ask_to_stop, list_samples


def write_sections(run: Path, *kept: tuple[str, int, int, str], events: tuple[str, ...] = ()) -> None:
    folder = run / "sections" / "clip-001"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"file": name, "index": index, "total": 2, "facts": {"prompt": prompt, "seed": 7, "made": made}}
        for name, index, made, prompt in kept
    ]
    (folder / "manifest.json").write_text(json.dumps({"sections": lines}))
    saved = [json.dumps({"event": "file_saved", "kind": "section", "path": f"x/{name}"}) for name in events]
    (run / "events.jsonl").write_text("\n".join([*saved, '{"event": "cut o']))


OLD, NEW, LAST = (
    ("old.safetensors", 0, 1, "it lies"),
    ("new.safetensors", 0, 1, "it jumps"),
    (
        *("last.safetensors", 1, 0),
        "it rests",
    ),
)


def test_of_a_section_that_was_made_again_the_newest_is_shown(tmp_path: Path):
    write_sections(
        tmp_path, LAST, OLD, NEW, events=("last.safetensors", "old.safetensors", "new.safetensors")
    )
    assert [section.prompt for section in read_sections(tmp_path).values()] == ["it jumps", "it rests"]


def test_going_back_shows_the_old_one_again(tmp_path: Path):
    names = ("last.safetensors", "old.safetensors", "new.safetensors", "last.safetensors", "old.safetensors")
    write_sections(tmp_path, LAST, OLD, NEW, events=names)
    assert [section.prompt for section in read_sections(tmp_path).values()] == ["it lies", "it rests"]


def test_sections_that_saw_another_are_told(tmp_path: Path):
    write_sections(tmp_path, LAST, OLD)
    first, last = read_sections(tmp_path).values()
    assert last.made_again_with((first, last)) == (0,)
    assert first.made_again_with((first, last)) == ()


def test_a_run_without_sections_has_none(tmp_path: Path):
    assert read_sections(tmp_path) == {}
    assert finished_clip(tmp_path) is None
    (tmp_path / "sections" / "clip-001").mkdir(parents=True)
    (tmp_path / "sections" / "clip-001" / "manifest.json").write_text('{"sections": [3, {"file": "x"}]}')
    assert read_sections(tmp_path) == {}


def metric(step: int, **values: object) -> str:
    return json.dumps({"step": step, **values}) + "\n"


def test_a_log_reads_what_is_new_and_leaves_a_half_line_for_later(tmp_path: Path):
    log, path = TrainingLog(tmp_path), tmp_path / "metrics.jsonl"
    assert not log.refresh()
    path.write_text(metric(1, loss=2.0, level_losses=[1]) + metric(2, loss=1.5)[:9])
    assert log.refresh()
    assert log.points == {"loss": [(1, 2.0)]}
    path.write_text(metric(1, loss=2.0, level_losses=[1]) + metric(2, loss=1.5, validation_loss=1.4))
    log.refresh()
    assert (log.step, log.latest("loss"), log.latest("validation_loss")) == (2, 1.5, 1.4)


def test_a_run_that_goes_on_from_an_earlier_state_loses_the_later_points(tmp_path: Path):
    log, path = TrainingLog(tmp_path), tmp_path / "metrics.jsonl"
    path.write_text("".join(metric(step, loss=step / 10) for step in range(1, 9)))
    log.refresh()
    path.write_text("".join(metric(step, loss=1.0) for step in range(1, 4)))
    log.refresh()
    assert log.points["loss"] == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_alarms_are_kept_apart_and_numbers_that_are_none_left_out(tmp_path: Path):
    log = TrainingLog(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(
        metric(3, alarm="loss", message="It runs away.") + metric(4, loss=None, gradient_norm=float("nan"))
    )
    log.refresh()
    assert (log.alarms, log.points) == (["It runs away."], {})


def test_samples_come_with_their_steps_the_newest_first(tmp_path: Path):
    for folder, name in (
        ("untrained", "a.sheet.png"),
        ("step-00000020", "beside.png"),
        ("step-00000010", ""),
    ):
        place = tmp_path / "samples" / folder
        place.mkdir(parents=True)
        if name:
            (place / name).touch()
    assert [sheet.step for sheet in list_samples(tmp_path)] == [20, 0]


def test_a_wish_to_stop_is_the_file_that_training_looks_for(tmp_path: Path):
    ask_to_stop(tmp_path)
    assert (tmp_path / "stop").exists()


def test_every_field_of_training_stands_in_one_fold_or_is_said_elsewhere():
    for family in families.names():
        schema = families.configs(family).TRAIN
        folded = [each.dotted for fold in group_folds(schema, ("dataset", "model")) for each in fold.fields]
        assert len(folded) == len(set(folded))
        assert {"adapter.rank", "optimizer.name", "saving.every_steps", "epochs"} <= set(folded)
        assert not {"dataset", "run", "curriculum"} & set(folded)


def test_values_that_two_schemas_share_are_carried_over():
    configs = families.configs("framepack")
    values = {
        "dataset": "d.toml",
        "mode": "f1",
        "posterior": "mean",
        "execution": {"device": "cpu", "tiling": True},
    }
    assert shared_values(values, configs.CACHE_TEXT) == {"dataset": "d.toml", "execution": {"device": "cpu"}}
    assert shared_values(values, configs.CLIPS) == {"dataset": "d.toml", "mode": "f1"}
