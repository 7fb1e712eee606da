"""A run put together: the denoiser loaded, what learns put into it, and everything that goes with it."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from reelwright.adapters.learning.adapter_trainables import adapter_trainables, merge_base_weights
from reelwright.adapters.learning.learning_plan import choose_layout
from reelwright.core.config import to_mapping
from reelwright.data.loader import Loader
from reelwright.data.packing import PackPlan
from reelwright.execution.devices import choose_dtype
from reelwright.execution.prepare import prepare
from reelwright.protocols.training import Trainables
from reelwright.workflows.caching.opening import OpenedData
from reelwright.workflows.training.denoising import DenoiserTask
from reelwright.workflows.training.finding import Found
from reelwright.workflows.training.full_trainables import full_trainables
from reelwright.workflows.training.learning import begin_learning, make_trainer
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.samples import Samples
from reelwright.workflows.training.setting import DenoiserSetting, Part
from reelwright.workflows.training.states import TrainingState
from reelwright.workflows.training.trainer import Course, Trainer, plan_course
from reelwright.workflows.training.validation import Validation


def assemble(
    found: Found, accelerator: Accelerator, folder: Path, state: TrainingState | None
) -> tuple[Trainer, list[str]]:
    """A trainer at its start, or at a state, and what is to be said. Raises UserError."""
    config, model = found.config, found.model
    course = _course(found, accelerator, state)
    dtype = _weights_dtype(found, accelerator.device)
    # It may need a text encoder, which is gone again before the denoiser takes its place.
    objective = model.objective(accelerator.device, dtype)
    denoiser, trainables, notices = _load(found, accelerator, dtype)
    learning = begin_learning(config, accelerator, denoiser, trainables, course)
    setting = DenoiserSetting(
        family=found.family,
        config=config,
        model=model,
        folder=folder,
        accelerator=accelerator,
        network=learning.called,
        trainables=trainables,
        task=DenoiserTask(objective=objective),
        objective=objective,
        facts=_facts(found, course),
        shown=learning.shown,
    )
    metrics = Metrics(setting)
    parts = _parts(found, setting, metrics, accelerator)
    return make_trainer(setting, learning, course, metrics, parts, state), notices


def _load(
    found: Found, accelerator: Accelerator, dtype: torch.dtype
) -> tuple[nn.Module, Trainables, list[str]]:
    """The denoiser with what learns in it."""
    config, model, execution = found.config, found.model, found.config.execution
    first_device = torch.device("cpu") if execution.fp8 else accelerator.device
    denoiser = model.load(first_device, dtype, seed=config.seed)
    notices = merge_base_weights(denoiser, model.targets, config.adapter)
    denoiser.requires_grad_(config.method == "full")
    prepare(denoiser, execution, found.training.quantized, dtype=dtype, device=accelerator.device)
    saved = config.saving.dtype
    if config.method == "full":
        # Whole models are as large as the released ones, or smaller.
        name = model.released_dtype if saved == "float32" else saved
        return denoiser, full_trainables(denoiser, model, getattr(torch, name)), notices
    layout = choose_layout(config.saving.layout, model.adapter_layout, config.method)
    trainables = adapter_trainables(
        denoiser,
        model.targets,
        config.adapter,
        config.method,
        layout=layout,
        dtype=getattr(torch, saved),
        seed=config.seed,
    )
    return denoiser, trainables, notices


def _weights_dtype(found: Found, device: torch.device) -> torch.dtype:
    """Weights that learn are kept in float32 unless told otherwise: small changes would be rounded away."""
    execution = found.config.execution
    if found.config.method == "full" and execution.dtype == "auto":
        return torch.float32
    return choose_dtype(execution.dtype, device, found.model.released_dtype)


def _course(found: Found, accelerator: Accelerator, state: TrainingState | None) -> Course:
    """The data where training starts or goes on. Raises ConfigError if they are others than the state's."""
    loader = _loader(found.data, found, accelerator, found.packing)
    if state is not None:
        loader.load_state_dict(state.progress["loader"])
    return plan_course(loader, found.config, done=0 if state is None else state.progress["step"])


def _loader(
    data: OpenedData, found: Found, accelerator: Accelerator, packing: PackPlan | None = None
) -> Loader:
    return Loader(
        data.items,
        seed=found.config.seed,
        rank=accelerator.process_index,
        num_ranks=accelerator.num_processes,
        num_workers=max(found.config.execution.num_workers, 1),
        packing=packing,
    )


def _parts(
    found: Found, setting: DenoiserSetting, metrics: Metrics, accelerator: Accelerator
) -> dict[str, Part]:
    """What happens after steps, in order."""
    parts: dict[str, Part] = {}
    if (held_out := found.validation) is not None:
        parts["validation"] = Validation(setting, metrics, lambda: _loader(held_out, found, accelerator))
    if found.samples is not None:
        parts["samples"] = Samples(setting, found.samples)
    return parts


def _facts(found: Found, course: Course) -> dict[str, Any]:
    described = [to_mapping(dataset, only_changed=True) for dataset in found.data.data.datasets]
    return {
        "num_items": found.data.items.num_items,
        "num_batches": len(course.loader),
        "num_epochs": course.num_epochs,
        "datasets": [{key: said for key, said in each.items() if key != "family_keys"} for each in described],
    }
