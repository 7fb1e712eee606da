"""What the ways to run this family's denoisers must know of them."""

from torch import nn

from reelwright.execution.facts import DenoiserFacts
from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.families.cogvideox.step_cache_facts import step_cache_facts
from reelwright.families.cogvideox.transformer import CogVideoXTransformer


def is_quantized(name: str) -> bool:
    """All linear layers of the blocks but those that make modulations of the time, which need the digits."""
    return "modulation" not in name.split(".")


def _of_network(network: nn.Module) -> StepCacheFacts:
    assert isinstance(network, CogVideoXTransformer)
    return step_cache_facts(network.config)


EXECUTION_FACTS = DenoiserFacts(is_quantized=is_quantized, step_cache=_of_network)
