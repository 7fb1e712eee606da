"""One step: the losses of each batch, their gradients, one change of what learns."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from reelwright.core.errors import MemoryLimitError, NumericsError, is_out_of_memory
from reelwright.execution.devices import peak_memory
from reelwright.protocols.training import Batch, Losses
from reelwright.workflows.training.gathering import gathered
from reelwright.workflows.training.optimizers import learning_rates
from reelwright.workflows.training.setting import Setting, StepResult

NUM_BINS = 10
"""Equal parts of the noise levels, by which losses are told apart."""


class HalfStepError(MemoryLimitError):
    """Memory ran out while weights were changed: they are of no use any more."""


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """Takes steps with an optimizer; its learning rates follow a schedule, if there is one."""

    setting: Setting
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None

    def take(self, batches: Sequence[Batch], number: int) -> StepResult:
        """Step `number`, from 1, with the batches of this process: all processes together.

        Raises NumericsError before anything has changed if errors or gradients are not finite,
        MemoryLimitError where memory is too small for a batch, also before, and HalfStepError where it is too
        small for the optimizer.
        """
        started = time.perf_counter()
        accelerator, config = self.setting.accelerator, self.setting.config
        num_items, filled, num_batches = self._sum_over_processes(_counts(batches))
        told = torch.zeros(1 + 2 * NUM_BINS, dtype=torch.float64)
        parts: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            torch.manual_seed(_seed_of_layers(config.seed, number, index, accelerator.process_index))
            losses, loss = self._learn_from(batch, number, num_items, is_last=index + 1 == len(batches))
            told += torch.cat([loss.cpu().double()[None], by_level(losses)])
            for name, part in losses.parts.items():
                parts[name] = parts.get(name, torch.zeros(1)) + part.detach().cpu().double().view(1)
        told = self._sum_over_processes(told)
        _check_finite(told[0], "errors", number, batches)
        rates = learning_rates(self.optimizer)
        norm, norms_of_opponents = self._clip()
        if accelerator.scaler is None:
            for each in (norm, *norms_of_opponents.values()):
                _check_finite(each, "gradients", number, batches)
        self._change()
        return StepResult(
            loss=float(told[0]),
            num_items=int(num_items) // self.setting.num_sharing,
            level_losses=tuple(told[1 : 1 + NUM_BINS].tolist()),
            level_counts=tuple(int(count) for count in told[1 + NUM_BINS :].tolist()),
            gradient_norm=float(norm),
            rates=rates,
            seconds=time.perf_counter() - started,
            peak_memory=peak_memory(accelerator.device),
            parts={**self._means(parts, num_items), **{k: float(v) for k, v in norms_of_opponents.items()}},
            padding_waste=float(1 - filled / num_batches) if batches[0].parts else None,
        )

    def _learn_from(
        self, batch: Batch, number: int, num_items: Tensor, *, is_last: bool
    ) -> tuple[Losses, Tensor]:
        """Add a batch's gradients; its losses, and its part of that of the step."""
        accelerator, network = self.setting.accelerator, self.setting.network
        try:
            with nullcontext() if is_last else accelerator.no_sync(network):
                losses = self.setting.task.losses(network, batch, number)
                loss = losses.total / num_items.item()
                # Gradients are averaged over processes, but the sum is wanted.
                accelerator.backward(loss * accelerator.num_processes)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(_too_large(batch)) from error
        return losses, loss.detach()

    def _clip(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The norm of all gradients, and that of each opponent by its name in metrics.

        Where one is too large, its gradients are scaled down, and no others.
        """
        groups = self.setting.trainables.groups()
        limit = self.setting.config.optimizer.max_grad_norm or float("inf")
        together = chain.from_iterable(each.parameters.values() for each in groups if not each.is_opponent)
        # The first call also takes the scale of losses in half precision from all gradients.
        norm = self.setting.accelerator.clip_grad_norm_(list(together), limit)
        assert isinstance(norm, Tensor)
        of_opponents = {
            f"{each.name}_gradient_norm": clip_grad_norm_(each.parameters.values(), limit).detach().cpu()
            for each in groups
            if each.is_opponent
        }
        return gathered({"norm": norm})["norm"].detach().cpu(), of_opponents

    def _change(self) -> None:
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise HalfStepError(
                "memory: there is not enough for the optimizer. No state is written, as weights may be half"
                " changed; the last one is as it was. Take an optimizer that remembers less, as adamw8bit or"
                " adafactor, a smaller --adapter.rank, or --execution.activation-checkpoint."
            ) from error
        was_taken = not self.setting.accelerator.optimizer_step_was_skipped
        if self.schedule is not None and was_taken:
            self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.setting.trainables.after_step()

    def _means(self, parts: Mapping[str, Tensor], num_items: Tensor) -> dict[str, float]:
        """Of what tasks tell, over the items of all processes."""
        if not parts:
            return {}
        sums = self._sum_over_processes(torch.cat([parts[name] for name in sorted(parts)]))
        return dict(zip(sorted(parts), (sums / num_items.item()).tolist(), strict=True))

    def _sum_over_processes(self, values: Tensor) -> Tensor:
        accelerator = self.setting.accelerator
        if accelerator.num_processes == 1:
            return values
        summed = accelerator.reduce(values.to(accelerator.device), "sum")
        assert isinstance(summed, Tensor)
        return summed.cpu()


def by_level(losses: Losses) -> Tensor:
    """Sums of errors in each bin of noise levels, then counts; float64 [2 x NUM_BINS], on the processor.

    All are 0 for a task without noise levels.
    """
    if losses.level_B is None or losses.errors_B is None:
        return torch.zeros(2 * NUM_BINS, dtype=torch.float64)
    bins = (losses.level_B.detach().cpu() * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    errors = losses.errors_B.detach().cpu().double()
    sums = torch.zeros(NUM_BINS, dtype=torch.float64).index_add_(0, bins, errors)
    counts = torch.zeros(NUM_BINS, dtype=torch.float64).index_add_(0, bins, torch.ones_like(errors))
    return torch.cat([sums, counts])


def _counts(batches: Sequence[Batch]) -> Tensor:
    """Items, the room of batches that is filled, and batches."""
    num_items = sum(len(batch.names) for batch in batches)
    filled = sum(batch.fill for batch in batches)
    return torch.tensor([num_items, filled, len(batches)], dtype=torch.float64)


def _seed_of_layers(*parts: int) -> int:
    """Where dropout starts, for one batch of one process in one step."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def _check_finite(value: Tensor, what: str, number: int, batches: Sequence[Batch]) -> None:
    if torch.isfinite(value):
        return
    names = ", ".join(name for batch in batches for name in batch.names[:4])
    raise NumericsError(
        f"training: the {what} of step {number} are NaN or infinite, and nothing was changed by it. Lower"
        " optimizer.learning_rate or lengthen schedule.warmup, and compute in float32 or bf16 rather than"
        " fp16; then start anew, or go on from an earlier state with --state. If it happens in the first"
        f" steps, look at these items, encode them again, or leave them out: {names}"
    )


def _too_large(batch: Batch) -> str:
    if batch.parts:
        return (
            f"memory: there is not enough for a pack of {len(batch.parts)} items ({batch.group}). Lower"
            " packing.tokens (and raise accumulation for the same result), or use"
            " --execution.activation-checkpoint, --execution.fp8, or a smaller --adapter.rank."
        )
    if "latents" not in batch.tensors:
        return (
            f"memory: there is not enough for {len(batch.names)} items of {batch.group}. Lower batch_size"
            " (and raise accumulation for the same result), the size or the number of frames."
        )
    shape = "x".join(map(str, batch.tensors["latents"].shape))
    return (
        f"memory: there is not enough for {len(batch.names)} items of the bucket {batch.group} (latents"
        f" {shape}). Lower batch_size in the data set (and raise accumulation for the same result), its"
        " resolution or its frames; or use --execution.activation-checkpoint, --execution.fp8, or a smaller"
        " --adapter.rank."
    )
