"""What runs came to, beside the exact one."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from reelwright.core.events import ItemFinding
from reelwright.workflows.benching.quality import Nearness
from reelwright.workflows.benching.variants import Variant
from reelwright.workflows.benching.watching import MEASURED_STAGES, RunTaken

_MIB = 2**20
SAME = 100.0
"""Decibels of the same frames."""
_HEAD = ("run", "seconds", "faster", "device", "host", "PSNR", "SSIM", "latent error", "drift")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One way to run, all rounds together; of times the median, of memory the most."""

    name: str
    seconds: float
    seconds_by_stage: dict[str, float]
    faster: float
    """Median over rounds of the exact run's time, divided by this one's."""
    device_peak: int
    device_share: float
    """Of what the exact run needs."""
    host_peak: int
    host_share: float
    nearness: Nearness
    least_psnr: float
    """What it has to keep; 0 where nothing was promised."""
    shortcuts: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def excess(self) -> float:
        """Decibels by which it costs more than it may."""
        return max(self.least_psnr - self.nearness.psnr, 0.0)

    def as_data(self) -> dict[str, Any]:
        """For the report."""
        return {**asdict(self), "excess": self.excess, "exceeded": self.excess > 0.0}

    def findings(self) -> Iterator[ItemFinding]:
        """A warning where it costs more than it may, or a shortcut changed nothing."""
        if self.shortcuts and self.nearness.least_psnr >= SAME:
            yield ItemFinding(
                item=self.name,
                kind="no effect",
                message=f"{self.name} makes the frames of the exact run: {'; '.join(self.shortcuts)}."
                " More steps, or a larger --execution.step-cache-threshold, leave out more.",
                severity="warning",
            )
        if self.excess:
            yield ItemFinding(
                item=self.name,
                kind="loss",
                message=f"{self.name} costs {self.excess:.1f} dB more than it may here: PSNR is"
                f" {self.nearness.psnr:.1f} dB, and should be {self.least_psnr:g}. Take a milder preset, or a"
                " smaller --execution.step-cache-threshold beside it.",
                severity="warning",
            )


def result_of(
    variant: Variant, runs: Sequence[RunTaken], exact: Sequence[RunTaken], nearness: Nearness
) -> Result:
    """Runs of a variant and of the baseline, round by round."""
    device, host = (max(getattr(run, name) for run in runs) for name in ("device_peak", "host_peak"))
    device_then, host_then = (
        max(getattr(run, name) for run in exact) for name in ("device_peak", "host_peak")
    )
    pairs = zip(runs, exact, strict=True)
    return Result(
        name=variant.name,
        seconds=median(run.total_seconds for run in runs),
        seconds_by_stage={stage: median(run.seconds[stage] for run in runs) for stage in MEASURED_STAGES},
        faster=median(_ratio(then.total_seconds, now.total_seconds) for now, then in pairs),
        device_peak=device,
        device_share=_ratio(device, device_then),
        host_peak=host,
        host_share=_ratio(host, host_then),
        nearness=nearness,
        least_psnr=variant.least_psnr,
        shortcuts=runs[-1].shortcuts,
        notices=tuple(dict.fromkeys(runs[-1].notices)),
    )


def table_of(results: Sequence[Result]) -> str:
    """All of them in columns."""
    rows = [_HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _row(result: Result) -> tuple[str, ...]:
    near = result.nearness
    return (
        result.name,
        f"{result.seconds:.2f}",
        f"{result.faster:.2f} x",
        f"{result.device_peak / _MIB:.0f} MiB ({result.device_share:.2f} x)",
        f"{result.host_peak / _MIB:.0f} MiB ({result.host_share:.2f} x)",
        "same" if near.least_psnr >= SAME else f"{near.psnr:.1f} dB (least {near.least_psnr:.1f})",
        f"{near.ssim:.4f}",
        f"{near.latent_error:.2g}",
        f"{near.drift:.2f} % (exact {near.drift_of_exact:.2f} %)",
    )


def _ratio(value: float, other: float) -> float:
    return value / other if other else 0.0
