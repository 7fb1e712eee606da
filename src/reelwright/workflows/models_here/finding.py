"""Which parts of models are on this machine, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelwright import families
from reelwright.checkpoint.hub import look_in_cache
from reelwright.protocols.model_folder import embedded_roots, find_variant
from reelwright.protocols.variant import ReleasedPart, Variant

_NUM_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class FoundPart:
    """One part of a model, there or not."""

    part: ReleasedPart
    path: Path | None
    """A folder; None if something of it is missing."""
    repository: str = ""
    """Where it comes from; empty for what comes with the package."""
    absent: tuple[str, ...] = ()
    """What is missing, in words."""
    is_begun: bool = False
    """Whether some of what is wanted of the repository is there."""

    @property
    def revision(self) -> str:
        """The commit that a download is of; empty where none is known."""
        snapshot = next((each for each in self._above if each.parent.name == "snapshots"), None)
        return "" if snapshot is None else snapshot.name

    @property
    def _above(self) -> Sequence[Path]:
        return () if self.path is None else (self.path, *self.path.parents)

    def told(self) -> str:
        """Where it is, or what is missing."""
        if self.path is None and not self.is_begun:
            return f"missing ({self.repository})"
        if self.path is None:
            shown = ", ".join(self.absent[:_NUM_SHOWN])
            return f"missing: {shown}{', …' if len(self.absent) > _NUM_SHOWN else ''} ({self.repository})"
        commit = f" (revision {self.revision[:12]})" if self.revision else ""
        return f"{self.path}{commit}"


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A released model and what is there of it."""

    family: str
    variant: Variant
    parts: tuple[FoundPart, ...]

    @property
    def missing(self) -> list[FoundPart]:
        return [each for each in self.parts if each.path is None]

    @property
    def paths(self) -> dict[str, Path]:
        """Of the parts that are there."""
        return {each.part.name: each.path for each in self.parts if each.path is not None}

    @property
    def is_begun(self) -> bool:
        """Whether anything of the model's own is there; encoders may be another's."""
        own = [each for each in self.parts if not each.part.repositories]
        return any(each.path is not None or each.is_begun for each in own)

    @property
    def get_command(self) -> str:
        """What to type for what is missing."""
        return f"reelwright models download {self.family} {self.variant.name}"


def find_models(family: str = "") -> Iterator[FoundModel]:
    """All released models of a family, or of all; the network is not asked. Raises ConfigError."""
    for name in [family] if family else families.names():
        for variant in families.configs(name).VARIANTS:
            yield find_released(name, variant)


def find_model(family: str, name: str) -> FoundModel | None:
    """The released model of that name; None for a path. Raises ConfigError for what is neither."""
    variant = find_variant(name, families.configs(family).VARIANTS)
    return None if variant is None else find_released(family, variant)


def find_released(family: str, variant: Variant) -> FoundModel:
    """What is there of a released model."""
    if variant.embedded:
        root = embedded_roots([variant])[variant.name]
        return FoundModel(family=family, variant=variant, parts=_parts_in(root, variant.parts))
    parts = tuple(_look_up(variant, part) for part in variant.parts)
    return FoundModel(family=family, variant=variant, parts=parts)


def find_folder(family: str, folder: Path) -> FoundModel | None:
    """A model of the family in a folder of the user's; None if no network is in it."""
    known: Sequence[Variant] = families.configs(family).VARIANTS
    kinds = next((each.parts for each in known if each.embedded), known[0].parts)
    parts = tuple(each for each in _parts_in(folder, kinds) if each.path is not None)
    if not any((folder / each.part.name).is_dir() for each in parts):
        return None
    unknown = Variant(name=str(folder), title=folder.name, license="not told", dtype="float32")
    return FoundModel(family=family, variant=unknown, parts=parts)


def _parts_in(root: Path, parts: Sequence[ReleasedPart]) -> tuple[FoundPart, ...]:
    places = {part: root if part.is_at_top else root / part.name for part in parts}
    return tuple(
        FoundPart(part=part, path=place if any(root.glob(part.patterns[0])) else None, absent=part.patterns)
        for part, place in places.items()
    )


def _look_up(variant: Variant, part: ReleasedPart) -> FoundPart:
    cached = look_in_cache(part.repositories or variant.repositories, part.patterns)
    place = cached.folder
    if place is not None and not part.is_at_top:
        place /= part.name
    return FoundPart(
        part=part,
        path=place if cached.is_whole else None,
        repository=cached.repository,
        absent=cached.absent,
        is_begun=cached.folder is not None,
    )
