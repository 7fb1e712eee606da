"""Which released models lie on this machine."""

from collections.abc import Sequence

from reelwright.workflows.examining.findings import Examined
from reelwright.workflows.models_here.finding import FoundModel, find_models


def examine_models(names: Sequence[str]) -> Examined:
    """Each variant of the families: where it lies, or how to fetch it; the network is not asked."""
    found = (model for family in names for model in find_models(family))
    return Examined(facts={f"{model.family} {model.variant.name}": _place(model) for model in found})


def _place(model: FoundModel) -> str:
    if model.variant.embedded:
        return "comes with the package"
    if not model.is_begun:
        return f"not on this machine: {model.get_command}"
    if model.missing:
        return f"{', '.join(each.part.name for each in model.missing)} missing: {model.get_command}"
    return str(next(iter(model.paths.values())).parent)
