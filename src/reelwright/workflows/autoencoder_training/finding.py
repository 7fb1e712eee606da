"""Everything that training an autoencoder needs, found and checked, with nothing loaded."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reelwright import families
from reelwright.core.errors import ConfigError
from reelwright.execution.time_parallel import sharing_problem
from reelwright.media.geometry import neighbor_num_frames
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.autoencoder_training import AutoencoderModel
from reelwright.protocols.clips import ClipRule
from reelwright.protocols.train_configs import SavingConfig
from reelwright.workflows.autoencoder_training.clip_batches import stage_starts
from reelwright.workflows.autoencoder_training.perceptual_weights import check_perceptual
from reelwright.workflows.autoencoder_training.supply import (
    StageSupply,
    Supply,
    largest,
    open_supply,
    plan_stage,
)
from reelwright.workflows.caching.ranks import num_ranks
from reelwright.workflows.training.finding import check_outputs
from reelwright.workflows.training.lr_schedules import check_schedule
from reelwright.workflows.training.optimizers import check_optimizer

_FOR_DENOISERS = (
    *("every_epochs", "keep_epochs", "layout", "metadata"),
    *("comment", "title", "author", "description", "license", "tags"),
)


@dataclass(frozen=True, kw_only=True)
class FoundAutoencoder:
    """Of one run."""

    config: AutoencoderTrainConfig
    model: AutoencoderModel
    supply: Supply
    stages: tuple[StageSupply, ...]
    validation: Supply | None
    notices: tuple[str, ...]


@contextmanager
def find_autoencoder(family: str, config: AutoencoderTrainConfig) -> Generator[FoundAutoencoder]:
    """Find the autoencoder and look at the data. Raises UserError."""
    training = families.load(family).autoencoder_training
    if training is None:
        raise ConfigError(f"stage: autoencoders of {family} are not trained here. Train its denoiser.")
    check_outputs(config)
    check_schedule(config.schedule, config.steps, config.optimizer)
    check_perceptual(config.losses)
    remarks = check_optimizer(config.optimizer)
    if config.vae is not None and not config.vae.exists():
        raise ConfigError(f"vae: {config.vae}: there is no such file or folder. Check the path.")
    model = training.locate(config)
    if problems := list(_problems(config, model)):
        raise ConfigError("\n".join(problems))
    rule = ClipRule(
        fps=config.fps or model.fps,
        frame_step=model.temporal_stride,
        default_size=(config.stages[0].width, config.stages[0].height),
    )
    supply = open_supply(config.dataset, rule)
    planned = [plan_stage(supply, config, number) for number in range(len(config.stages))]
    validation = None
    if config.validation.dataset is not None:
        validation = open_supply(config.validation.dataset, rule)
    _check_held_out(config, validation or supply)
    yield FoundAutoencoder(
        config=config,
        model=model,
        supply=supply,
        stages=tuple(stage for stage, _ in planned),
        validation=validation,
        notices=(
            *remarks,
            *model.notices,
            *_unreached(config),
            *(notice for _, notices in planned for notice in notices),
        ),
    )


def _check_held_out(config: AutoencoderTrainConfig, supply: Supply) -> None:
    """There must be something to judge, or to measure latents by. Raises ConfigError."""
    wanted = config.validation.frames or config.stages[-1].frames
    if not any(each.source.kind == "image" or each.num_frames >= wanted for each in supply.sources):
        raise ConfigError(
            f"validation.frames: no source of {supply.path} gives {wanted} frames. {largest(supply, config)}"
        )


def _problems(config: AutoencoderTrainConfig, model: AutoencoderModel) -> Iterator[str]:
    yield from _problems_of_settings(config)
    if not config.stages:
        yield "stages: there is none. Say how long and how large clips are, in a [[stages]] table."
    for number, stage in enumerate(config.stages):
        yield from _problems_of_frames(f"stages.{number}.frames", stage.frames, model)
        for name in ("width", "height"):
            side, stride = getattr(stage, name), model.spatial_stride
            if side % stride:
                legal = side - side % stride
                yield f"stages.{number}.{name}: {side} is not a multiple of {stride}. Use {legal}."
        if not stage.steps and number + 1 < len(config.stages):
            yield f"stages.{number}.steps: only the last stage may go on to the end. Say how many steps."
    yield from _problems_of_sharing(config, model)
    if config.validation.frames:
        yield from _problems_of_frames("validation.frames", config.validation.frames, model)


def _problems_of_frames(name: str, frames: int, model: AutoencoderModel) -> Iterator[str]:
    below, above = neighbor_num_frames(frames, model.temporal_stride)
    if frames not in (below, above):
        step = model.temporal_stride
        yield f"{name}: {frames} is not {step}k+1. Nearest: {below} and {above}."


def _problems_of_sharing(config: AutoencoderTrainConfig, model: AutoencoderModel) -> Iterator[str]:
    num_parts = config.execution.time_parallel
    if num_ranks() % num_parts:
        yield (
            f"execution.time_parallel: {num_parts} processes share each clip, but there are {num_ranks()} in"
            f" all. Start a multiple of {num_parts}, with torchrun --nproc-per-node or accelerate launch."
        )
    for number, stage in enumerate(config.stages):
        # A single frame is not shared out.
        problem = sharing_problem(stage.frames, num_parts, model.temporal_stride)
        if num_parts > 1 and stage.frames > 1 and problem:
            yield f"stages.{number}.frames: {problem}"


def _problems_of_settings(config: AutoencoderTrainConfig) -> Iterator[str]:
    usual = SavingConfig()
    for name in _FOR_DENOISERS:
        if getattr(config.saving, name) != getattr(usual, name):
            yield f"saving.{name}: has no effect on autoencoders. Leave it out."
    if config.learned == "decoder" and config.init == "random":
        yield "learned: a random encoder must learn too. Use --learned all, or --init checkpoint."
    if config.learned == "decoder" and config.init == "inflated":
        yield "learned: inflating changes the encoder too. Use --learned all, or --init checkpoint."
    if config.learned == "decoder" and config.balanced:
        yield "balanced: latents keep their meaning where the decoder learns alone. Leave one of the two out."
    if config.execution.dtype not in ("auto", "float32"):
        yield (
            "execution.dtype: weights that learn are in float32. Leave it out; --execution.mixed-precision"
            " says in what layers compute."
        )


def _unreached(config: AutoencoderTrainConfig) -> Iterator[str]:
    for number, start in enumerate(stage_starts(config)):
        if start >= config.steps:
            yield f"stages.{number}: begins after step {start}, and training ends with step {config.steps}."
