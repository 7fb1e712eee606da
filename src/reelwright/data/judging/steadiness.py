"""How steady a clip is, whatever it shows: numbers in percent of the range of brightness."""

from dataclasses import dataclass

import numpy as np

from reelwright.data.judging.colors import Floats

_SHARE = 0.15
_RANGE = 255.0


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """Two meters of a clip."""

    flicker: float
    """Mean of |before - 2 now + after| / 4 over pixels and time: steady change counts nothing."""
    drift: float
    """How far brightness or contrast of a color channel differs between the first and the last 15 %."""


def measure_steadiness(frames_FHWC: Floats) -> Steadiness:
    """Of float32 [F, H, W, 3] from 0 to 255; both are 0 for clips that are too short to tell."""
    return Steadiness(flicker=_flicker(frames_FHWC), drift=_drift(frames_FHWC))


def _flicker(frames_FHWC: Floats) -> float:
    if len(frames_FHWC) < 3:
        return 0.0
    changes = [
        float(np.abs(before - 2.0 * now + after).mean())
        for before, now, after in zip(frames_FHWC, frames_FHWC[1:], frames_FHWC[2:], strict=False)
    ]
    return 100.0 * float(np.mean(changes)) / 4.0 / _RANGE


def _drift(frames_FHWC: Floats) -> float:
    if len(frames_FHWC) < 2:
        return 0.0
    count = max(round(_SHARE * len(frames_FHWC)), 1)
    first, last = (_moments(part) for part in (frames_FHWC[:count], frames_FHWC[-count:]))
    return 100.0 * float(np.abs(first - last).max()) / _RANGE


def _moments(frames_FHWC: Floats) -> np.ndarray:
    """Mean and standard deviation of each channel, averaged over frames."""
    return np.stack([frames_FHWC.mean((1, 2)).mean(0), frames_FHWC.std((1, 2)).mean(0)])
