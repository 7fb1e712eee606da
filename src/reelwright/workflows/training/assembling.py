"""A run put together: the denoiser loaded, what learns put into it, and everything that goes with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from reelwright.execution.prepare import prepare, share_out
from reelwright.protocols.training import Objective, Trainables
from reelwright.workflows.caching.opening import OpenedData
from reelwright.workflows.training.curriculum import Curriculum
from reelwright.workflows.training.denoising import DenoiserTask
from reelwright.workflows.training.finding import Found, StageFound
from reelwright.workflows.training.full_trainables import described_by, full_trainables
from reelwright.workflows.training.learning import Learning, begin_learning, begin_stage, make_trainer
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.samples import Samples
from reelwright.workflows.training.setting import DenoiserSetting, Part
from reelwright.workflows.training.stages import stage_of
from reelwright.workflows.training.states import TrainingState
from reelwright.workflows.training.trainer import Course, Stretch, Trainer, plan_course
from reelwright.workflows.training.validation import Validation

_MIXED = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What layers compute in where that is not the format of the weights."""


def assemble(
    found: Found, accelerator: Accelerator, folder: Path, state: TrainingState | None
) -> tuple[Trainer | Curriculum, list[str]]:
    """A trainer at its start, or at a state, and what is to be said. Raises UserError."""
    if found.stages:
        return _assemble_stages(found, accelerator, folder, state)
    course = _course(found, accelerator, state)
    dtype = _weights_dtype(found, accelerator.device)
    # It may need a text encoder, which is gone again before the denoiser takes its place.
    objective = found.model.objective(accelerator.device, dtype)
    denoiser, trainables, notices = _load(found, accelerator, dtype)
    learning = begin_learning(found.config, accelerator, denoiser, trainables, course)
    assembly = _Assembly(accelerator=accelerator, folder=folder, trainables=trainables, learning=learning)
    return assembly.trainer(found, course, objective, state), notices


def _assemble_stages(
    found: Found, accelerator: Accelerator, folder: Path, state: TrainingState | None
) -> tuple[Curriculum, list[str]]:
    """As `assemble`, for a run in stages. What later ones need is loaded before the denoiser too."""
    stages = [_with_seed_of_run(stage, found.config.seed) for stage in found.stages]
    plans = tuple(stage.plan for stage in stages)
    number = 0 if state is None else stage_of(state.progress, plans)
    courses = _courses(stages, accelerator, state)
    dtype = _weights_dtype(found, accelerator.device)
    objectives = {
        stage.plan.number: stage.model.objective(accelerator.device, dtype) for stage in stages[number:]
    }
    denoiser, trainables, notices = _load(found, accelerator, dtype)
    learning = begin_learning(stages[number].config, accelerator, denoiser, trainables, courses[number])
    begun = _Assembly(accelerator=accelerator, folder=folder, trainables=trainables, learning=learning)

    def arrange(later: int) -> Trainer:
        stage, course = stages[later], courses[later]
        forgets = plans[later].said.optimizer == "reset"
        own = begin_stage(learning, stage.config, trainables, course, forgets=forgets)
        return replace(begun, learning=own).trainer(stage, course, objectives[later])

    trainer = begun.trainer(stages[number], courses[number], objectives[number], state)
    return Curriculum(plans, number, trainer, arrange), notices


@dataclass(frozen=True, kw_only=True)
class _Assembly:
    """What stays the same through all stages, but for how learning goes on."""

    accelerator: Accelerator
    folder: Path
    trainables: Trainables
    learning: Learning

    def trainer(
        self, found: Found, course: Course, objective: Objective, state: TrainingState | None = None
    ) -> Trainer:
        learning = self.learning
        setting = DenoiserSetting(
            family=found.family,
            config=found.config,
            model=found.model,
            folder=self.folder,
            accelerator=self.accelerator,
            network=learning.called,
            trainables=described_by(self.trainables, found.model),
            task=DenoiserTask(objective=objective),
            objective=objective,
            facts=_facts(found, course),
            shown=learning.shown,
        )
        metrics = Metrics(setting, stage=found.plan.name if isinstance(found, StageFound) else "")
        parts = _parts(found, setting, metrics, self.accelerator)
        return make_trainer(setting, learning, course, metrics, parts, state)


def _load(
    found: Found, accelerator: Accelerator, dtype: torch.dtype
) -> tuple[nn.Module, Trainables, list[str]]:
    """The denoiser with what learns in it."""
    config, model, execution = found.config, found.model, found.config.execution
    first_device = torch.device("cpu") if execution.fp8 or execution.block_swap else accelerator.device
    denoiser = model.load(first_device, dtype, seed=config.seed)
    notices = merge_base_weights(denoiser, model.targets, config.adapter)
    denoiser.requires_grad_(config.method == "full")
    notices += prepare(
        denoiser,
        execution,
        found.training.quantized,
        dtype=dtype,
        device=accelerator.device,
        computed=_MIXED.get(accelerator.mixed_precision),
    )
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
    share_out(denoiser, execution, accelerator.device)
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


def _courses(
    stages: Sequence[StageFound], accelerator: Accelerator, state: TrainingState | None
) -> list[Course]:
    """Of all stages, each at its start, or at the state. An epoch that is left unfinished counts as one.

    Raises ConfigError if the data are others than the state's.
    """
    plans = tuple(stage.plan for stage in stages)
    begun = None if state is None else stage_of(state.progress, plans)
    courses: list[Course] = []
    num_epochs = 0
    for stage in stages:
        plan = stage.plan
        shuffled = replace(stage, config=replace(stage.config, seed=plan.seed(stage.config.seed)))
        loader = _loader(stage.data, shuffled, accelerator, stage.packing)
        if state is not None and plan.number == begun:
            loader.load_state_dict(state.progress["loader"])
        stretch = Stretch(number=plan.number, first=plan.first, last=plan.last, epochs_before=num_epochs)
        num_epochs += -(-plan.said.steps // -(-len(loader) // stage.config.accumulation))
        courses.append(Course(loader=loader, num_steps=stage.config.steps, num_epochs=0, stretch=stretch))
    return [replace(course, num_epochs=num_epochs) for course in courses]


def _with_seed_of_run(stage: StageFound, seed: int) -> StageFound:
    """The seed of the run may have been drawn since the stage was found."""
    return replace(stage, config=replace(stage.config, seed=seed))


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
