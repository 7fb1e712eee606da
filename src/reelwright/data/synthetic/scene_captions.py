"""Captions of endless synthetic scenes, without the scenes."""

from collections.abc import Iterator

from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.wording import DETAILS, caption


def scene_captions(count: int, seed: int) -> Iterator[str]:
    """Of `count` scenes with every word that scenes can have, each in all details."""
    for index in range(count):
        scene = describe(seed, index)
        for detail in DETAILS:
            yield caption(scene, detail)
