"""What a step of training takes: weights, what learns, what the optimizer remembers, activations."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from reelwright.adapters.factors import Adapter
from reelwright.adapters.learning.learning_modules import LearningModule
from reelwright.adapters.learning.learning_plan import choose_layout, plan_learning
from reelwright.execution.activation_checkpoint import checkpoint_blocks
from reelwright.execution.allowances import TOKENS_ON_PROCESSOR, TRAINING_PROGRAM
from reelwright.execution.estimate import Readings, activation_terms, make_stage
from reelwright.execution.metering import Meter, Reading, imagining, metered_at
from reelwright.execution.stacks import stacks_of
from reelwright.execution.weight_counts import held_weights
from reelwright.protocols.estimates import ClipShape, DiskUse, Estimate, Term
from reelwright.protocols.policy_configs import PolicyConfig
from reelwright.protocols.train_configs import TrainConfig

_REMEMBERED: dict[str, float] = {
    "adamw": 8,
    "adamw8bit": 2.1,
    "adafactor": 0.1,
    "lion": 4,
    "sgd": 0,
    "muon": 4,
    "prodigy": 16,
    "came": 4.2,
    "adamw_schedulefree": 8,
}
"""Bytes for each parameter that learns; of others as adamw."""


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """A reading of a step, and how many parameters learn in it."""

    reading: Reading
    count: int


def estimate_training(
    readings: Readings, config: TrainConfig, shape: ClipShape, released_itemsize: int
) -> Estimate:
    """One step, and the files of a run."""
    machine, execution = readings.machine, config.execution
    learned = _learned(readings, config, shape)
    weights = readings.weights
    is_full = config.method == "full"
    policy = PolicyConfig(weights="fp8_scaled" if execution.fp8 else "full", block_swap=execution.block_swap)
    held = held_weights(weights, policy, itemsize=readings.itemsize, num_signals=0, has_host=True)
    remembered = _REMEMBERED.get(config.optimizer.name, 8)
    factor_bytes = 0 if is_full else 4 * learned.count
    terms = [
        Term(name="denoiser: weights", num_bytes=held.on_device, place=machine.device),
        Term(name="denoiser: weights that wait", num_bytes=held.waiting, place="host"),
        Term(name="what learns", num_bytes=factor_bytes, place=machine.device),
        Term(name="optimizer", num_bytes=round(remembered * learned.count), place=machine.device),
        *activation_terms(learned.reading, readings, TOKENS_ON_PROCESSOR, "activations and gradients"),
        Term(name="accelerate and its parts", num_bytes=TRAINING_PROGRAM, place="host"),
    ]
    if config.ema.decay:
        terms.append(Term(name="average", num_bytes=4 * learned.count, place="host"))
    steps = config.steps * config.accumulation
    stage = make_stage(
        "train", readings, terms, replace(learned.reading, flops=learned.reading.flops * steps)
    )
    saved = learned.count * getattr(torch, config.saving.dtype).itemsize
    state = round((4 + remembered) * learned.count)
    return Estimate(
        stages=(stage,),
        disk=(
            DiskUse(name="denoiser", num_bytes=weights.total * released_itemsize, kind="read"),
            DiskUse(name="weights that were trained, each time", num_bytes=saved, kind="written"),
            DiskUse(name="a state to go on from", num_bytes=state, kind="written"),
        ),
    )


def _learned(readings: Readings, config: TrainConfig, shape: ClipShape) -> _Learned:
    """Of all depths, from shallow networks."""
    counts: dict[tuple[int, ...], int] = {}

    def measure(depths: tuple[int, ...]) -> Reading:
        reading, counts[depths] = _one_step(readings, config, shape, depths)
        # Carried through the sums of readings, as it grows with the depth like all else.
        return replace(reading, learned=counts[depths])

    asked = (config.method, config.adapter, config.saving.layout, config.execution.activation_checkpoint)
    total = readings.remember(("step", shape, *asked), lambda: metered_at(measure, readings.model.depths))
    return _Learned(reading=total, count=total.learned)


def _one_step(
    readings: Readings, config: TrainConfig, shape: ClipShape, depths: tuple[int, ...]
) -> tuple[Reading, int]:
    factors = None if config.method == "full" else _adapters(readings, config, depths)
    # Checkpoints ask a device for its random numbers and formats, which only a processor always has.
    with imagining(torch.device("cpu")) as device:
        network = readings.imagined(depths, device)
        if factors is None:
            network.requires_grad_(requires_grad=True)
        for name, adapter in (factors or {}).items():
            _put_beside(network, name, adapter)
        network.train()
        meter = Meter([network])
        if config.execution.activation_checkpoint:
            _checkpoint(network, meter)
        with meter:
            answer = readings.model.ask(network, shape, device, readings.dtype)
            target = torch.empty(answer.shape, device=device)
            (answer.float() - target).square().mean().backward()
        count = sum(each.numel() for each in network.parameters() if each.requires_grad)
        return meter.reading, count


def _checkpoint(network: nn.Module, meter: Meter) -> None:
    stacks = stacks_of(network)
    for stack in stacks:
        checkpoint_blocks(stack, offload=False, keep_last=stack is stacks[-1])
    for block in [block for stack in stacks for block in stack][:-1]:
        meter.watch_holes(block)


def _adapters(readings: Readings, config: TrainConfig, depths: tuple[int, ...]) -> dict[str, Adapter]:
    layout = choose_layout(config.saving.layout, "native", config.method)  # pyright: ignore[reportArgumentType]
    plan = plan_learning(readings.model.targets(depths), config.adapter, config.method, layout)  # pyright: ignore[reportArgumentType]
    return plan.adapters(0)


def _put_beside(network: nn.Module, name: str, adapter: Adapter) -> None:
    parent, _, leaf = name.rpartition(".")
    layer = network.get_submodule(name)
    setattr(network.get_submodule(parent), leaf, LearningModule(layer, adapter))
