"""What happens while a workflow runs, as plain data; front ends decide how it looks.

Paths are strings, memory is in bytes, time in seconds; a total of 0 means that nobody knows it yet.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A part of the work begins: loading, encoding, denoising, decoding."""

    stage: str
    total: int = 0


@dataclass(frozen=True, slots=True)
class StepDone:
    """Step `step` (from 1) of `total` of a stage took `seconds`."""

    stage: str
    step: int
    total: int
    seconds: float
    peak_memory: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers known after training step `step` of `total`, by name, for curves and logs.

    After each step: loss, smoothed_loss, rate (and rate/GROUP of several), gradient_norm, seconds,
    items_per_second, peak_memory; after some: change, loss_at/LEVEL, validation_loss, validation_loss/LEVEL.
    """

    step: int
    total: int
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class PreviewSaved:
    """A rough picture of the clip as it stands after `step`."""

    path: str
    step: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something was adjusted or is worth knowing; the work goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class FileSaved:
    """A file is complete on disk. `kind`: video, frames, latent, section, contact_sheet, recipe."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The answer to a question: names and what they are, in words and in order."""

    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run will take, as JSON can hold it: stages with their memory, disk, time, what was chosen."""

    plan: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ItemFinding:
    """Something is wrong with an item of a data set, or worth knowing. `severity`: error, warning, note."""

    item: str
    kind: str
    message: str
    severity: str


@dataclass(frozen=True, slots=True)
class ConsoleText:
    """Lines that a terminal shows as they are, with colors in ANSI codes."""

    text: str


@dataclass(frozen=True, slots=True)
class PromptAwaited:
    """All is made that was asked for; prompt `number` (from 1) may come."""

    number: int


@dataclass(frozen=True, slots=True)
class ClipFinished:
    """Clip `clip` (from 1) of `total` is done; `files` maps each kind to its path."""

    clip: int
    total: int
    files: dict[str, str]
    shortcuts: tuple[str, ...] = ()
    """What was left out or rounded while it was made, in words."""


@dataclass(frozen=True, slots=True)
class ClipFailed:
    """Clip `clip` (from 1) of `total` could not be made; the others are."""

    clip: int
    total: int
    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The workflow came to its end; `files` holds one mapping of kind to path for each clip."""

    files: tuple[dict[str, str], ...] = ()
    seconds: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The workflow ended with an error of class `kind`."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The workflow was interrupted by `signal` (SIGINT or SIGTERM); what was finished is kept."""

    signal: str
    advice: str = ""
    """How to go on, if the workflow knows."""


Event = (
    StageStarted
    | StepDone
    | Measured
    | PreviewSaved
    | Notice
    | FileSaved
    | Facts
    | ConsoleText
    | Planned
    | ItemFinding
    | PromptAwaited
    | ClipFinished
    | ClipFailed
    | Finished
    | Failed
    | Stopped
)


class EventSink(Protocol):
    """Where events go: a progress bar, a file, a socket."""

    def __call__(self, event: Event, /) -> None: ...


def to_json(event: Event) -> dict[str, object]:
    """The event as JSON-safe data, its name first: {"event": "step_done", "stage": "denoise", ...}.

    What was measured and is no finite number becomes null, as JSON has no word for it.
    """
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    data = asdict(event)
    if isinstance(event, Measured):
        data["values"] = finite_or_none(event.values)
    return {"event": name, **data}


def finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same numbers, as JSON can hold them."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
