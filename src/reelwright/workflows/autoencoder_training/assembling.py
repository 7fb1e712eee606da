"""A run that trains an autoencoder, put together."""

from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from reelwright.core.errors import ConfigError
from reelwright.execution.time_parallel import TimeShare, share_time
from reelwright.nn.discriminator import Discriminator
from reelwright.nn.inflation import look_at_the_present
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.autoencoder_training import AutoencoderModel
from reelwright.workflows.autoencoder_training.clip_batches import ClipBatches
from reelwright.workflows.autoencoder_training.finding import FoundAutoencoder
from reelwright.workflows.autoencoder_training.held_out import held_out_clips
from reelwright.workflows.autoencoder_training.losses import AutoencoderLosses
from reelwright.workflows.autoencoder_training.network import AutoencoderNetwork, AutoencoderTask
from reelwright.workflows.autoencoder_training.perceptual_weights import load_perceptual
from reelwright.workflows.autoencoder_training.reconstructions import Reconstructions
from reelwright.workflows.autoencoder_training.trainables import AutoencoderTrainables
from reelwright.workflows.training.learning import begin_learning, make_trainer
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.setting import Part, Setting
from reelwright.workflows.training.states import TrainingState
from reelwright.workflows.training.trainer import Course, Trainer


def assemble_autoencoder(
    found: FoundAutoencoder, accelerator: Accelerator, folder: Path, state: TrainingState | None
) -> tuple[Trainer, list[str]]:
    """A trainer at its start, or at a state, and what is to be said. Raises UserError."""
    config, device = found.config, accelerator.device
    if accelerator.is_fsdp2:
        raise ConfigError("accelerate launch: FSDP does not share out autoencoders. Use several GPUs.")
    course = _course(found, accelerator, state)
    num_parts = config.execution.time_parallel
    share = share_time(num_parts) if num_parts > 1 else None
    network = _load(config, found.model, device, share)

    def clips() -> Iterator[Tensor]:
        return (clip.values.to(device) for clip in held_out_clips(found))

    trainables = AutoencoderTrainables(
        network=network,
        model=found.model,
        dtype=getattr(torch, config.saving.dtype),
        discriminator_rate=config.discriminator.learning_rate_factor,
        measured_clips=clips if config.learned == "all" else None,
        balanced=config.balanced,
    )
    learning = begin_learning(config, accelerator, network, trainables, course)
    setting = Setting(
        config=config,
        folder=folder,
        accelerator=accelerator,
        network=learning.called,
        trainables=trainables,
        task=AutoencoderTask(device=device),
        shown=learning.shown,
        num_sharing=num_parts,
    )
    metrics = Metrics(setting)
    parts: dict[str, Part] = {}
    if found.validation is not None:
        parts["validation"] = Reconstructions(
            setting, config.validation, metrics, lambda: held_out_clips(found)
        )
    return make_trainer(setting, learning, course, metrics, parts, state), []


def _load(
    config: AutoencoderTrainConfig, model: AutoencoderModel, device: torch.device, share: TimeShare | None
) -> AutoencoderNetwork:
    """The autoencoder and what judges it, on the device. Random weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        autoencoder = model.build() if config.init == "random" else model.load(device)
        if config.init == "inflated":
            look_at_the_present(autoencoder)
        discriminator = Discriminator(config.discriminator.channels) if config.discriminator.weight else None
    for name, parameter in autoencoder.named_parameters():
        parameter.requires_grad_(config.learned == "all" or name.startswith(model.decoder))
    path = config.losses.perceptual_weights
    perceptual: nn.Module | None = None if path is None else load_perceptual(path).to(device)
    losses = AutoencoderLosses(config.losses, config.discriminator, discriminator, perceptual)
    last_layer = autoencoder.get_parameter(model.last_layer)
    return AutoencoderNetwork(autoencoder, discriminator, losses, last_layer, share).to(device)


def _course(found: FoundAutoencoder, accelerator: Accelerator, state: TrainingState | None) -> Course:
    """The data where training starts or goes on. Raises ConfigError if they are others than the state's."""
    # Processes that share clips take the same batches.
    num_parts = found.config.execution.time_parallel
    batches = ClipBatches(
        found.supply,
        found.stages,
        found.config,
        rank=accelerator.process_index // num_parts,
        num_ranks=accelerator.num_processes // num_parts,
    )
    if state is not None:
        batches.load_state_dict(state.progress["loader"])
    return Course(loader=batches, num_steps=found.config.steps, num_epochs=1)
