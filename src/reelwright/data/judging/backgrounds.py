"""What is behind the objects of a clip: which of the vocabulary's colors explain most of the picture, and
in which pattern."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reelwright.data.judging.colors import Floats, Mask, distance_to_mixture, distance_to_shades
from reelwright.data.judging.prompts import name_background
from reelwright.data.synthetic.vocabulary import PLACES, TONE_PAIRS, TONES

_FAR = 40.0
"""Differences of color beyond this are all the same: another thing."""
_COST_OF_TWO = 6.0
"""How much closer, on average, two colors must be than one to be believed."""
_GROUND_SPREAD, _AIR_SPREAD = 0.22, 0.08
"""How much darker and brighter places get, below and above the horizon."""
_NUM_LOOKS = 4
_EXPLAINED = 0.75
"""Share of the variation that rows, columns or diagonals explain in a pattern made of them."""
_NEAR_AN_END, _SHARPLY = 0.2, 0.72


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Colors that a background may be made of."""

    kind: str
    """A place, `plain`, or `two` for all patterns of two tones."""
    tones: tuple[str, ...] = ()

    def distances(self, pixels: Floats) -> Floats:
        """How far each pixel of [..., 3] is from what this background may look like."""
        if self.kind == "sky":
            return distance_to_mixture(pixels, *_place_colors(self.kind))[0]
        if self.kind in PLACES:
            above, below = _place_colors(self.kind)
            air = distance_to_shades(pixels, above, _AIR_SPREAD)
            return np.minimum(air, distance_to_shades(pixels, below, _GROUND_SPREAD))
        first, second = _tone(self.tones[0]), _tone(self.tones[-1])
        return distance_to_mixture(pixels, first, second)[0]


def explain_background(frames_FHWC: Floats) -> Explanation:
    """The colors that explain most of what is seen in a few frames."""
    looks = np.linspace(0, len(frames_FHWC) - 1, _NUM_LOOKS).astype(int)
    pixels = frames_FHWC[looks].reshape(-1, 3)

    def misfit(explanation: Explanation) -> float:
        far = np.minimum(explanation.distances(pixels), _FAR).mean()
        return float(far) + (0.0 if explanation.kind == "plain" else _COST_OF_TWO)

    return min(_explanations(), key=misfit)


def name_pattern(explanation: Explanation, frame_HWC: Floats, is_thing_HW: Mask) -> str:
    """The background as the prompt would call it, from a frame and where its objects are."""
    if explanation.kind != "two":
        return name_background(explanation.kind, explanation.tones)
    first, second = explanation.tones
    _, share_HW = distance_to_mixture(frame_HWC, _tone(first), _tone(second))
    kind = _pattern(np.where(is_thing_HW, np.nan, share_HW))
    if kind != "gradient":
        return name_background(kind, explanation.tones)
    rows_H = _line_means(share_HW, _rows(share_HW), ~is_thing_HW)
    is_downward = rows_H[-1] > rows_H[0]
    return name_background(kind, (first, second) if is_downward else (second, first))


def _explanations() -> Iterator[Explanation]:
    yield from (Explanation(kind="plain", tones=(tone,)) for tone in TONES)
    yield from (Explanation(kind="two", tones=pair) for pair in TONE_PAIRS)
    yield from (Explanation(kind=place) for place in PLACES)


def _pattern(share_HW: Floats) -> str:
    """Which pattern the share of the second tone makes; NaN where objects hide it."""
    is_seen = ~np.isnan(share_HW)
    if not is_seen.any():
        return "clouded"  # the one without an order to be seen
    seen = share_HW[is_seen]
    is_sharp = np.mean(np.minimum(seen, 1.0 - seen) < _NEAR_AN_END) > _SHARPLY
    if not is_sharp:
        return "gradient" if _explained(share_HW, _rows(share_HW), is_seen) > _EXPLAINED else "clouded"
    rows, columns = _rows(share_HW), _rows(share_HW.T).T
    lines = {
        "horizontal stripes": rows,
        "vertical stripes": columns,
        "diagonal stripes": rows + columns,
    }
    best = max(lines, key=lambda name: _explained(share_HW, lines[name], is_seen))
    return best if _explained(share_HW, lines[best], is_seen) > _EXPLAINED else "checkerboard"


def _rows(plane_HW: Floats) -> np.ndarray:
    """The number of its row at each place."""
    return np.broadcast_to(np.arange(plane_HW.shape[0])[:, None], plane_HW.shape)


def _line_means(plane_HW: Floats, line_HW: np.ndarray, is_seen_HW: Mask) -> Floats:
    """The mean along each line of what is seen there; the mean of all where nothing is."""
    lines, values = line_HW[is_seen_HW], plane_HW[is_seen_HW]
    length = int(line_HW.max()) + 1
    counts = np.bincount(lines, minlength=length)
    sums = np.bincount(lines, values, length)
    return np.where(counts > 0, sums / np.maximum(counts, 1), values.mean()).astype(np.float32)


def _explained(plane_HW: Floats, line_HW: np.ndarray, is_seen_HW: Mask) -> float:
    """How much of the variation lies between lines rather than within them, from 0 to 1."""
    values = plane_HW[is_seen_HW]
    rest = values - _line_means(plane_HW, line_HW, is_seen_HW)[line_HW[is_seen_HW]]
    return 1.0 - float(rest.var() / max(values.var(), 1e-9))


def _tone(name: str) -> Floats:
    return np.array(TONES[name], np.float32)


def _place_colors(name: str) -> tuple[Floats, Floats]:
    above, below = PLACES[name][1:]
    return np.array(above, np.float32), np.array(below, np.float32)
