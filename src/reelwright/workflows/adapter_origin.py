"""Which family, and which of its models, a LoRA file was made for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelwright import families
from reelwright.adapters.formats import AdapterFile, read_adapter
from reelwright.adapters.matching import ForeignAdapterError, check_known
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Family, Model


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The model whose modules a set of files fits best."""

    family: str
    targets: AdapterTargets
    files: tuple[AdapterFile, ...]

    @property
    def score(self) -> int:
        """Modules that are known, twice for those of the right size."""
        return sum(2 * len(file.modules) - len(file.mis_shaped) for file in self.files)


def find_origin(paths: Sequence[Path], family: str = "", alpha: float = 0.0) -> Origin:
    """The best fit of all families, or of the one that is named, for all files together.

    Raises ForeignAdapterError for a file that none knows.
    """
    best = max(_origins(paths, [family] if family else families.names(), alpha), key=lambda each: each.score)
    for file in best.files:
        check_known(file, best.targets)
    return best


def locate(family: Family, config: GenerateConfig) -> Model:
    """Find the checkpoint of a configuration; for a LoRA of another family, the error says of which."""
    try:
        return family.locate(config)
    except ForeignAdapterError as error:
        other = _other_family(error.path, family.name)
        if not other:
            raise
        advice = f"It is a LoRA for {other}: reelwright generate {other} --lora {error.path}"
        raise ForeignAdapterError(f"{error} {advice}", error.path) from error


def _other_family(path: Path, name: str) -> str:
    try:
        found = find_origin([path]).family
    except ForeignAdapterError:
        return ""
    return found if found != name else ""


def _origins(paths: Sequence[Path], names: Sequence[str], alpha: float) -> Iterator[Origin]:
    for name in names:
        for targets in families.load(name).adapter_targets():
            files = tuple(read_adapter(path, targets, alpha) for path in paths)
            yield Origin(family=name, targets=targets, files=files)
