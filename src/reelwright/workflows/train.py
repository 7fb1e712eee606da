"""Train a network of a model: one run folder with weights, states to go on from, and measurements."""

import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, UserError
from reelwright.core.events import Event, FileSaved, Finished, Notice, StageStarted
from reelwright.core.log import RunLog
from reelwright.core.paths import check_writable
from reelwright.core.run_folder import RunFolder
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.encoder_train_configs import EncoderTrainConfig
from reelwright.protocols.train_configs import LearningConfig, TrainConfig
from reelwright.workflows.autoencoder_training.assembling import assemble_autoencoder
from reelwright.workflows.autoencoder_training.finding import FoundAutoencoder, find_autoencoder
from reelwright.workflows.caching.ranks import rank
from reelwright.workflows.clips.recording import ROOM_NEEDED, draw_seed, recorded, store_recipe
from reelwright.workflows.encoder_training.assembling import assemble_encoders
from reelwright.workflows.encoder_training.finding import FoundEncoders, find_encoders
from reelwright.workflows.training.assembling import assemble
from reelwright.workflows.training.curriculum import Curriculum
from reelwright.workflows.training.finding import Found, find
from reelwright.workflows.training.hub import find_state_folder
from reelwright.workflows.training.level_chart import show_timesteps
from reelwright.workflows.training.processes import let_go, open_accelerator
from reelwright.workflows.training.stages import seed_of_run, with_steps_of_stages
from reelwright.workflows.training.states import TrainingState, has_states, latest_state, read_state
from reelwright.workflows.training.trackers import open_trackers, start_trackers
from reelwright.workflows.training.trainer import Trainer

AnyConfig = TypeVar("AnyConfig", bound=LearningConfig)
AnyFound = Found | FoundAutoencoder | FoundEncoders


def run(family: str, config: LearningConfig) -> Iterator[Event]:
    """Train as the configuration says, from the start or from the last state in the run folder.

    What can be wrong with the configuration, the checkpoint, the caches and the prompts is found before a
    model loads and before a folder is made. With several processes each one calls this; the first one tells.
    """
    config = with_steps_of_stages(validate(config, "train"))
    if config.state is not None:
        config = replace(config, state=find_state_folder(config.state, config.hub, offline=config.offline))
    with ExitStack() as opened:
        found = opened.enter_context(_find(family, config))
        if isinstance(found, Found) and found.config.show_timesteps != "no":
            yield from show_timesteps(replace(found, config=_with_seed(config)))
            return
        if rank() > 0:
            for _ in _train(found, None):
                pass
            return
        for place in filter(None, (config.run or config.out, config.saving.folder)):
            check_writable(place, ROOM_NEEDED)
        found = _with_config(found, _with_seed(config))
        folder = opened.enter_context(RunFolder.create(config.out, config.run, config.name))
        opened.enter_context(RunLog(folder.log_path))
        store_recipe(folder, family, without_secrets(found.config), workflow="train")
        with _way_on(folder.path):
            yield from recorded(folder.sink(), _train(found, folder.path))


def _find(family: str, config: LearningConfig) -> AbstractContextManager[AnyFound]:
    """Everything that the run needs, whatever it trains."""
    match config:
        case AutoencoderTrainConfig():
            return find_autoencoder(family, config)
        case EncoderTrainConfig():
            return find_encoders(family, config)
        case _:
            assert isinstance(config, TrainConfig)
            return find(family, config)


def _with_config(found: AnyFound, config: LearningConfig) -> AnyFound:
    assert isinstance(config, type(found.config))
    changed: dict[str, Any] = {"config": config}
    return replace(found, **changed)


def _assemble(
    found: AnyFound, accelerator: Accelerator, folder: Path, state: TrainingState | None
) -> tuple[Trainer | Curriculum, list[str]]:
    if isinstance(found, Found):
        return assemble(found, accelerator, folder, state)
    if isinstance(found, FoundEncoders):
        return assemble_encoders(found, accelerator, folder, state)
    return assemble_autoencoder(found, accelerator, folder, state)


@contextmanager
def _way_on(folder: Path) -> Generator[None]:
    """A run that ends early and has a state says how to go on from it."""
    try:
        yield
    except (KeyboardInterrupt, UserError) as ending:
        if has_states(folder):
            ending.add_note(f"To go on from the last state: reelwright resume {folder}")
        raise


def without_secrets(config: AnyConfig) -> AnyConfig:
    """The configuration as it may be stored and shown."""
    return replace(config, tracking=replace(config.tracking, wandb_key=""), hub=replace(config.hub, token=""))


def _train(found: AnyFound, folder: Path | None) -> Generator[Event]:
    """The run, on one of its processes; the first one has made its folder."""
    started = time.perf_counter()
    accelerator = open_accelerator(
        found.config, folder or found.config.out, open_trackers(found.config, folder)
    )
    folder, config = _agree(accelerator, folder, found.config)
    yield from map(Notice, found.notices)
    state, notices = _find_state(config, folder)
    yield from map(Notice, notices)
    if isinstance(found, Found) and found.samples is not None and accelerator.is_main_process:
        assert isinstance(config, TrainConfig)
        yield StageStarted("encode prompts")
        found.samples.encode(config)
    accelerator.wait_for_everyone()
    yield StageStarted("load networks")
    trainer, notices = _assemble(_with_config(found, config), accelerator, folder, state)
    del state
    yield from map(Notice, notices)
    start_trackers(accelerator, config, trainer.moment.step)
    files: dict[str, str] = {"run": str(folder)}
    with closing(trainer.run()) as events:
        for event in events:
            if isinstance(event, FileSaved):
                files[event.kind] = event.path
            yield event
    del trainer
    let_go(accelerator)
    yield Finished((files,), time.perf_counter() - started)


def _with_seed(config: AnyConfig) -> AnyConfig:
    """Draw the seed that was left open, or take that of the state that the run goes on from."""
    if config.seed >= 0:
        return config
    if config.state is not None:
        return replace(config, seed=seed_of_run(read_state(config.state)[0].progress))
    return replace(config, seed=draw_seed())


def _agree(accelerator: Accelerator, folder: Path | None, config: AnyConfig) -> tuple[Path, AnyConfig]:
    """The folder and the seed that the first process chose, on all of them."""
    if accelerator.num_processes == 1:
        assert folder is not None
        return folder, config
    chosen: list[Any] = broadcast_object_list([str(folder), config.seed])
    return Path(chosen[0]), replace(config, seed=chosen[1])


def _find_state(config: LearningConfig, folder: Path) -> tuple[TrainingState | None, list[str]]:
    """The state to go on from: the last one of this run, else the one that was named."""
    if (found := latest_state(folder)) is not None:
        state, notices = found
        return state, [*notices, f"going on after step {state.progress['step']}."]
    if config.state is None:
        return None, []
    state, notices = read_state(config.state)
    done = state.progress["step"]
    counts_epochs = isinstance(config, TrainConfig) and config.epochs > 0
    if not counts_epochs and done >= config.steps:
        raise ConfigError(
            f"steps: {config.steps} in all, and {config.state} is a state after step {done}. Give more."
        )
    return state, [*notices, f"going on after step {done} of {config.state}."]
