"""What a job is to do, as data that outlives processes: a workflow, a family, and what both are told."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.errors import ConfigError, FileError
from reelwright.jobs.schemas import DENOISER, STAGE, Schemas, schemas_of


@dataclass(frozen=True, kw_only=True)
class Order:
    """Work to be done. What is not said has its default."""

    workflow: str
    family: str = ""
    """Empty for workflows of no family."""
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """Those of the configuration that differ from the defaults, groups as tables, paths as text."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the workflow takes beside family and configuration."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Order":
        """Read an order back; whether its values are legal shows `arguments_of`.

        Raises FileError that names `origin` if the text is no order.
        """
        try:
            return cls.from_mapping(json.loads(text), origin)
        except (ValueError, ConfigError) as error:
            raise FileError(f"{origin}: is no order of a job: {error}") from error

    @classmethod
    def from_mapping(cls, mapping: object, origin: str) -> "Order":
        """The order that nested data describes. Raises ConfigError."""
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"{origin}: is no table. An order has workflow, family, values and options.")
        return from_mapping(cls, mapping, origin)


def arguments_of(order: Order, origin: str = "order") -> dict[str, object]:
    """What the workflow is called with: its configuration as an instance of its schema, and its options.

    Raises one ConfigError with all problems, each line "origin: key: what. do this".
    """
    schemas = _schemas(order)
    arguments: dict[str, object] = {"family": order.family} if schemas.takes_family else {}
    problems: list[str] = []
    if schemas.config is not None:
        try:
            arguments["config"] = from_mapping(schemas.config, order.values, origin)
        except ConfigError as error:
            problems.append(str(error))
    elif order.values:
        problems.append(f"{origin}: values: {order.workflow} has options only. Give them as options.")
    said = {name: value for name, value in order.options.items() if name not in schemas.choice}
    try:
        arguments |= schemas.choice | vars(from_mapping(schemas.options, said, origin))
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return arguments


def order_of(workflow: str, arguments: Mapping[str, Any]) -> Order:
    """The order of which these are the arguments. Raises ConfigError for workflows that no job does."""
    family, config = str(arguments.get("family", "")), arguments.get("config")
    values = {} if config is None else to_mapping(config, only_changed=True)
    if (stage := getattr(config, STAGE, DENOISER)) != DENOISER:  # its schema's default, by which it is found
        values[STAGE] = stage
    schemas = schemas_of(workflow, family, {**arguments, **values})
    known = {each.name for each in fields(schemas.options)}
    given = {name: value for name, value in arguments.items() if name in known}
    options = to_mapping(schemas.options(**given), only_changed=True)
    takes = family if schemas.takes_family else ""
    return Order(workflow=workflow, family=takes, values=values, options={**schemas.choice, **options})


def _schemas(order: Order) -> Schemas:
    return schemas_of(order.workflow, order.family, {**order.values, **order.options})
