"""What a denoiser makes of the prompt and of the negative prompt: in one batch, or one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch
from torch import Tensor

from reelwright.execution.policy import Branch, Call, PreparedDenoiser
from reelwright.protocols.policy_configs import PolicyConfig
from reelwright.protocols.review import Review

_LIVE_TENSORS = 16
"""Of all tokens, that a block holds at once for each prompt: its streams, queries, keys and values, what they
are turned by rotations of twice the width, and what attention gives. An upper estimate."""


def passes_are_together(config: PolicyConfig, fits: Callable[[], bool], *, usually: bool) -> bool:
    """Whether both prompts are to be one batch. `usually`: whether this model was released so.

    One batch saves time where weights come to the device for each pass, so that they come half as often.
    Elsewhere a long clip keeps a device as busy alone as with another, and it is as released if it fits.
    """
    if config.guidance_passes == "auto":
        return (usually or config.block_swap > 0) and fits()
    return config.guidance_passes == "together"


def fits_together(num_tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether there is memory for what blocks hold of both prompts; an estimate, with the network loaded."""
    return 2 * _LIVE_TENSORS * num_tokens * width * dtype.itemsize <= _free_memory(device)


def check_guidance_passes(review: Review[Any], *, is_guided: bool) -> None:
    """Refuse a choice where there is none."""
    if review.config.execution.guidance_passes != "auto" and not is_guided:
        review.refuse(
            "execution.guidance_passes: has no effect at this guidance_scale, which leaves the negative pass"
            " out. Leave it out, or set another --guidance-scale."
        )


def predict(denoiser: PreparedDenoiser, latents: Tensor, calls: Sequence[Call]) -> dict[Branch, Tensor]:
    """The predictions of a step by prompt; a call of both is shown the latents twice."""
    predictions: dict[Branch, Tensor] = {}
    for call in calls:
        if call.branch == "both":
            both = denoiser(latents.repeat(2, 1, 1, 1, 1), call)
            predictions["negative"], predictions["positive"] = both.chunk(2)
        else:
            predictions[call.branch] = denoiser(latents, call)
    return predictions


def _free_memory(device: torch.device) -> int:
    """Bytes that tensors can still take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has taken from the device and does not use is free too.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available
