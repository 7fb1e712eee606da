"""Cuts inside a clip: a model would learn to jump from one scene to another."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from reelwright.data.lint.findings import Finding, Subject
from reelwright.data.lint.libraries import optional_library
from reelwright.media.frame_chunks import Pixels

_SMALLEST_CHANGE = 20.0
"""Mean change of hue, saturation and brightness from frame to frame, in levels. Motion may reach it too."""
_OUTSTANDING = 3.0
"""Times the change is larger than that of the frames around; motion goes on, a cut does not."""
_AROUND = 2
"""Frames before and after."""
_NUM_LISTED = 5


class CutGauge:
    """Finds cuts with PySceneDetect's content detector in its adaptive form, fed frame by frame."""

    def __init__(self) -> None:
        detectors, library = optional_library("scenedetect.detectors"), optional_library("scenedetect")
        self._detector: Any = detectors.AdaptiveDetector(
            adaptive_threshold=_OUTSTANDING,
            min_content_val=_SMALLEST_CHANGE,
            window_width=_AROUND,
            min_scene_len=1,
        )
        self._timecode: Any = library.FrameTimecode
        self._num_fed = 0
        self._starts: deque[float] = deque(maxlen=_AROUND + 1)
        self._last: Pixels | None = None
        self._cuts: list[float] = []

    def add(self, frame_HWC: Pixels, start: float) -> None:
        if self._last is None:
            # So that a cut is found beside the first frame too, which has nothing before it.
            self._feed(frame_HWC, start, times=_AROUND)
        self._feed(frame_HWC, start)
        self._last = frame_HWC

    def cuts(self) -> tuple[float, ...]:
        """After the last frame: the seconds at which new scenes begin."""
        if self._last is not None:
            self._feed(self._last, self._starts[-1], times=_AROUND)
        return tuple(self._cuts)

    def _feed(self, frame_HWC: Pixels, start: float, times: int = 1) -> None:
        for _ in range(times):
            self._starts.append(start)
            timecode = self._timecode(self._num_fed, fps=1.0)
            # OpenCV has blue first. What is found lies as far back as the detector looks ahead.
            if self._detector.process_frame(timecode, frame_HWC[..., ::-1].copy()):
                self._cuts.append(self._starts[0])
            self._num_fed += 1


def find_cuts(subject: Subject) -> Iterator[Finding]:
    cuts = subject.look.cuts
    if not cuts:
        return
    listed = ", ".join(f"{moment:.2f} s" for moment in cuts[:_NUM_LISTED])
    more = f" and {len(cuts) - _NUM_LISTED} more" if len(cuts) > _NUM_LISTED else ""
    message = f"the scene changes at {listed}{more}. --fix splits it there."
    yield Finding(kind="cut", severity="warning", message=message)
