"""What the ways to run this family's denoisers must know of them."""

from torch import nn

from reelwright.execution.facts import DenoiserFacts
from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.families.framepack.step_cache_facts import step_cache_facts
from reelwright.families.framepack.transformer import FramePackTransformer


def is_quantized(name: str) -> bool:
    """Linear layers of blocks that may be held in few bits: all but modulations (specs: FramePack 6.6)."""
    return not name.endswith(".modulation")


def _of_network(network: nn.Module) -> StepCacheFacts:
    assert isinstance(network, FramePackTransformer)
    return step_cache_facts(network.config)


EXECUTION_FACTS = DenoiserFacts(is_quantized=is_quantized, step_cache=_of_network)
