"""Curves of a training that grow while one looks."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from reelwright.web.pages.elements import named
from reelwright.web.training_log import Point

_MOST_POINTS = 1500
"""More are thinned out evenly: a screen shows no more."""
_COLORS = ("#e8703a", "#3f7fd6", "#2f9e6e", "#8f6fd1")
_INK, _GRID = "#8a877f", "rgba(138, 135, 127, 0.22)"


class CurveChart:
    """Lines over steps, each with a name; colors are readable on light and on dark."""

    def __init__(self, name: str, label: str, *, faint: Sequence[str] = ()) -> None:
        """`faint`: lines that jump, drawn thin behind the others."""
        self._faint = faint
        self._chart = named(ui.echart(_options(), renderer="svg").classes("tr-chart"), name)
        self._chart.props["role"] = "img"
        self._chart.props["aria-label"] = label

    def show(self, lines: dict[str, Sequence[Point]], last_step: int = 0) -> None:
        """Draw these lines, to the step at which training ends if that is known."""
        self._chart.options["xAxis"]["max"] = last_step or None
        self._chart.options["series"] = [
            _series(name, points, _COLORS[at % len(_COLORS)], is_faint=name in self._faint)
            for at, (name, points) in enumerate(lines.items())
        ]
        self._chart.update()


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[list[float]]:
    """At most so many points, the last one among them."""
    every = max(len(points) // most, 1)
    kept = [*points[::every], *(points[-1:] if (len(points) - 1) % every else ())]
    return [[step, value] for step, value in kept]


def _series(name: str, points: Sequence[Point], color: str, *, is_faint: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": thinned(points),
        "showSymbol": len(points) < 2,
        "symbolSize": 5,
        "color": color,
        "lineStyle": {"width": 1 if is_faint else 2.2, "opacity": 0.35 if is_faint else 1},
        "emphasis": {"disabled": True},
        "z": 1 if is_faint else 3,
    }


def _options() -> dict[str, Any]:
    axis = {
        "axisLabel": {"color": _INK},
        "axisLine": {"lineStyle": {"color": _GRID}},
        "splitLine": {"lineStyle": {"color": _GRID}},
    }
    return {
        "animation": False,
        "grid": {"left": 8, "right": 14, "top": 38, "bottom": 8, "containLabel": True},
        "legend": {"top": 0, "left": 0, "icon": "roundRect", "itemHeight": 4, "textStyle": {"color": _INK}},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "min": 0, "minInterval": 1, **axis, "splitLine": {"show": False}},
        "yAxis": {"type": "value", "scale": True, **axis},
        "series": [],
    }
