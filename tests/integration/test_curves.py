"""`reelwright curves` from the command line: pictures of how runs went."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

BLUE, ORANGE = (96, 165, 250), (251, 146, 60)


def write_run(folder: Path, losses: list[float], *, torn: bool = False) -> None:
    folder.mkdir()
    lines = [
        json.dumps({"step": step, "smoothed_loss": loss, "change": None}) for step, loss in enumerate(losses)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + ('\n{"step": 9' if torn else "\n"))


def rows_of(color: tuple[int, int, int], picture: Path) -> dict[int, float]:
    """Column -> the middle of the rows that have a color, below the title."""
    pixels = np.array(Image.open(picture).convert("RGB"))
    rows, columns = np.nonzero((pixels[30:] == color).all(-1))
    return {int(column): float(rows[columns == column].mean()) for column in np.unique(columns)}


def test_two_runs_are_two_lines_and_the_smaller_number_is_lower(reelwright, tmp_path: Path):
    write_run(tmp_path / "first", [4.0, 2.0, 1.0])
    write_run(tmp_path / "second", [8.0, 8.0, 8.0], torn=True)
    outcome = reelwright("curves", "first", "second", "--out", "both.png")
    assert outcome.code == 0, outcome.err
    falling, level = rows_of(BLUE, tmp_path / "both.png"), rows_of(ORANGE, tmp_path / "both.png")
    columns = sorted(falling.keys() & level.keys())
    heights = [falling[column] for column in columns]
    assert heights == sorted(heights), "further to the right it is lower"
    assert all(level[column] < falling[column] for column in columns)
    # By logarithms, halving twice is a straight line.
    middle = columns[len(columns) // 2]
    assert abs(falling[middle] - (heights[0] + heights[-1]) / 2) < 2.0


def test_numbers_that_no_run_has_are_refused_with_the_nearest(reelwright, tmp_path: Path):
    write_run(tmp_path / "first", [4.0])
    outcome = reelwright("curves", "first", "--keys", "smoothed_los")
    assert outcome.code == 2
    assert "Did you mean smoothed_loss?" in outcome.err
    assert not (tmp_path / "curves.png").exists()


def test_what_is_no_run_is_refused(reelwright, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no metrics\nat all\n")
    for words, said in (
        (["nowhere"], "cannot be read"),
        (["notes.txt"], "line 1 is none"),
        ([], "name folders"),
    ):
        outcome = reelwright("curves", *words)
        assert outcome.code in (1, 2)
        assert said in outcome.err
