"""Text encoders put together with what teaches them."""

from pathlib import Path

import torch
from accelerate import Accelerator

from reelwright.core.errors import ConfigError
from reelwright.data.loader import Loader
from reelwright.workflows.encoder_training.finding import FoundEncoders
from reelwright.workflows.encoder_training.stack import EncoderStack, EncoderTask, EncoderTrainables
from reelwright.workflows.training.learning import begin_learning, make_trainer
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.setting import Setting
from reelwright.workflows.training.states import TrainingState
from reelwright.workflows.training.trainer import Course, Trainer


def assemble_encoders(
    found: FoundEncoders, accelerator: Accelerator, folder: Path, state: TrainingState | None
) -> tuple[Trainer, list[str]]:
    """A trainer at its start, or at a state, and what is to be said. Raises UserError."""
    config = found.config
    if accelerator.is_fsdp2:
        raise ConfigError("accelerate launch: text encoders are not shared out by FSDP. Use DDP.")
    course = _course(found, accelerator, state)
    seed = config.seed if config.init == "random" else None
    learners = {encoder.folder: encoder.open(seed) for encoder in found.model.encoders}
    stack = EncoderStack(learners).to(accelerator.device)
    dtype: torch.dtype = getattr(torch, config.saving.dtype)
    trainables = EncoderTrainables(stack=stack, model=found.model, dtype=dtype)
    learning = begin_learning(config, accelerator, stack, trainables, course)
    setting = Setting(
        config=config,
        folder=folder,
        accelerator=accelerator,
        network=learning.called,
        trainables=trainables,
        task=EncoderTask(),
        shown=learning.shown,
    )
    return make_trainer(setting, learning, course, Metrics(setting), {}, state), []


def _course(found: FoundEncoders, accelerator: Accelerator, state: TrainingState | None) -> Course:
    """The captions where training starts or goes on. Raises ConfigError for others than the state's."""
    config = found.config
    loader = Loader(
        found.items,
        seed=config.seed,
        rank=accelerator.process_index,
        num_ranks=accelerator.num_processes,
        num_workers=max(config.execution.num_workers, 1),
    )
    if state is not None:
        loader.load_state_dict(state.progress["loader"])
    per_epoch = -(-len(loader) // config.accumulation)
    return Course(loader=loader, num_steps=config.steps, num_epochs=-(-config.steps // per_epoch))
