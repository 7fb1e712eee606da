"""Which ways to run bring a run into memory: the lightest that are enough, or what is missing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from reelwright.core.sizes import size_text
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.estimates import Estimate, Place, Stage

EstimateOf = Callable[[ExecutionConfig], Estimate]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes that there are; 0 is no limit."""

    device: int = 0
    host: int = 0

    def of(self, place: Place) -> int:
        return self.device if place == "device" else self.host


@dataclass(frozen=True, kw_only=True)
class Knob:
    """An option that saves memory, and what it costs in words."""

    field: str
    value: Any
    costs: str
    from_disk: bool = False
    """Swapped blocks stay in their file."""

    @property
    def changes(self) -> dict[str, Any]:
        """Fields of the configuration and their values."""
        return {self.field: self.value, **({"swap_home": "disk"} if self.from_disk else {})}

    @property
    def flag(self) -> str:
        """As on a command line."""
        words = (
            (f"--execution.{name.replace('_', '-')}", "" if value is True else f" {value}")
            for name, value in self.changes.items()
        )
        return " ".join(name + text for name, text in words)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was chosen, and what does not fit all the same."""

    execution: ExecutionConfig
    estimate: Estimate
    chosen: tuple[Knob, ...]
    problems: tuple[str, ...]


_TITLES: dict[Place, str] = {"device": "GPU memory", "host": "memory"}
_EXACT = (
    Knob(field="modulation_tables", value=True, costs="costs nothing"),
    Knob(field="guidance_passes", value="apart", costs="a little slower"),
    Knob(field="offload", value=True, costs="networks take turns on the device"),
    Knob(field="stream_encoders", value=True, costs="prompts take longer"),
)
_APPROXIMATE = (Knob(field="tiling", value=True, costs="decodes a little slower; seams are possible"),)
_ROUNDING = (
    Knob(field="text_weights", value="fp8", costs="rounds the text encoder"),
    Knob(field="weights", value="fp8_scaled", costs="rounds weights a little"),
)
_DISK = Knob(field="swap_home", value="disk", costs="reads swapped blocks from disk in each pass")


def fit(
    execution: ExecutionConfig,
    estimate_of: EstimateOf,
    limits: Limits,
    *,
    num_blocks: int,
    has_own_memory: bool,
    has_loras: bool,
) -> Fit:
    """The lightest options with which a run fits into `limits`, in order of what they cost.

    Exact ones come first, then those that approximate, then those that round. Options that differ from their
    defaults are the user's and stay. has_own_memory: of a device whose weights can wait in the computer's.
    has_loras: no block can stay in its file.
    """
    search = _Search(estimate_of, limits, execution, may_read=not has_loras)
    swaps = _swaps(num_blocks, from_disk=not has_own_memory)
    for knob in (*_EXACT, *_APPROXIMATE):
        search.try_knob(knob)
    search.try_first(swaps)
    for knob in (*_ROUNDING, _DISK):
        search.try_knob(knob)
    search.leave_out_needless(swaps)
    return Fit(
        execution=search.execution,
        estimate=search.estimate,
        chosen=tuple(search.chosen),
        problems=tuple(problems(search.estimate, limits)),
    )


def problems(estimate: Estimate, limits: Limits) -> Iterator[str]:
    """Each kind of memory that is too small, with the stage that shows it."""
    for place, name in _TITLES.items():
        limit = limits.of(place)
        stage = estimate.peak(place)
        if limit and stage.memory(place) > limit:
            largest = max((term for term in stage.terms if term.place == place), key=lambda t: t.num_bytes)
            yield (
                f"{stage.name} needs {size_text(stage.memory(place))} of {name}, of which"
                f" {size_text(largest.num_bytes)} are {largest.name}; there are {size_text(limit)}."
            )


def advice(execution: ExecutionConfig, estimate_of: EstimateOf, limits: Limits) -> Iterator[str]:
    """For each stage that does not fit, what single options make of it."""
    plain = estimate_of(execution)
    for place in _TITLES:
        for stage in plain.stages:
            if limits.of(place) and stage.memory(place) > limits.of(place):
                yield from _advice_on(stage, place, execution, estimate_of)


def _advice_on(
    stage: Stage, place: Place, execution: ExecutionConfig, estimate_of: EstimateOf
) -> Iterator[str]:
    before = stage.memory(place)
    for knob in (*_EXACT, *_APPROXIMATE, *_ROUNDING):
        if not _is_open(execution, knob.field):
            continue
        changed = estimate_of(replace(execution, **knob.changes))
        after = next(each for each in changed.stages if each.name == stage.name).memory(place)
        if after < 0.99 * before:
            yield (
                f"{stage.name} needs {size_text(before)}: {knob.flag} makes it {size_text(after)}"
                f" ({knob.costs})."
            )


class _Search:
    """What was decided so far."""

    def __init__(
        self, estimate_of: EstimateOf, limits: Limits, execution: ExecutionConfig, *, may_read: bool
    ) -> None:
        """`may_read`: whether blocks may stay in their file."""
        self._may_read = may_read
        self._estimate_of = estimate_of
        self._limits = limits
        self._asked = execution
        self.execution = execution
        self.estimate = estimate_of(execution)
        self.chosen: list[Knob] = []

    @property
    def fits(self) -> bool:
        return not self._excess(self.estimate)

    def try_knob(self, knob: Knob) -> None:
        """Take it if something is too large and becomes smaller."""
        if self.fits or not _is_open(self._asked, knob.field):
            return
        changed = replace(self.execution, **knob.changes)
        if not self._is_legal(changed):
            return
        estimate = self._estimate_of(changed)
        if self._excess(estimate) < self._excess(self.estimate):
            self._take(changed, estimate, knob)

    def try_first(self, knobs: Sequence[Knob]) -> None:
        """Take the first with which all fits, or the last if it helps."""
        if self.fits or not knobs or not _is_open(self._asked, knobs[0].field):
            return
        for knob in knobs:
            changed = replace(self.execution, **knob.changes)
            if not self._is_legal(changed):
                return
            estimate = self._estimate_of(changed)
            if not self._excess(estimate):
                self._take(changed, estimate, knob)
                return
        self.try_knob(knobs[-1])

    def leave_out_needless(self, swaps: Sequence[Knob]) -> None:
        """Later options may have made earlier ones needless."""
        if not self.fits:
            return
        for knob in list(self.chosen):
            without = {name: getattr(ExecutionConfig(), name) for name in knob.changes}
            self._keep_if_it_fits(knob, replace(self.execution, **without))
        swapped = next((knob for knob in self.chosen if knob.field == "block_swap"), None)
        for fewer in swaps if swapped else ():
            if fewer.value < self.execution.block_swap:
                changed = replace(self.execution, block_swap=fewer.value)
                estimate = self._estimate_of(changed)
                if not self._excess(estimate):
                    self.chosen = [fewer if knob is swapped else knob for knob in self.chosen]
                    self.execution, self.estimate = changed, estimate
                    return

    def _is_legal(self, execution: ExecutionConfig) -> bool:
        """Whether the options can go together: what stays in a file is as the file has it."""
        if execution.stream_encoders and execution.text_weights != "full":
            return False
        if execution.swap_home == "memory":
            return True
        return self._may_read and execution.block_swap > 0 and execution.weights == "full"

    def _keep_if_it_fits(self, knob: Knob, changed: ExecutionConfig) -> None:
        if not self._is_legal(changed):
            return
        estimate = self._estimate_of(changed)
        if not self._excess(estimate):
            self.chosen.remove(knob)
            self.execution, self.estimate = changed, estimate

    def _take(self, execution: ExecutionConfig, estimate: Estimate, knob: Knob) -> None:
        self.execution, self.estimate = execution, estimate
        self.chosen.append(knob)

    def _excess(self, estimate: Estimate) -> int:
        """Bytes over the limits, of all stages together, so that one that becomes smaller counts."""
        return sum(
            max(stage.memory(place) - self._limits.of(place), 0)
            for place in _TITLES
            if self._limits.of(place)
            for stage in estimate.stages
        )


def _swaps(num_blocks: int, *, from_disk: bool) -> tuple[Knob, ...]:
    costs = f"blocks come {'from disk' if from_disk else 'to the device'} in each pass"
    return tuple(
        Knob(field="block_swap", value=count, costs=costs, from_disk=from_disk)
        for count in range(1, num_blocks - 1)
    )


def _is_open(execution: ExecutionConfig, name: str) -> bool:
    """Whether the user said nothing of an option."""
    default = next(each.default for each in fields(ExecutionConfig) if each.name == name)
    return getattr(execution, name) == default
