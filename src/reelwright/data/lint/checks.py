"""All checks of one item, in the order in which people mend things."""

from collections.abc import Callable, Iterator

from reelwright.data.lint.bars import find_bars
from reelwright.data.lint.blankness import find_blankness
from reelwright.data.lint.findings import Finding, Subject
from reelwright.data.lint.frame_rates import find_rate_faults
from reelwright.data.lint.lengths import find_damage, find_shortness
from reelwright.data.lint.scene_cuts import find_cuts
from reelwright.data.lint.sizes import find_size_faults
from reelwright.data.lint.stillness import find_stillness

_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    find_shortness,
    find_cuts,
    find_blankness,
    find_stillness,
    find_bars,
    find_size_faults,
    find_rate_faults,
)


def check(subject: Subject) -> Iterator[Finding]:
    """What is wrong with an item; of one that cannot be read to its end, that alone."""
    if subject.look.error:
        yield from find_damage(subject)
        return
    for find in _CHECKS:
        yield from find(subject)
