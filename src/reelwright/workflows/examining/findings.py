"""What was found out about a part of the machine."""

from dataclasses import dataclass, field

from reelwright.core.events import ItemFinding

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Facts by name, and what is wrong, each with the command that mends it."""

    facts: dict[str, str] = field(default_factory=dict[str, str])
    problems: tuple[ItemFinding, ...] = ()

    def __add__(self, other: "Examined") -> "Examined":
        return Examined(facts=self.facts | other.facts, problems=self.problems + other.problems)


def problem(item: str, kind: str, what: str, command: str) -> ItemFinding:
    """Something that keeps work from being done well, and what to type."""
    return ItemFinding(item=item, kind=kind, message=f"{what}. Do: {command}", severity="warning")


def in_gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
