"""LoRA files by themselves: what they hold, the same in another layout, several as one."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reelwright.adapters.combination import Adapters, combine, load_adapters
from reelwright.adapters.exports import export
from reelwright.adapters.factors import scale_of
from reelwright.adapters.formats import AdapterFile
from reelwright.adapters.matching import match_notices
from reelwright.core.errors import ConfigError, suggestion
from reelwright.core.events import Event, Facts, Finished, Notice, StageStarted
from reelwright.workflows.adapter_origin import Origin, find_origin
from reelwright.workflows.lora_learned import ema, extract
from reelwright.workflows.lora_writing import check_new, save_export

_NUM_SHOWN = 3
_LONGEST_VALUE = 200


def run(action: str, **options: object) -> Iterator[Event]:
    """One of the actions, with the options of the function of that name below."""
    if action not in _ACTIONS:
        raise ConfigError(f"lora: {action!r} is no action. {suggestion(action, _ACTIONS)}")
    yield from _ACTIONS[action](**options)


def inspect(file: Path, family: str = "", alpha: float = 0.0) -> Iterator[Event]:
    """Tell what a file holds: layout, model, ranks, alphas, modules, norms, metadata."""
    origin = find_origin([file], family, alpha)
    adapter = origin.files[0]
    yield from map(Notice, match_notices(adapter))
    yield StageStarted("read weights")
    yield Facts(_identity(origin) | _norms(load_adapters(adapter)) | _metadata(adapter))


def convert(file: Path, out: Path, to: str, family: str = "", alpha: float = 0.0) -> Iterator[Event]:
    """Write a file in another layout; what it changes stays the same."""
    started = time.perf_counter()
    origin = _open([file], out, family, alpha)
    yield from _notices(origin)
    adapters = load_adapters(origin.files[0])
    yield from _write(adapters, origin, to, out, origin.files[0].metadata)
    yield Finished(({"lora": str(out)},), time.perf_counter() - started)


def merge(
    files: Sequence[Path],
    out: Path,
    multipliers: Sequence[float] = (),
    to: str = "native",
    family: str = "",
    alpha: float = 0.0,
) -> Iterator[Event]:
    """Write one file that does what several do together, each times its multiplier, or 1 without."""
    started = time.perf_counter()
    if len(multipliers) > len(files):
        raise ConfigError(f"multipliers: {len(multipliers)} values for {len(files)} files.")
    strengths = [*multipliers, *[1.0] * (len(files) - len(multipliers))]
    origin = _open(files, out, family, alpha)
    yield from _notices(origin)
    adapters = combine([load_adapters(file) for file in origin.files], strengths)
    parts = {str(path): strength for path, strength in zip(files, strengths, strict=True)}
    yield from _write(adapters, origin, to, out, {"merged_loras": json.dumps(parts)})
    yield Finished(({"lora": str(out)},), time.perf_counter() - started)


_ACTIONS: Mapping[str, Callable[..., Iterator[Event]]] = {
    "inspect": inspect,
    "convert": convert,
    "merge": merge,
    "extract": extract,
    "ema": ema,
}


def _open(files: Sequence[Path], out: Path, family: str, alpha: float) -> Origin:
    check_new(out, files)
    return find_origin(files, family, alpha)


def _notices(origin: Origin) -> Iterator[Event]:
    for file in origin.files:
        yield from map(Notice, match_notices(file))
        if file.mis_shaped:
            yield Notice(
                f"{file.path.name}: is of no released size; only names are sure: {file.mis_shaped[0]}."
            )


def _write(
    adapters: Adapters, origin: Origin, to: str, out: Path, metadata: Mapping[str, str]
) -> Iterator[Event]:
    yield from save_export(export(adapters, origin.targets, to, metadata), to, out)


def _identity(origin: Origin) -> dict[str, str]:
    file, targets = origin.files[0], origin.targets
    held = {target.module for module in file.modules for target in module.targets}
    usual = targets.usual_modules()
    scales = sorted({scale_of(module.alpha, module.extent.rank) for module in file.modules})
    return {
        "file": str(file.path),
        "kind": ", ".join(file.kinds),
        "layout": f"{file.table.layout.key_map.name}, as {file.writer} writes names",
        "family": origin.family,
        "model": targets.name + (" (other sizes)" if file.mis_shaped else ""),
        "rank": _range(file.ranks),
        "alpha": _range(sorted({module.alpha for module in file.modules})),
        "scale": _range(scales),
        "modules": f"{len(held)}; of the {len(usual)} usual ones {len(held.intersection(usual))}",
        "unknown modules": str(len(file.unmatched)),
    }


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _norms(adapters: Adapters) -> dict[str, str]:
    norms = sorted(((adapter.norm(), name) for name, adapter in adapters.items()), reverse=True)
    total = sum(norm**2 for norm, _ in norms) ** 0.5
    largest = ", ".join(f"{name} {norm:.3g}" for norm, name in norms[:_NUM_SHOWN])
    return {"norm of the change": f"{total:.4g}", "changed most": largest}


def _metadata(file: AdapterFile) -> dict[str, str]:
    def shortened(text: str) -> str:
        return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"

    return {f"metadata {key}": shortened(text) for key, text in sorted(file.metadata.items())}
