"""Settings of a network as its released config.json says them."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self

from reelwright.core.errors import CheckpointError


class ReleasedSettings:
    """Reads a dataclass from a released config.json, whose field names are ours too."""

    FIXED: ClassVar[Mapping[str, Any]] = {}
    """Settings that our network has built in."""
    OWN: ClassVar[frozenset[str]] = frozenset()
    """Settings that no released file has: written only where they differ from their defaults."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], origin: str) -> Self:
        """Keep the keys we know; refuse a file whose other settings name a network that this is not."""
        for key, expected in cls.FIXED.items():
            if data.get(key, expected) != expected:
                of = f" (of {data['_class_name']})" if "_class_name" in data else ""
                raise CheckpointError(
                    f"{origin}: {key} is {data[key]!r}{of}; this network is defined with {expected!r} only. "
                    "Use a checkpoint of the released architecture."
                )
        known = {f.name for f in fields(cls)}  # pyright: ignore[reportArgumentType]
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known})

    def to_json(self, class_name: str) -> dict[str, Any]:
        """What `from_json` reads, under the name that the released class of the network has."""
        return {"_class_name": class_name, **self.FIXED, **self.settings()}

    def settings(self) -> dict[str, Any]:
        """All fields, as they are told and compared."""
        usual = type(self)()
        return {
            name: value
            for name, value in asdict(self).items()  # pyright: ignore[reportArgumentType]
            if name not in self.OWN or value != getattr(usual, name)
        }
