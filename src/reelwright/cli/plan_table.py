"""A plan as tables on stdout: what each stage takes and of what, disk, time, and what does not fit."""

from typing import TYPE_CHECKING, Any

from reelwright.core.events import Event, Planned
from reelwright.core.sizes import size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MINUTE, _HOUR = 60, 3600
_TITLES = {"device": "GPU memory", "host": "memory"}


def write_plan(event: Event, /) -> None:
    """Draw a plan; other events are not for this."""
    if not isinstance(event, Planned):
        return
    from rich.console import Console  # noqa: PLC0415 - rich is slow to import

    console = Console(soft_wrap=True, highlight=False)
    plan = event.plan
    console.print(f"{plan['command']} {plan['family']} {plan['model']} on {plan['machine']}", markup=False)
    console.print(_stages(plan))
    _write_totals(console, plan)


def _stages(plan: dict[str, Any]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    places = [place for place in _TITLES if plan[place]]
    table = Table("stage", *(_TITLES[place] for place in places), "of which", "time")
    for stage in plan["stages"]:
        terms = sorted(stage["terms"], key=lambda term: -term["bytes"])
        told = "\n".join(f"{size_text(each['bytes'])} {each['name']}{_where(each, places)}" for each in terms)
        seconds = _duration(stage["seconds"]) if plan["seconds"] is not None else "?"
        table.add_row(stage["name"], *(size_text(stage[place]) for place in places), told, seconds)
    return table


def _where(term: dict[str, Any], places: list[str]) -> str:
    return " (host)" if len(places) > 1 and term["place"] == "host" else ""


def _write_totals(console: "Console", plan: dict[str, Any]) -> None:
    for place, title in _TITLES.items():
        if plan[place]:
            limit = plan["limits"][place]
            of = f" of {size_text(limit)}" if limit else ""
            console.print(f"peak {title}: {size_text(plan[place])}{of}", markup=False)
    disk = "; ".join(f"{use['name']} {size_text(use['bytes'])} {use['kind']}" for use in plan["disk"])
    console.print(
        f"disk: {size_text(plan['read'])} read, {size_text(plan['written'])} written ({disk})", markup=False
    )
    if plan["seconds"] is not None:
        console.print(f"time: about {_duration(plan['seconds'])}, an estimate", markup=False)
    if plan["flags"]:
        console.print(f"options: {plan['flags']}", markup=False)
    for text in plan["problems"]:
        console.print(f"too large: {text}", markup=False)


def _duration(seconds: float) -> str:
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} h"
    if seconds >= _MINUTE:
        return f"{seconds / _MINUTE:.1f} min"
    return f"{seconds:.0f} s"
