"""Steps left out: around the trunk, for one run at a time, each branch for itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from reelwright.execution.policy import Branch, Call
from reelwright.execution.step_cache.rules import Rule
from reelwright.execution.step_cache.trunk import FirstBlock, known_call, replace_trunk


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to find steps that change little."""

    name: str
    threshold: float
    """The change that may be left out; at 0 nothing is."""
    new_rule: Callable[[Branch, int], Rule]
    """(branch, number of steps) -> what judges the steps of a run."""
    signal: Callable[..., Tensor] | None = None
    """(all that the trunk is given) -> what the rule sees; None if that is nothing, or of the first block."""
    sees_first_block: bool = False


@dataclass
class _Branch:
    """What is remembered of one branch of a run."""

    rule: Rule
    added: Tensor | None = None
    """What the blocks, or all but the first, added to the video's tokens when they ran last: [B, L, D]."""
    step: int = -1
    """The last one."""
    num_skipped: int = 0
    """Steps left out since blocks ran last."""


class StepCache:
    """A policy: it has put itself around the trunk of the network that it is made for.

    Memory for each branch: one tensor like the video's tokens; a second one where a method compares tokens.
    """

    def __init__(self, network: nn.Module, method: Method, *, start: float, max_skips: int) -> None:
        """Nothing is left out in the first `start` of the steps, at most `max_skips` are in a row."""
        self._method, self._start, self._max_skips = method, start, max_skips
        self._trunk = replace_trunk(network, self._run)
        self._first_block = FirstBlock(network) if method.sees_first_block else None
        self._branches: dict[Branch, _Branch] = {}
        self._call: Call | None = None
        self._unit = ""
        self.num_calls = self.num_skipped = 0

    @property
    def shortcut(self) -> str:
        method = self._method
        if not method.threshold:
            return ""
        name = f"{method.name} {method.threshold:g}"
        return f"{name}: {self.num_skipped} of {self.num_calls} {self._unit} left out" if self._unit else name

    def start(self, calls: Sequence[Call]) -> None:
        self._branches = {}
        self.num_calls, self.num_skipped = len(calls), 0
        self._unit = "passes" if len({call.branch for call in calls}) > 1 else "steps"

    def enter(self, call: Call) -> None:
        self._call = call

    def _run(self, *inputs: Any) -> Tensor:  # noqa: ANN401 - whatever the family's trunk takes
        call, self._call = known_call(self._call), None
        branch = self._branch_of(call)
        first = self._first_block and self._first_block.run(*inputs)
        before_BLD = first[0] if first else inputs[0]
        seen = self._seen(first, inputs)
        if self._is_left_out(call, branch, seen):
            assert branch.added is not None
            self.num_skipped += 1
            branch.num_skipped += 1
            return before_BLD + branch.added
        branch.added, branch.num_skipped = None, 0  # gone before blocks need memory
        branch.rule.computed(seen)
        if first and self._first_block:
            after_BLD = self._first_block.run_others(self._trunk, first, *inputs)
        else:
            after_BLD = self._trunk(*inputs)
        if call.step == call.num_steps - 1:
            del self._branches[call.branch]  # the run ends, and what comes after it needs memory too
        else:
            branch.added = after_BLD - before_BLD
        return after_BLD

    def _branch_of(self, call: Call) -> _Branch:
        known = self._branches.get(call.branch)
        if known is None:
            known = _Branch(rule=self._method.new_rule(call.branch, call.num_steps))
            self._branches[call.branch] = known
        return known

    def _seen(self, first: tuple[Tensor, Tensor] | None, inputs: Sequence[Any]) -> Tensor | None:
        if first:
            return first[0] - inputs[0]
        return self._method.signal(*inputs) if self._method.signal else None

    def _is_left_out(self, call: Call, branch: _Branch, seen: Tensor | None) -> bool:
        follows, branch.step = call.step == branch.step + 1, call.step
        begins = max(int(self._start * call.num_steps), 1)
        may_be = follows and branch.added is not None and begins <= call.step < call.num_steps - 1
        if not may_be or branch.num_skipped >= self._max_skips:
            return False
        change = branch.rule.change(call.step, seen)
        return self._method.threshold > 0 and change <= self._method.threshold
