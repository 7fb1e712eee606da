"""A run as its parts see it, with a denoiser of one number, for tests of what is told of training."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Batch, Example
from reelwright.workflows.training.denoising import DenoiserTask
from reelwright.workflows.training.setting import DenoiserSetting, Moment, StepResult

NUM_BINS = 10


class OneNumber(nn.Module):
    """Answers with what it is asked times a number, half of it dropped while it learns."""

    def __init__(self, number: float = 0.5) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor(number))
        self.still = nn.Linear(1, 1)
        self.still.eval()
        self.num_calls = 0

    def forward(self, noisy_BCTHW: Tensor, timestep_B: Tensor, conditions: object) -> Tensor:
        self.num_calls += 1
        return nn.functional.dropout(noisy_BCTHW * self.number, 0.5, self.training)


class NoiseAsTarget:
    """Noise of each item by its seed alone; what is clean is the item."""

    def example(self, batch: Batch, levels_B: Tensor | None = None) -> Example:
        assert levels_B is not None
        clean = batch.tensors["latents"]
        noise = torch.stack([torch.randn(clean[0].shape, generator=of(seed)) for seed in batch.seeds])
        level = levels_B.view(-1, 1, 1, 1, 1)
        return Example(
            noisy_BCTHW=(1 - level) * clean + level * noise,
            timestep_B=levels_B,
            conditions=None,
            target_BCTHW=noise,
            weight_B=torch.ones_like(levels_B),
            level_B=levels_B,
        )


def of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Learned:
    """Trainables whose change is what the test says."""

    def __init__(self, denoiser: OneNumber, base: float | None = None) -> None:
        self.denoiser = denoiser
        self.base = base
        self.changed = 0.01

    def change(self) -> float:
        return self.changed

    @contextmanager
    def untrained(self) -> Iterator[bool]:
        learned = self.denoiser.number.data
        if self.base is not None:
            self.denoiser.number.data = torch.tensor(self.base)
        yield self.base is not None
        self.denoiser.number.data = learned


def open_run(
    folder: Path, config: TrainConfig | None = None, trackers: Sequence[Any] = (), **more: Any
) -> DenoiserSetting:
    AcceleratorState._reset_state(reset_partial_state=True)
    denoiser = OneNumber()
    known: dict[str, Any] = {
        "family": SimpleNamespace(name="none"),
        "config": config or TrainConfig(),
        "model": SimpleNamespace(),
        "folder": folder,
        "accelerator": Accelerator(cpu=True, log_with=list(trackers) or None, project_dir=folder),
        "network": denoiser,
        "trainables": Learned(denoiser),
        "task": DenoiserTask(objective=NoiseAsTarget()),
        "objective": NoiseAsTarget(),
        "facts": {},
        "shown": nullcontext,
    }
    return DenoiserSetting(**{**known, **more})


def result(
    loss: float = 1.0, *, norm: float = 0.5, rates: Mapping[str, float] | None = None, **more: Any
) -> StepResult:
    known: dict[str, Any] = {
        "loss": loss,
        "num_items": 2,
        "level_losses": (loss, loss, *(0.0,) * (NUM_BINS - 2)),
        "level_counts": (1, 1, *(0,) * (NUM_BINS - 2)),
        "gradient_norm": norm,
        "rates": {"all": 1e-4} if rates is None else rates,
        "seconds": 0.5,
        "peak_memory": 1000,
    }
    return StepResult(**{**known, **more})


def moment(step: int, done: StepResult | None = None, *, num_steps: int = 1000, **more: Any) -> Moment:
    known: dict[str, Any] = {"epoch": step // 10, "num_epochs": 100, "epoch_ended": step % 10 == 0}
    return Moment(step=step, num_steps=num_steps, result=done, **{**known, **more})
