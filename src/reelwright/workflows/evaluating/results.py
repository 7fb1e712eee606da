"""What was found out about clips: of each, and of all together."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reelwright.core.events import ItemFinding
from reelwright.data.judging.steadiness import Steadiness
from reelwright.data.judging.verdicts import ATTRIBUTES, Verdict


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """One clip."""

    path: Path
    prompt: str
    verdicts: tuple[Verdict, ...]
    camera_moves: bool
    """Motions are not judged then."""
    steadiness: Steadiness

    def findings(self) -> Iterator[ItemFinding]:
        """What is wrong, as warnings; what is right, as notes."""
        for verdict in self.verdicts:
            of = f" of the {verdict.thing}" if verdict.thing else ""
            yield ItemFinding(
                item=str(self.path),
                kind=verdict.attribute,
                message=f"{verdict.said}{of}, found {verdict.found}",
                severity="note" if verdict.is_right else "warning",
            )

    def as_data(self) -> dict[str, object]:
        """For the report."""
        return {
            "clip": str(self.path),
            "prompt": self.prompt,
            "attributes": [{**asdict(verdict), "right": verdict.is_right} for verdict in self.verdicts],
            "camera_moves": self.camera_moves,
            **asdict(self.steadiness),
        }


def percent_right(results: Sequence[ClipResult]) -> float:
    """Of all attributes that were named; 100 where there was none."""
    verdicts = [verdict for result in results for verdict in result.verdicts]
    return 100.0 * sum(verdict.is_right for verdict in verdicts) / len(verdicts) if verdicts else 100.0


def summarize(results: Sequence[ClipResult]) -> dict[str, str]:
    """The totals in words."""
    named, right = Counter[str](), Counter[str]()
    for verdict in (verdict for result in results for verdict in result.verdicts):
        named[verdict.attribute] += 1
        right[verdict.attribute] += verdict.is_right
    counts = {name: f"{right[name]} of {named[name]} right" for name in ATTRIBUTES if named[name]}
    if named:
        counts["all"] = f"{right.total()} of {named.total()} right, {percent_right(results):.1f} %"
    if num_moving := sum(result.camera_moves for result in results):
        counts["motions not judged"] = f"in {num_moving} clips, in which the camera moves"
    meters = [asdict(result.steadiness) for result in results]
    means = {name: np.mean([meter[name] for meter in meters]) for name in (meters[0] if meters else {})}
    return {"clips": str(len(results)), **counts, **{name: f"{mean:.2f} %" for name, mean in means.items()}}
