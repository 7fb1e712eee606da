"""What is wrong with the items of a data set, on stdout: a table on a terminal, a line for each elsewhere.

Notes are left out: nearly every item may have one. Their number is in the totals, and --json has them all.
"""

import sys

from reelwright.core.events import Event, Facts, Failed, Finished, ItemFinding, Stopped

_MOST_ROWS = 500
"""Rows that wait until they are drawn; a data set may have more findings than memory."""
_COLORS = {"error": "red", "warning": "yellow"}


class FindingsTable:
    """A sink that collects findings and draws them before the totals come."""

    def __init__(self) -> None:
        self._rows: list[ItemFinding] = []

    def __call__(self, event: Event, /) -> None:
        match event:
            case ItemFinding() if event.severity != "note":
                self._rows.append(event)
            case Facts() | Finished() | Failed() | Stopped():
                self._draw()
            case _:
                pass
        if len(self._rows) >= _MOST_ROWS:
            self._draw()

    def _draw(self) -> None:
        if not self._rows:
            return
        from rich.console import Console  # noqa: PLC0415 - rich is slow to import
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table("item", "kind", "what", show_lines=False)
        for row in self._rows:
            color = _COLORS.get(row.severity, "")
            table.add_row(Text(row.item, overflow="fold"), Text(row.kind, style=color), Text(row.message))
        Console().print(table)
        self._rows.clear()


def write_findings(event: Event, /) -> None:
    """Each finding as a line for programs and eyes: `warning: clips/a.mp4: bars: ...`."""
    if isinstance(event, ItemFinding) and event.severity != "note":
        sys.stdout.write(f"{event.severity}: {event.item}: {event.kind}: {event.message}\n")
