"""Make video: one run folder with clips, their latents, and what it takes to make them again."""

import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reelwright import families
from reelwright.core.config import read_recipe, to_toml, validate
from reelwright.core.errors import ConfigError, UserError
from reelwright.core.events import (
    ClipFailed,
    ClipFinished,
    Event,
    EventSink,
    Failed,
    Finished,
    Notice,
    StepDone,
    Stopped,
)
from reelwright.core.log import RunLog
from reelwright.core.paths import check_writable
from reelwright.core.provenance import Provenance
from reelwright.core.run_folder import RunFolder
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Family
from reelwright.workflows.adapter_origin import locate
from reelwright.workflows.clips.making import COMPUTING, Clip, make_clips
from reelwright.workflows.clips.planning import Plan, plan_decoding, plan_generation

RECIPE = "recipe.toml"
"""Within a run: what it makes."""
_ROOM_NEEDED = 64 << 20
"""Free bytes without which a run does not start."""


def run(
    family: str, config: GenerateConfig, record: Provenance | None = None, *, replaces: bool = False
) -> Iterator[Event]:
    """Make every clip that the configuration asks for, or decode a saved latent.

    What can be wrong with the configuration, the checkpoint and the inputs is found before a model loads and
    before a folder is made. A run folder of the same recipe is continued: finished clips and sections stay,
    saved latents are decoded. `record` is that of a clip to be made again; it is checked against what is
    here.
    replaces: the folder's recipe gives way to this one, and what no longer follows from it is made again.
    """
    started = time.perf_counter()
    config = _with_seed(validate(config, "generate"))
    known = families.load(family)
    if config.save_merged_model is not None:
        yield from _write_merged(known, config, config.save_merged_model)
        return
    check_writable(config.run or config.out, _ROOM_NEEDED)
    plan = (
        plan_generation(known, config, record) if config.from_latent is None else plan_decoding(known, config)
    )
    with RunFolder.create(config.out, config.run, family) as folder, RunLog(folder.log_path):
        store_recipe(folder, family, config, replaces=replaces)
        yield from _recorded(folder.sink(), _make(plan, folder.path, started))


def _write_merged(family: Family, config: GenerateConfig, path: Path) -> Iterator[Event]:
    """Write the denoiser with its LoRAs merged, and make nothing."""
    started = time.perf_counter()
    check_writable(path.parent, _ROOM_NEEDED)
    model = locate(family, config)
    yield from (Notice(text) for text in model.notices)
    yield from family.start(model, config.execution).write_merged(path)
    yield Finished(({"model": str(path)},), time.perf_counter() - started)


def _make(plan: Plan, folder: Path, started: float) -> Generator[Event]:
    for text in (*plan.notices, *(f"left out: {failure}" for failure in plan.failures)):
        yield Notice(text)
    session = plan.family.start(plan.model, plan.clips[0].config.execution)
    clips = [
        Clip(plan=clip, folder=folder, number=number, total=len(plan.clips))
        for number, clip in enumerate(plan.clips, start=1)
    ]
    peak = 0
    files: list[dict[str, str]] = []
    failures = list(plan.failures)
    for event in make_clips(session, clips):
        match event:
            case StepDone(peak_memory=memory):
                peak = max(peak, memory)
            case ClipFinished(files=made):
                files.append(made)
            case ClipFailed(clip=number, message=message):
                failures.append(f"clip {number}: {message}")
            case _:
                pass
        yield event
    if files:
        yield Finished(tuple(files), time.perf_counter() - started, peak)
    if failures:
        raise UserError("\n".join(failures))


def _with_seed(config: GenerateConfig) -> GenerateConfig:
    """Draw the seed that was left open, so that the stored recipe makes the same clips again."""
    return replace(config, seed=secrets.randbelow(2**31)) if config.seed < 0 else config


def store_recipe(folder: RunFolder, family: str, config: GenerateConfig, *, replaces: bool = False) -> None:
    """Write recipe.toml; a folder with the clips of another recipe is refused, unless told otherwise."""
    path = folder.path / RECIPE
    identity = {"workflow": "generate", "family": family}
    elsewhere = {"out": config.out, "run": config.run}
    is_other = path.exists() and replace(read_recipe(path, type(config), identity), **elsewhere) != config
    if is_other and not replaces:
        raise ConfigError(
            f"run: {folder.path} holds another run. Choose another --run, or go on with that one: "
            f"reelwright resume {folder.path}"
        )
    folder.write_recipe(to_toml(config, identity))


def _recorded(keep: EventSink, events: Generator[Event]) -> Iterator[Event]:
    """Pass events on, each kept in the run folder first, the end of a broken run too."""
    try:
        with closing(events):
            for event in events:
                keep(event)
                yield event
    except (UserError, *COMPUTING) as error:
        keep(Failed(type(error).__name__, str(error)))
        raise
    except (KeyboardInterrupt, GeneratorExit) as interruption:
        keep(Stopped(getattr(interruption, "name", "SIGINT")))
        raise
