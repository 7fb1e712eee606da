"""What this machine can do, what keeps it from doing more, and what to type against that."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from reelwright import families
from reelwright.core.events import Event, Facts, Finished
from reelwright.workflows.examining.findings import Examined, problem
from reelwright.workflows.examining.libraries import examine_libraries

_REPAIR = "pip install --upgrade --force-reinstall reelwright"


def run(family: str = "", out: Path = Path("outputs"), *, fits: bool = False) -> Iterator[Event]:
    """Facts part by part, and a finding for each problem; problems are no failure of this command.

    `family` is the one whose models are looked for; all of them without. With `fits` the planner tells with
    which options each fits into free memory, which takes a while. Nothing is loaded or downloaded.
    """
    started = time.perf_counter()
    names = families.names()
    if family:
        families.configs(family)  # raises for a name that is not known
        names = (family,)
    parts: tuple[Callable[[], Examined], ...] = (
        examine_libraries,
        _examine_computing,
        partial(_examine_places, out),
        partial(_examine_models, names),
        *([partial(_examine_fits, names)] if fits else []),
    )
    num_problems = 0
    for examine in parts:
        examined = _whole(examine)
        yield Facts(examined.facts)
        yield from examined.problems
        num_problems += len(examined.problems)
    yield Facts({"problems": str(num_problems) if num_problems else "none"})
    yield Finished(seconds=time.perf_counter() - started)


def _whole(examine: Callable[[], Examined]) -> Examined:
    """What was found out; where a library does not load, that."""
    try:
        return examine()
    except (ImportError, OSError) as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return Examined(problems=(problem("reelwright", "library", what, _REPAIR),))


# Libraries that are missing or broken are told of, so each is imported where its part begins.


def _examine_computing() -> Examined:
    from reelwright.workflows.examining.computing import examine_devices, examine_kernels  # noqa: PLC0415

    return examine_devices() + examine_kernels()


def _examine_places(out: Path) -> Examined:
    from reelwright.workflows.examining.places import examine_codecs, examine_disks  # noqa: PLC0415

    return examine_disks(out) + examine_codecs()


def _examine_models(names: Sequence[str]) -> Examined:
    from reelwright.workflows.examining.models import examine_models  # noqa: PLC0415

    return examine_models(names)


def _examine_fits(names: Sequence[str]) -> Examined:
    from reelwright.workflows.examining.fits import examine_fits  # noqa: PLC0415

    return examine_fits(names)
