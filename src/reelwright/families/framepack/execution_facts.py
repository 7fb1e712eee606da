"""What the ways to run this family's denoisers must know of them."""

from reelwright.execution.facts import DenoiserFacts


def is_quantized(name: str) -> bool:
    """Linear layers of blocks that may be held in few bits: all but modulations (specs: FramePack 6.6)."""
    return not name.endswith(".modulation")


EXECUTION_FACTS = DenoiserFacts(is_quantized=is_quantized)
