"""Every module of a network under every name that files of one layout may give it, exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reelwright.adapters.tensor_names import shorter_names
from reelwright.protocols.adapter_targets import AdapterLayout, AdapterTargets

_WEIGHT = ".weight"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of our modules, and which of the `of` equal chunks of a file's module it is."""

    module: str
    parts: tuple[int, ...] = (0,)
    of: int = 1


class ModuleTable:
    """Built from the network's own names, so that no underscore is ever guessed to be a dot."""

    def __init__(self, layout: AdapterLayout, targets: AdapterTargets) -> None:
        self.layout = layout
        self._holders: dict[str, list[Target]] = {}
        self._places: dict[str, str] = {}
        for module in targets.shapes:
            located = layout.key_map.locate(module + _WEIGHT)
            if located is not None:
                name = located.file_name.removesuffix(_WEIGHT)
                self._holders.setdefault(name, []).append(
                    Target(module=module, parts=located.parts, of=located.of)
                )
                self._places[module] = name
        self._spellings = _spellings(self._holders)

    def resolve(self, module: str) -> str | None:
        """The layout's own dotted name of a module, whatever prefixes and underscores stand in the file."""
        return next(
            (self._spellings[name] for name in shorter_names(module) if name in self._spellings), None
        )

    def holders(self, name: str, chunk: int | None = None) -> Sequence[Target]:
        """Our modules that a module of the layout holds; or the one that its chunk `chunk` is."""
        targets = self._holders[name]
        if chunk is None:
            return targets
        if targets[0].of == 1:
            return targets if chunk == 0 else ()
        return [Target(module=target.module) for target in targets if target.parts == (chunk,)]

    def place(self, module: str) -> str | None:
        """The layout's own dotted name for one of our modules."""
        return self._places.get(module)

    def names(self) -> list[str]:
        return list(self._holders)


def underscored(name: str) -> str:
    """A dotted name as kohya's trainers write it."""
    return name.replace(".", "_")


def _spellings(names: Mapping[str, object]) -> dict[str, str]:
    spellings: dict[str, str] = {}
    for name in names:
        for spelling in {name, underscored(name)}:
            if spellings.setdefault(spelling, name) != name:
                raise ValueError(f"{spelling} may be {name} or {spellings[spelling]}")
    return spellings
