"""Draw how numbers of training runs went."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, FileError, suggestion
from reelwright.core.events import Event, FileSaved, Finished
from reelwright.core.paths import check_writable
from reelwright.media.contact_sheet import BACKGROUND, INK, sheet_font
from reelwright.media.image_ops import write_png
from reelwright.media.line_chart import Points, draw_lines
from reelwright.protocols.curves_config import CurvesConfig

_METRICS = "metrics.jsonl"
_MOST_POINTS = 600
"""Of a curve; more could not be told apart."""

Course = dict[str, list[tuple[float, float]]]
"""Key -> step and number, for each line that has it."""


def run(runs: Sequence[Path], config: CurvesConfig) -> Iterator[Event]:
    """A chart for each key, with a line for each run that has it. Raises UserError."""
    started = time.perf_counter()
    config = validate(config, "curves")
    check_writable(config.out.absolute().parent)
    courses = {name: _read(folder) for name, folder in zip(_names(runs), runs, strict=True)}
    charts = [
        draw_lines(curves, key, logarithmic=config.logarithmic)
        for key in config.keys
        if (curves := _curves(courses, key))
    ]
    if not charts:
        raise ConfigError(_nothing_to_draw(courses, config))
    write_png(config.out, _below_each_other(charts, config.title))
    yield FileSaved("picture", str(config.out))
    yield Finished(({"picture": str(config.out)},), time.perf_counter() - started)


def _names(runs: Sequence[Path]) -> list[str]:
    """Of the folders; whole paths where two are called alike."""
    names = [folder.resolve().name for folder in runs]
    return names if len(set(names)) == len(names) else [str(folder) for folder in runs]


def _read(folder: Path) -> Course:
    """The numbers of a run, or of a file of metrics."""
    path = folder / _METRICS if folder.is_dir() else folder
    course: Course = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}). Name folders of training runs, with a {_METRICS}."
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            told = json.loads(line)
            step = float(told["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # a run that goes on may be writing it
                break
            raise FileError(
                f"{path}: line {number} is none of a run's metrics. Name folders of runs."
            ) from error
        for key, value in told.items():
            if isinstance(value, int | float) and math.isfinite(value):
                course.setdefault(key, []).append((step, float(value)))
    return course


def _curves(courses: dict[str, Course], key: str) -> dict[str, Points]:
    return {name: _thinned(course[key]) for name, course in courses.items() if key in course}


def _thinned(points: list[tuple[float, float]]) -> Points:
    """Evenly spread, with the last one."""
    apart = -(-len(points) // _MOST_POINTS)
    return [*points[: -1 : max(apart, 1)], points[-1]]


def _below_each_other(charts: Sequence[Image.Image], title: str) -> Image.Image:
    room = 28 if title else 0
    width = max(chart.width for chart in charts)
    page = Image.new("RGB", (width, room + sum(chart.height for chart in charts)), BACKGROUND)
    if title:
        ImageDraw.Draw(page).text((12, 8), title, INK, font=sheet_font())
    top = room
    for chart in charts:
        page.paste(chart, (0, top))
        top += chart.height
    return page


def _nothing_to_draw(courses: dict[str, Course], config: CurvesConfig) -> str:
    known = sorted({key for course in courses.values() for key in course})
    return (
        f"keys: {', '.join(config.keys)}: no run has these. {suggestion(config.keys[0], known)}"
        if config.keys and known
        else "keys: there is nothing to draw. Name numbers of metrics.jsonl, as smoothed_loss."
    )
