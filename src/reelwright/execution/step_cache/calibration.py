"""Magnitude ratios of a model, measured while it makes clips exactly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reelwright.execution.policy import Branch, Call
from reelwright.execution.step_cache.ratios import MagnitudeRatios, write_ratios
from reelwright.execution.step_cache.trunk import known_call, replace_trunk

_Ratios = dict[Branch, list[float]]


class Calibration:
    """A policy that leaves nothing out, and measures how the magnitude of what blocks add grows.

    Of each step the mean over tokens of their length, by that of the step before (arXiv 2506.09045). Runs
    with as many steps as the first one are averaged. Memory: two tensors like the video's tokens.
    """

    def __init__(self, network: nn.Module, path: Path | None = None) -> None:
        """`path`: the file to write at the end of every run."""
        self._path = path
        self._trunk = replace_trunk(network, self._run)
        self._runs: list[_Ratios] = []
        self._now: _Ratios = {}
        self._before: dict[Branch, Tensor] = {}
        self._calls_left = 0
        self._call: Call | None = None

    @property
    def shortcut(self) -> str:
        return ""

    def start(self, calls: Sequence[Call]) -> None:
        self._now, self._before, self._calls_left = {}, {}, len(calls)

    def enter(self, call: Call) -> None:
        self._call = call

    @property
    def ratios(self) -> MagnitudeRatios:
        """Of the whole runs so far. Raises ValueError if there are none."""
        positive, negative = self._mean_of("positive"), self._mean_of("negative")
        if not positive:
            raise ValueError("no run was measured to its end")
        return MagnitudeRatios(positive=positive, negative=negative)

    def write_ratios(self, path: Path) -> None:
        """Raises ValueError if nothing was measured, FileError where the disk refuses."""
        write_ratios(path, self.ratios)

    def _run(self, *inputs: Any) -> Tensor:  # noqa: ANN401 - whatever the family's trunk takes
        call, self._call = known_call(self._call), None
        after_BLD = self._trunk(*inputs)
        self._measure(call, after_BLD - inputs[0])
        return after_BLD

    def _measure(self, call: Call, added_BLD: Tensor) -> None:
        lengths_BL = torch.linalg.vector_norm(added_BLD, dim=-1, dtype=torch.float32)
        # The negative prompt's half comes first.
        halves: dict[Branch, Tensor] = {call.branch: lengths_BL}
        if call.branch == "both":
            halves["negative"], halves["positive"] = halves.pop("both").chunk(2)
        for branch, lengths in halves.items():
            before = self._before.get(branch)
            self._before[branch] = lengths
            ratio = 1.0 if before is None else float((lengths / before.clamp_min(1e-8)).mean())
            self._now.setdefault(branch, []).append(ratio)
        self._calls_left -= 1
        if not self._calls_left:
            self._end_run()

    def _end_run(self) -> None:
        num_steps = len(self._now["positive"])
        if not self._runs or len(self._runs[0]["positive"]) == num_steps:
            self._runs.append(self._now)
        if self._path is not None:
            self.write_ratios(self._path)

    def _mean_of(self, branch: Branch) -> list[float]:
        known = [run[branch] for run in self._runs if branch in run]
        return [sum(ratios) / len(known) for ratios in zip(*known, strict=True)]
