"""What is right about a clip and what is not, attribute by attribute."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from reelwright.data.judging.backgrounds import explain_background, name_pattern
from reelwright.data.judging.camera import camera_moves
from reelwright.data.judging.colors import Floats
from reelwright.data.judging.motions import recognize_motion
from reelwright.data.judging.prompts import SceneSaid, ThingSaid
from reelwright.data.judging.shapes import recognize_shape
from reelwright.data.judging.tracks import Track, follow_things

ATTRIBUTES = ("shape", "color", "motion", "background")
NOTHING = "nothing"
"""Found, where there is no object."""

_WEIGHTS = {"color": 4, "shape": 2, "motion": 1}
"""By which objects are taken for those of the prompt: colors are the surest."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One attribute that a prompt names, and what the frames show."""

    thing: str
    """The object it belongs to, as the prompt calls it; empty for the background."""
    attribute: str
    said: str
    found: str

    @property
    def is_right(self) -> bool:
        return self.said == self.found


@dataclass(frozen=True, kw_only=True)
class SceneFound:
    """What the frames show."""

    things: tuple[ThingSaid, ...]
    """In the words of prompts, the largest first."""
    background: str
    camera_moves: bool = False


def look_at(frames_FHWC: Floats, fps: float) -> SceneFound:
    """All that can be found in a clip: float32 [F, H, W, 3] from 0 to 255."""
    background = explain_background(frames_FHWC)
    is_thing_HW = background.distances(frames_FHWC[0]) > background.distances(frames_FHWC[0]).max() / 3.0
    return SceneFound(
        things=tuple(_describe(track, fps) for track in follow_things(frames_FHWC, background)),
        background=name_pattern(background, frames_FHWC[0], is_thing_HW),
        camera_moves=camera_moves(background, frames_FHWC),
    )


def judge(said: SceneSaid, found: SceneFound) -> list[Verdict]:
    """Each attribute that was said beside what was found; each found object answers for one that was said.

    Motions are left out where `hides_motions` is true.
    """
    is_hidden = hides_motions(said, found)
    verdicts: list[Verdict] = []
    for wanted, thing in zip(said.things, _paired(said.things, found.things), strict=True):
        name = " ".join(filter(None, (wanted.color, wanted.shape)))
        verdicts += [
            Verdict(thing=name, attribute=attribute, said=word, found=getattr(thing, attribute) or NOTHING)
            for attribute in _WEIGHTS
            if (word := getattr(wanted, attribute)) and not (attribute == "motion" and is_hidden)
        ]
    if said.background:
        verdicts.append(
            Verdict(thing="", attribute="background", said=said.background, found=found.background)
        )
    return verdicts


def hides_motions(said: SceneSaid, found: SceneFound) -> bool:
    """Whether the camera moves: what stands still then goes through the picture.

    That is believed of a background that is as it should be; another one may be nothing but unsteady.
    """
    return found.camera_moves and said.background in ("", found.background)


def _describe(track: Track, fps: float) -> ThingSaid:
    shape = recognize_shape(track.whole_sights or track.sights)
    return ThingSaid(shape=shape, color=track.color, motion=recognize_motion(track, shape, fps))


def _paired(wanted: Sequence[ThingSaid], found: Sequence[ThingSaid]) -> list[ThingSaid]:
    """The found object for each wanted one, so that most fits; an empty one where none is left."""
    candidates = [*found, *[ThingSaid()] * len(wanted)]
    choices = permutations(range(len(candidates)), len(wanted))
    best = max(choices, key=lambda choice: sum(map(_fit, wanted, (candidates[i] for i in choice))))
    return [candidates[index] for index in best]


def _fit(wanted: ThingSaid, found: ThingSaid) -> float:
    """How much of what is wanted is found; to be there at all counts a little."""
    agreeing = [
        weight for name, weight in _WEIGHTS.items() if getattr(wanted, name) == getattr(found, name) != ""
    ]
    return sum(agreeing) + (0.5 if found.color else 0.0)
