"""Make video: one run folder with clips, their latents, and what it takes to make them again."""

import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from reelwright import families
from reelwright.core.config import read_recipe, to_toml, validate
from reelwright.core.errors import ConfigError, NumericsError, UserError
from reelwright.core.events import (
    ClipFinished,
    Event,
    EventSink,
    Failed,
    FileSaved,
    Finished,
    Notice,
    PreviewSaved,
    StepDone,
    Stopped,
)
from reelwright.core.log import RunLog
from reelwright.core.paths import check_writable, write_text_atomic
from reelwright.core.provenance import Provenance
from reelwright.core.run_folder import RunFolder
from reelwright.media.image_ops import write_png
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Preview, Segment
from reelwright.workflows.clips.files import ClipFiles, has_latents, read_latents, save_latents, write_frames
from reelwright.workflows.clips.planning import Plan, PlannedClip, plan_decoding, plan_generation

_ROOM_NEEDED = 64 << 20
"""Free bytes without which a run does not start."""
_COMPUTING = (RuntimeError, MemoryError)
"""What a network that cannot compute raises, for want of memory too."""


def run(family: str, config: GenerateConfig, record: Provenance | None = None) -> Iterator[Event]:
    """Make every clip that the configuration asks for, or decode a saved latent.

    What can be wrong with the configuration, the checkpoint and the inputs is found before a model loads and
    before a folder is made. A run folder of the same recipe is continued: finished clips stay, saved latents
    are decoded. `record` is that of a clip to be made again; it is checked against what is here.
    """
    started = time.perf_counter()
    config = _with_seed(validate(config, "generate"))
    check_writable(config.run or config.out, _ROOM_NEEDED)
    known = families.load(family)
    plan = (
        plan_generation(known, config, record) if config.from_latent is None else plan_decoding(known, config)
    )
    with RunFolder.create(config.out, config.run, family) as folder, RunLog(folder.log_path):
        _store_recipe(folder, family, config)
        yield from _recorded(folder.sink(), _make(plan, folder.path, started))


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """A planned clip and its place in the run."""

    plan: PlannedClip
    files: ClipFiles
    number: int
    total: int

    @property
    def is_finished(self) -> bool:
        wanted = self.files.wanted(self.plan.config)
        return self.has_latents and all(path.exists() for path in wanted.values())

    @property
    def has_latents(self) -> bool:
        return has_latents(self.files, self.plan.record)

    def finished(self) -> ClipFinished:
        files = {kind: str(path) for kind, path in self.files.wanted(self.plan.config).items()}
        return ClipFinished(self.number, self.total, files)


def _make(plan: Plan, folder: Path, started: float) -> Generator[Event]:
    for text in plan.notices:
        yield Notice(text)
    clips = [
        _Clip(plan=clip, files=_files_of(folder, number, clip), number=number, total=len(plan.clips))
        for number, clip in enumerate(plan.clips, start=1)
    ]
    peak = 0
    for event in _make_clips(plan, clips, folder):
        peak = max(peak, event.peak_memory) if isinstance(event, StepDone) else peak
        yield event
    yield Finished(tuple(clip.finished().files for clip in clips), time.perf_counter() - started, peak)


def _make_clips(plan: Plan, clips: Sequence[_Clip], folder: Path) -> Iterator[Event]:
    fresh: list[_Clip] = []
    for clip in clips:
        saved = clip.plan.latents or (clip.files.latent if clip.has_latents else None)
        if clip.is_finished:
            yield clip.finished()
        elif saved is not None:
            segment = plan.family.open_latents(plan.model, read_latents(saved), clip.plan.config)
            yield from _save(clip, segment)
        else:
            fresh.append(clip)
    if not fresh:
        return
    waiting = iter(fresh)
    for made in plan.family.generate(plan.model, [clip.plan.request for clip in fresh]):
        match made:
            case Segment():
                yield from _save(next(waiting), made)
            case Preview():
                path = folder / "preview.png"
                write_png(path, Image.fromarray(made.image_HWC.numpy()))
                yield PreviewSaved(str(path), made.step)
            case _:
                yield made


def _save(clip: _Clip, segment: Segment) -> Iterator[Event]:
    """Latents first: whatever happens while decoding, the work of denoising is kept."""
    files, config, metadata = clip.files, clip.plan.config, clip.plan.metadata
    if segment.flaw:
        save_latents(files.flawed_latent, segment.latents_BCTHW, metadata)
        raise NumericsError(
            f"{segment.flaw} They are kept in {files.flawed_latent}. Try --execution.dtype float32 (or"
            " bfloat16 rather than float16), or a lower --guidance-scale."
        )
    if clip.plan.record and not config.metadata:
        write_text_atomic(files.record, clip.plan.record)
    save_latents(files.latent, segment.latents_BCTHW, metadata)
    yield FileSaved("latent", str(files.latent))
    if config.format != "latent":
        try:
            yield from write_frames(files, config, segment, metadata)
        except _COMPUTING as error:
            error.add_note(f"The latents are kept: decode {files.latent} with --from-latent.")
            raise
    yield clip.finished()


def _files_of(folder: Path, number: int, clip: PlannedClip) -> ClipFiles:
    return ClipFiles(folder=folder, stem=f"clip-{number:03d}_seed-{clip.config.seed}")


def _with_seed(config: GenerateConfig) -> GenerateConfig:
    """Draw the seed that was left open, so that the stored recipe makes the same clips again."""
    return replace(config, seed=secrets.randbelow(2**31)) if config.seed < 0 else config


def _store_recipe(folder: RunFolder, family: str, config: GenerateConfig) -> None:
    """Write recipe.toml; a folder that holds the clips of another recipe is refused."""
    path = folder.path / "recipe.toml"
    identity = {"workflow": "generate", "family": family}
    elsewhere = {"out": config.out, "run": config.run}
    if path.exists() and replace(read_recipe(path, type(config), identity), **elsewhere) != config:
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
    except (UserError, *_COMPUTING) as error:
        keep(Failed(type(error).__name__, str(error)))
        raise
    except (KeyboardInterrupt, GeneratorExit) as interruption:
        keep(Stopped(getattr(interruption, "name", "SIGINT")))
        raise
