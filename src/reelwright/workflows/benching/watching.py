"""What one run took, from its events."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from reelwright.core.events import ClipFinished, Event, Notice, StepDone

MEASURED_STAGES = ("denoise", "decode")


@dataclass(kw_only=True)
class RunTaken:
    """Time, memory and files of one run, without its first clip, which warms up."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MEASURED_STAGES, 0.0))
    """Stage -> in all clips together."""
    device_peak: int = 0
    """Bytes; of a processor those of the process, as for the host."""
    host_peak: int = 0
    """Bytes that the process held at most; 0 where the system does not tell."""
    clips: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """Kind of file -> path, clip by clip."""
    shortcuts: tuple[str, ...] = ()
    notices: list[str] = field(default_factory=list[str])

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


class RunWatch:
    """Folds the events of `generate` into what the run took; they may come from another process."""

    def __init__(self) -> None:
        self.taken = RunTaken()
        self._clip = dict.fromkeys(MEASURED_STAGES, 0.0)

    def __call__(self, event: Event, /) -> None:
        match event:
            case StepDone(stage=stage, seconds=seconds, peak_memory=peak) if stage in MEASURED_STAGES:
                self._clip[stage] += seconds
                self.taken.device_peak = max(self.taken.device_peak, peak)
            case ClipFinished():
                self._finish(event)
            case Notice(message=message):
                self.taken.notices.append(message)
            case _:
                pass

    def _finish(self, event: ClipFinished) -> None:
        if event.clip > 1:
            for stage, seconds in self._clip.items():
                self.taken.seconds[stage] += seconds
            self.taken.clips.append(event.files)
            self.taken.shortcuts = event.shortcuts
        self._clip = dict.fromkeys(MEASURED_STAGES, 0.0)


def watched(events: Iterable[Event]) -> RunTaken:
    """What a run in this process took."""
    watch = RunWatch()
    for event in events:
        watch(event)
    return watch.taken
