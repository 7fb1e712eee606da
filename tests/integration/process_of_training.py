"""One process of a small training in all variants; run by torchrun, or called for what it must come to.

torchrun --nproc-per-node 2 -m tests.integration.process_of_training FOLDER
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.checkpoint.live_parameters import put
from reelwright.execution.prepare import prepare
from reelwright.execution.stacks import stacks_of
from reelwright.protocols.train_configs import AdapterConfig, TrainConfig, TrainExecutionConfig
from reelwright.workflows.training.gathering import gathered
from reelwright.workflows.training.processes import (
    load_optimizer_state,
    open_accelerator,
    optimizer_state,
    prepare_learning,
)

from ..unit.lora_networks import SUBJECTS
from ..unit.training_questions import QUESTIONS, error

NUM_STEPS, ITEMS_A_STEP = 2, 4


@dataclass(frozen=True)
class Variant:
    """What is trained, and how."""

    family: str
    method: str
    fp8: bool = False
    checkpoint: bool = True
    stopped_after: int = 0
    """Put what was learned into a new denoiser and a new optimizer after this many steps."""

    def __str__(self) -> str:
        words = [self.family, self.method, *("fp8" for _ in range(self.fp8))]
        return "-".join(words + [f"stopped{self.stopped_after}" for _ in range(self.stopped_after > 0)])


VARIANTS = (
    Variant("cogvideox", "lora", checkpoint=False),
    Variant("cogvideox", "full", stopped_after=1),
    Variant("framepack", "lora", fp8=True, stopped_after=1),
    Variant("framepack", "full"),
)


@dataclass
class Training:
    """A denoiser that learns, with its optimizer."""

    accelerator: Accelerator
    called: nn.Module
    optimizer: torch.optim.Optimizer
    denoiser: nn.Module

    def step(self, number: int, family: str) -> float:
        """Learn from the step's items, of which each process has its part; the loss over all of them."""
        rank, num_ranks = self.accelerator.process_index, self.accelerator.num_processes
        mine = range(number * ITEMS_A_STEP + rank, (number + 1) * ITEMS_A_STEP, num_ranks)
        total = torch.zeros(())
        for item in mine:
            if item != mine[-1]:
                with self.accelerator.no_sync(self.called):
                    total += self._learn(item, family)
            else:
                total += self._learn(item, family)
        self.accelerator.clip_grad_norm_(self._learning().values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        summed = self.accelerator.reduce(total, "sum") if num_ranks > 1 else total
        assert isinstance(summed, Tensor)
        return float(summed)

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in gathered(self._learning()).items()}

    def load(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        for name, parameter in self._learning().items():
            put(parameter, weights[name])
        load_optimizer_state(self.optimizer, state)

    def _learn(self, item: int, family: str) -> Tensor:
        loss = error(self.called, QUESTIONS[family](item)) / ITEMS_A_STEP
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _learning(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.denoiser.named_parameters() if p.requires_grad}


def train(variant: Variant, folder: Path) -> dict[str, Any]:
    """The losses of the steps, and what was learned, whole."""
    execution = TrainExecutionConfig(device="cpu", activation_checkpoint=variant.checkpoint)
    config = TrainConfig(method=variant.method, execution=execution)  # pyright: ignore[reportArgumentType]
    accelerator = open_accelerator(config, folder)
    training = _begin(variant, accelerator)
    losses: list[float] = []
    for number in range(NUM_STEPS):
        if variant.stopped_after and number == variant.stopped_after and accelerator.num_processes > 1:
            weights, state = training.weights(), optimizer_state(training.optimizer)
            training = _begin(variant, accelerator)
            training.load(weights, state)
        losses.append(training.step(number, variant.family))
    learned = {
        "kind": accelerator.distributed_type.value,
        "sharded": accelerator.is_fsdp2,
        "units": sum(type(block).__name__.startswith("FSDP") for block in _blocks(training.denoiser)),
        "losses": losses,
        "weights": training.weights(),
        "state": optimizer_state(training.optimizer),
    }
    del training
    accelerator.free_memory()  # no network may outlive the group of processes
    return learned


def _begin(variant: Variant, accelerator: Accelerator) -> Training:
    subject = SUBJECTS[variant.family]
    denoiser = subject.build().requires_grad_(variant.method == "full").train()
    execution = TrainExecutionConfig(fp8=variant.fp8, activation_checkpoint=variant.checkpoint)
    prepare(
        denoiser,
        execution,
        lambda name: "modulation" not in name,
        dtype=torch.float32,
        device=accelerator.device,
    )
    if variant.method == "lora":
        config = AdapterConfig(rank=2, targets="all")
        adapter_trainables(
            denoiser, subject.targets, config, "lora", layout="native", dtype=torch.float32, seed=1
        )
    learning = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    # A large epsilon: where gradients are near zero, AdamW would make steps of their rounding.
    optimizer = torch.optim.AdamW(learning, lr=1e-2, eps=1e-4)
    called, prepared = prepare_learning(accelerator, denoiser, optimizer)
    return Training(accelerator, called, prepared, denoiser)


def _blocks(denoiser: nn.Module) -> list[nn.Module]:
    return [block for stack in stacks_of(denoiser) for block in stack]


def main(folder: Path) -> None:
    for kind, says in (("ddp", "false"), ("fsdp", "true")):
        os.environ["ACCELERATE_USE_FSDP"] = says
        for variant in VARIANTS:
            result = train(variant, folder)
            if os.environ["RANK"] == "0":
                torch.save(result, folder / f"{kind}-{variant}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
