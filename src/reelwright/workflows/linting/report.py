"""The totals of a data set in words."""

from collections.abc import Iterator, Mapping

from reelwright.core.sizes import size_text
from reelwright.data.lint.findings import Severity
from reelwright.data.lint.totals import Totals


def describe(totals: Totals, seconds: float | None) -> dict[str, str]:
    """Names and words in order; `seconds` is what the caches will take, None where it was not measured."""
    return {
        "items": str(totals.num_sources),
        "clips": str(totals.num_clips),
        **dict(_buckets(totals)),
        "training items in an epoch": str(totals.num_items),
        "steps in an epoch": str(totals.num_steps),
        "disk for caches": size_text(totals.num_bytes),
        "time for caches": "unknown; --measure tells it" if seconds is None else _duration(seconds),
    }


def count_findings(findings: Mapping[tuple[str, Severity], int]) -> dict[str, str]:
    """How many items each kind of finding concerns."""
    counts = {
        f"{severity}s, {kind}": str(count)
        for severity in ("error", "warning", "note")
        for (kind, found), count in sorted(findings.items())
        if found == severity
    }
    return counts or {"findings": "none"}


def _buckets(totals: Totals) -> Iterator[tuple[str, str]]:
    for ((width, height), num_frames), count in sorted(totals.clips.items()):
        name = f"bucket {width} x {height}"
        yield (name if num_frames == 1 else f"{name}, {num_frames} frames"), str(count)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
