"""The record in every output from which it can be made again."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from typing import Any

from reelwright.core.errors import FileError

METADATA_KEY = "reelwright"

_LIBRARIES = ("torch", "transformers", "numpy", "safetensors", "av", "pillow")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made an output. No times and no output paths: the same work gives the same record."""

    version: str
    """Of Reelwright."""
    workflow: str
    """Its name, such as generate."""
    family: str
    config: dict[str, Any]
    """The resolved configuration as nested data, without where outputs go."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Part of the model -> fingerprint of its files."""
    inputs: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Configuration key -> path and sha256 of the file it names."""
    versions: dict[str, str] = field(default_factory=dict[str, str])
    """Library -> version."""
    shortcuts: tuple[str, ...] = ()
    """What was left out or rounded while the work was done, in words; empty for exact work."""

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal records are equal text."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Provenance":
        """Read a record back; `origin` names the file in errors. Unknown keys of later versions are ignored.

        Raises FileError if the text is no such record.
        """
        try:
            record = json.loads(text)
        except ValueError as error:
            raise _not_a_record(origin, "it is not JSON") from error
        if not isinstance(record, dict):
            raise _not_a_record(origin, "it is not a table")
        known: dict[str, Any] = {item.name: record[item.name] for item in fields(cls) if item.name in record}
        for name in ("version", "workflow", "family", "config"):
            if not isinstance(known.get(name), dict if name == "config" else str):
                raise _not_a_record(origin, f"{name} is missing or of the wrong kind")
        known["shortcuts"] = tuple(known.get("shortcuts", ()))
        return cls(**known)


def tells_of_same_work(text: str, other: str | None) -> bool:
    """Whether two records ask for the same; how they came to it is told only when the work is done."""
    if text == other or not (text and other):
        return text == other
    try:
        return _asked(text) == _asked(other)
    except FileError:
        return False


def _asked(text: str) -> Provenance:
    return replace(Provenance.from_json(text, "record"), shortcuts=())


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that decide the numbers and the bytes."""
    versions: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _not_a_record(origin: str, reason: str) -> FileError:
    return FileError(
        f"{origin}: its record of how it was made cannot be used: {reason}."
        " Give the original file, not an edited or re-encoded copy."
    )
