"""Which released models could run in the memory that is free now."""

from collections.abc import Sequence

from reelwright import families
from reelwright.core.errors import UserError
from reelwright.core.sizes import size_text
from reelwright.execution.fitting import Fit
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.plan_config import PlanConfig
from reelwright.protocols.variant import Variant
from reelwright.workflows.examining.findings import Examined
from reelwright.workflows.plan import begin, fit_generation


def examine_fits(names: Sequence[str]) -> Examined:
    """Of each variant at its own size: the command that makes it fit, or what is missing."""
    facts: dict[str, str] = {}
    for family in names:
        variants: Sequence[Variant] = families.configs(family).VARIANTS
        facts |= {f"{family} {variant.name} in memory": _answer(family, variant.name) for variant in variants}
    return Examined(facts=facts)


def _answer(family: str, variant: str) -> str:
    config = families.configs(family).GENERATE(model=variant, execution=ExecutionConfig(fit="on"))
    try:
        found = fit_generation(begin(family, "generate", config, PlanConfig()))
    except UserError as error:
        return str(error).splitlines()[0]
    return _told(family, variant, found)


def _told(family: str, variant: str, found: Fit) -> str:
    if found.problems:
        return f"does not fit: {found.problems[0]}"
    flags = " ".join(["", *(knob.flag for knob in found.chosen)])
    needs = f"{size_text(found.estimate.memory('host'))} of memory"
    if device := found.estimate.memory("device"):
        needs = f"{size_text(device)} of GPU memory and {needs}"
    return f"needs {needs}: reelwright generate {family} --model {variant}{flags}"
