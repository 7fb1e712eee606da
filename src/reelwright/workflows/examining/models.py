"""Which released models lie on this machine."""

from collections.abc import Sequence
from types import ModuleType

from reelwright import families
from reelwright.checkpoint.hub import find_model
from reelwright.core.errors import FileError
from reelwright.protocols.variant import Variant
from reelwright.workflows.examining.findings import Examined


def examine_models(names: Sequence[str]) -> Examined:
    """Each variant of the families: where it lies, or how to fetch it; the network is not asked."""
    facts: dict[str, str] = {}
    for family in names:
        known: ModuleType = families.configs(family)
        variants: Sequence[Variant] = known.VARIANTS
        facts |= {f"{family} {variant.name}": _place(variant) for variant in variants}
    return Examined(facts=facts)


def _place(variant: Variant) -> str:
    if variant.embedded:
        return "comes with the package"
    try:
        return str(find_model(variant.name, repositories=variant.repositories, offline=True))
    except FileError:
        return f"not on this machine: hf download {variant.repositories[0]}"
