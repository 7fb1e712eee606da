"""What forms and nodes are told of a schema's fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from reelwright import families
from reelwright.cli.cache import VERBS
from reelwright.core.config import to_mapping
from reelwright.core.schema_fields import FieldFacts, describe
from reelwright.jobs.schemas import AUTOENCODER, DENOISER, ENCODERS, train_schema


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where it happens."""

    size: Annotated[float, Gt(0.0), Lt(9.0)] = 4.0
    """How large."""


@dataclass(frozen=True, kw_only=True)
class Party:
    """What is planned."""

    guests: Annotated[int, Ge(1), Le(80)]
    """How many come."""
    title: str = "birthday"
    """What it is for."""
    loud: bool = False
    """Whether there is music."""
    cake: Literal["none"] | Literal["plain", "cream"] | None = None
    """Which cake."""
    songs: tuple[Path, ...] = ()
    """What is played."""
    prices: tuple[Annotated[float, Ge(0.0)], ...] = (1.5,)
    """What is paid."""
    room: Room = field(default_factory=lambda: Room(size=7.0))
    halls: tuple[Room, ...] = ()
    """Others."""


def facts() -> dict[str, FieldFacts]:
    return {each.dotted: each for each in describe(Party)}


def test_fields_come_in_their_order_and_groups_before_what_is_in_them():
    assert list(facts()) == [
        *("guests", "title", "loud", "cake", "songs", "prices"),
        *("room", "room.size", "halls"),
    ]


def test_kinds_bounds_and_choices_are_those_of_the_types():
    guests, cake, songs, prices = (facts()[name] for name in ("guests", "cake", "songs", "prices"))
    assert (guests.kind, guests.minimum, guests.maximum, guests.required) == ("integer", 1, 80, True)
    assert (cake.kind, cake.choices, cake.optional) == ("choice", ("none", "plain", "cream"), True)
    assert (songs.kind, songs.items, songs.default) == ("list", "path", ())
    assert (prices.items, prices.minimum, prices.default) == ("number", 0.0, (1.5,))
    assert (facts()["title"].kind, facts()["loud"].kind) == ("text", "switch")
    assert facts()["guests"].about == "How many come."


def test_a_group_tells_its_schema_and_its_fields_the_defaults_that_it_has_there():
    room, size, halls = (facts()[name] for name in ("room", "room.size", "halls"))
    assert (room.kind, room.schema, room.about, room.group) == ("group", Room, "Where it happens.", "")
    assert (size.default, size.group, size.above_minimum, size.below_maximum) == (7.0, "room", True, True)
    assert (halls.kind, halls.items, halls.schema) == ("list", "group", Room)


def schemas() -> list[type]:
    found: list[type] = []
    for family in families.names():
        found.append(families.configs(family).GENERATE)
        found += [train_schema(family, stage, "a test") for stage in (DENOISER, AUTOENCODER, ENCODERS)]
        found += [VERBS[verb].schema(family) for verb in ("latents", "text")]
    return found


@pytest.mark.parametrize("schema", schemas(), ids=lambda schema: schema.__name__)
def test_every_field_of_the_families_schemas_is_described(schema: type):
    described = [each for each in describe(schema) if each.kind != "group"]
    assert all(each.about or each.name == "stage" for each in described)
    assert set(leaves(to_mapping(schema()))) <= {each.dotted for each in described}
    assert all(attrgetter(each.dotted)(schema()) == each.default for each in described)


def leaves(mapping: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [prefix + key]
