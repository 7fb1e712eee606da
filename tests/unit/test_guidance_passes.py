"""When both prompts of guidance are one batch, and that a batch is what its halves are."""

import psutil
import pytest
import torch

from reelwright.execution import guidance_passes
from reelwright.execution.guidance_passes import fits_together, passes_are_together
from reelwright.families.framepack.conditions import join
from reelwright.protocols.policy_configs import PolicyConfig

from .lora_networks import SUBJECTS, Draw
from .training_questions import QUESTIONS

CPU = torch.device("cpu")


@pytest.mark.parametrize("usually", [True, False])
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("block_swap", [0, 3])
def test_auto_asks_for_memory_and_for_a_reason(usually: bool, fits: bool, block_swap: int):
    config = PolicyConfig(block_swap=block_swap)
    expected = fits and (usually or block_swap > 0)
    assert passes_are_together(config, lambda: fits, usually=usually) is expected


@pytest.mark.parametrize("choice", ["together", "apart"])
def test_what_is_chosen_is_not_asked_about(choice):
    config = PolicyConfig(guidance_passes=choice)
    assert passes_are_together(config, pytest.fail, usually=False) is (choice == "together")


def test_a_long_clip_does_not_fit_twice_into_little_memory(monkeypatch: pytest.MonkeyPatch):
    """A clip of CogVideoX-5B, 17 776 tokens of width 3072 in bfloat16: 3.5 GB for both, by the estimate."""
    for free, fits in ((3.4e9, False), (3.6e9, True)):
        monkeypatch.setattr(guidance_passes, "_free_memory", lambda _, free=free: free)
        assert fits_together(17_776, 3072, torch.bfloat16, CPU) is fits


def test_free_memory_of_a_processor_is_that_of_the_computer():
    free = guidance_passes._free_memory(CPU)
    assert 0 < free < psutil.virtual_memory().total


def test_a_batch_of_both_is_what_each_is_alone():
    """Also where prompts differ in length."""
    network = SUBJECTS["framepack"].build()
    one, other = (QUESTIONS["framepack"](item).conditions for item in (0, 1))
    assert one.text_lengths != other.text_lengths
    noisy, timestep = Draw(5)(1, 16, 2, 4, 4), torch.tensor([500.0])
    with torch.no_grad():
        alone = torch.cat([network(noisy, timestep, each) for each in (one, other)])
        both = network(noisy.repeat(2, 1, 1, 1, 1), timestep.repeat(2), join(one, other))
    assert (alone - both).abs().max() < 1e-6
