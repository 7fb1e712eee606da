"""What stands in a form: the values that differ from a schema's defaults, and what is wrong with them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.errors import ConfigError
from reelwright.core.schema_fields import FieldFacts, describe

_ORIGIN = "form"
_FLAG = re.compile(r"(?:[\w./-]+: )?(?P<key>[a-z_][a-z0-9_.]*): ")


class Settings:
    """The values of one schema while they are filled in."""

    def __init__(self, schema: type[Any], values: Mapping[str, Any] | None = None) -> None:
        self.schema = schema
        self.facts: dict[str, FieldFacts] = {each.dotted: each for each in describe(schema)}
        self.values: dict[str, Any] = {}
        self.load(values or {})

    def load(self, values: Mapping[str, Any]) -> None:
        """Take these values instead, which may be those of another schema: what is not known here is left."""
        self.values = {}
        for dotted, each in self.facts.items():
            value = _at(values, dotted)
            if each.kind != "group" and value is not None and not isinstance(value, Mapping):
                self.set(dotted, value)

    def get(self, dotted: str) -> Any:  # noqa: ANN401 - of the field
        """The value of a field as JSON has it: paths are text, tuples are lists."""
        value = _at(self.values, dotted)
        return as_data(self.facts[dotted].default) if value is None else value

    def set(self, dotted: str, value: Any) -> None:  # noqa: ANN401 - of the field
        """Change a field; None, and its default, take it back."""
        *groups, name = dotted.split(".")
        inner = self.values
        for group in groups:
            inner = inner.setdefault(group, {})
        if value is None or value == as_data(self.facts[dotted].default):
            inner.pop(name, None)
        else:
            inner[name] = value
        if groups and not inner:
            self.values.pop(groups[0])

    def is_changed(self, dotted: str) -> bool:
        """Whether it differs from its default."""
        return _at(self.values, dotted) is not None

    def problems(self) -> dict[str, str]:
        """What is wrong, by field; what belongs to no field stands under the empty name."""
        try:
            from_mapping(self.schema, self.values, _ORIGIN)
        except ConfigError as error:
            return by_field(str(error), self.facts)
        return {}

    def config(self) -> Any:  # noqa: ANN401 - of the schema
        """An instance of the schema. Raises ConfigError."""
        return from_mapping(self.schema, self.values, _ORIGIN)


def changed_values(config: object) -> dict[str, Any]:
    """What of a configuration differs from the defaults, as `Settings` and orders take it."""
    return to_mapping(config, only_changed=True)


def by_field(message: str, names: Iterable[str]) -> dict[str, str]:
    """An error's lines, each under the field that it names; the others together under the empty name."""
    known, found = set(names), dict[str, str]()
    for line in message.splitlines():
        match = _FLAG.match(line)
        key = match["key"].removeprefix("config.") if match else ""
        while key not in known and "." in key:  # items of a list: lora_multiplier.0
            key = key.rpartition(".")[0]
        key = key if key in known else ""
        text = line[match.end() :] if match and key else line.removeprefix(f"{_ORIGIN}: ")
        found[key] = f"{found[key]}\n{text}" if key in found else text
    return found


def as_data(value: Any) -> Any:  # noqa: ANN401 - any field's value
    """A default as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [as_data(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _at(values: Mapping[str, Any], dotted: str) -> Any:  # noqa: ANN401 - of the field
    found: Any = values
    for name in dotted.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found  # pyright: ignore[reportUnknownVariableType]
