"""The one place that knows in which order the ways to run a denoiser are put around it."""

from collections.abc import Callable

import torch
from torch import nn

from reelwright.execution.activation_checkpoint import checkpoint_blocks
from reelwright.execution.attention import attend_with
from reelwright.execution.block_swap import swap_blocks
from reelwright.execution.compiling import compile_blocks
from reelwright.execution.facts import DenoiserFacts
from reelwright.execution.fp8 import quantize_blocks
from reelwright.execution.fp8_products import multiply_in_fp8
from reelwright.execution.modulation_tables import ModulationTables
from reelwright.execution.offload import DenoisersTurn, Turns
from reelwright.execution.policy import Policy, PreparedDenoiser
from reelwright.execution.stacks import stacks_of
from reelwright.execution.step_cache.choosing import install_step_cache
from reelwright.execution.weight_homes import home_of
from reelwright.execution.weights import RoundedWeights, held_formats
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.train_configs import TrainExecutionConfig


def prepare_to_generate(
    network: nn.Module,
    config: ExecutionConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    facts: DenoiserFacts,
    turns: Turns | None = None,
) -> tuple[PreparedDenoiser, list[str]]:
    """Make a loaded denoiser run as configured; and what a user should know of it, in words.

    `network` has its weights, in the format they are held in, and its LoRAs; `dtype` is the number format of
    its inputs. The order: weights are held as `config.weights` says since they were read, then products in
    fp8, compile, modulation tables (blocks are swapped without those weights), block swap, attention
    kernels, step cache. `turns`: it shares the device with others.
    """
    formats = held_formats(network)
    policies: list[Policy] = [] if turns is None else [DenoisersTurn(network, turns)]
    policies += [RoundedWeights(formats)] if formats else []
    policies += multiply_in_fp8(network, config.fp8_matmul, device=device, dtype=dtype)
    if config.compile == "blocks":
        policies.append(compile_blocks(network, config))
    if config.modulation_tables:
        policies.append(ModulationTables(network, home_of(config.swap_home, device)))
    if config.block_swap:
        swap_blocks(network, config.block_swap, device)
    of_kernels, notices = attend_with(network, config.attention, device=device, dtype=dtype)
    policies += of_kernels
    policies += install_step_cache(network, config, facts.step_cache)
    return PreparedDenoiser(network, policies, dtype=dtype), notices


def prepare(
    denoiser: nn.Module,
    config: TrainExecutionConfig,
    is_wanted: Callable[[str], bool],
    *,
    dtype: torch.dtype,
    device: torch.device,
    computed: torch.dtype | None = None,
) -> list[str]:
    """Make a loaded denoiser run as configured, on `device`; adapters are put into it after this.

    `dtype` is the number format it was loaded in, `computed` that of its products if it is another one.
    Returns what a user should know, in words. With `fp8`, load it into the computer's memory: layers come
    to the device one by one, when they are small; `is_wanted` says by name which ones. With `block_swap` it
    stays there until `share_out` is called.
    """
    place = torch.device("cpu") if config.block_swap else device
    # Weights are rounded before anything learns beside them, and before blocks are given another forward.
    if config.fp8:
        quantize_blocks(denoiser, is_wanted, dtype, place)
    denoiser.to(place)
    is_compiled = config.compile == "blocks"
    if is_compiled:
        compile_blocks(denoiser, config)
    if config.activation_checkpoint:
        stacks = stacks_of(denoiser)
        for stack in stacks:
            # The backward pass begins with the last block of all. Within one graph there are no pieces.
            checkpoint_blocks(
                stack,
                offload=config.activation_offload,
                keep_last=stack is stacks[-1],
                in_pieces=not is_compiled,
            )
    _, notices = attend_with(denoiser, config.attention, device=device, dtype=computed or dtype, learns=True)
    return notices


def share_out(denoiser: nn.Module, config: TrainExecutionConfig, device: torch.device) -> None:
    """Take what does not learn of some blocks off the device, as configured, once adapters are in them."""
    if config.block_swap:
        swap_blocks(denoiser, config.block_swap, device)
