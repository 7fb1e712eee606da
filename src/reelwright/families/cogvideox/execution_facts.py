"""What the ways to run this family's denoisers must know of them."""

from reelwright.execution.facts import DenoiserFacts


def is_quantized(name: str) -> bool:
    """All linear layers of the blocks but those that make modulations of the time, which need the digits."""
    return "modulation" not in name.split(".")


EXECUTION_FACTS = DenoiserFacts(is_quantized=is_quantized)
