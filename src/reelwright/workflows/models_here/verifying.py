"""Every file of a model read, and what is damaged told."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reelwright import families
from reelwright.checkpoint.known_hashes import check_hash
from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.errors import CheckpointError, FileError
from reelwright.core.events import Event, Facts, ItemFinding, StageStarted, StepDone
from reelwright.core.sizes import counted, size_text
from reelwright.protocols.model_part import ModelPart
from reelwright.workflows.models_here.finding import FoundModel, FoundPart
from reelwright.workflows.models_here.recognizing import Recognized, recognize_file


@dataclass(kw_only=True)
class Verifying:
    """What was read so far."""

    num_files: int = 0
    num_damaged: int = 0
    _before: float = field(default_factory=time.perf_counter)

    def check_model(self, model: FoundModel) -> Iterator[Event]:
        """All parts that are there, each by itself; the facts of each are told at the end."""
        kinds = {kind.name: kind for kind in families.load(model.family).parts}
        facts = {"model": f"{model.family} {model.variant.name}"}
        stage, total = f"read {facts['model']}", len(model.paths)
        yield StageStarted(stage, total)
        for number, found in enumerate((each for each in model.parts if each.path is not None), start=1):
            flaws, told = self._check_part(kinds[found.part.name], found, model.paths)
            facts[found.part.name] = told
            for flaw in flaws:
                yield self._damaged(found.path or Path(), found.part.name, flaw)
            yield StepDone(stage, number, total, self._seconds())
        for found in model.missing:
            facts[found.part.name] = found.told()
        yield Facts(facts)

    def check_file(self, path: Path, family: str = "") -> Iterator[Event]:
        """A single file, or the folder of one part."""
        try:
            known = recognize_file(path, family)
            num_hashed = sum(self._hash(file) for file in find_weight_files(path))
        except FileError as error:
            yield self._damaged(path, "file", str(error))
            return
        yield Facts(
            {"file": str(path), "is": told_of(known), "hash": "right" if num_hashed else "none known"}
        )

    def _check_part(self, kind: ModelPart, found: FoundPart, paths: dict[str, Path]) -> tuple[list[str], str]:
        """What is wrong with a part, and what is to be said of it."""
        files = _files_of(found)
        flaws: list[str] = []
        num_hashed = 0
        try:
            kind.check(paths)
        except FileError as error:
            flaws.append(str(error))
        for file in files:
            try:
                num_hashed += self._hash(file)
            except CheckpointError as error:
                flaws.append(str(error))
        if flaws:
            return flaws, "damaged"
        size = size_text(sum(file.stat().st_size for file in files))
        hashes = f"the hash of {num_hashed} is right" if num_hashed else "no hash is known"
        return [], f"sound: {size} in {counted(len(files), 'file')}; {hashes}"

    def _hash(self, file: Path) -> bool:
        self.num_files += 1
        return check_hash(file)

    def _damaged(self, path: Path, kind: str, message: str) -> ItemFinding:
        self.num_damaged += 1
        return ItemFinding(str(path), kind, message, "error")

    def _seconds(self) -> float:
        before, self._before = self._before, time.perf_counter()
        return self._before - before


def told_of(known: list[Recognized]) -> str:
    """In words what a file is."""
    if not known:
        return "nothing that a family here knows"
    return ", ".join(f"{each.part} of {each.family} {each.model}".rstrip() for each in known)


def _files_of(found: FoundPart) -> list[Path]:
    """The files that belong to a part, whatever else is in the folder."""
    assert found.path is not None
    root = found.path if found.part.is_at_top else found.path.parent
    patterns = found.part.patterns
    return sorted({file for pattern in patterns for file in root.glob(pattern) if file.is_file()})
