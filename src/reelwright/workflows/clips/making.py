"""The clips of a plan made one after another: what is there stays, what fails does not stop the others."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image
from torch import Tensor

from reelwright.checkpoint.latent_files import read_latents, save_latents
from reelwright.core.errors import FileError, MemoryLimitError, NumericsError
from reelwright.core.events import ClipFailed, ClipFinished, Event, FileSaved, Notice, PreviewSaved
from reelwright.core.paths import write_text_atomic
from reelwright.core.provenance import METADATA_KEY
from reelwright.media.image_ops import write_png
from reelwright.media.video_joiner import join_mp4
from reelwright.media.video_reader import probe_video
from reelwright.media.video_writer import write_mp4
from reelwright.protocols.family import Made, Preview, Section, Segment, Session
from reelwright.workflows.clips.files import ClipFiles, has_latents, write_frames
from reelwright.workflows.clips.memory import how_to_decode, until_it_fits
from reelwright.workflows.clips.planning import PlannedClip
from reelwright.workflows.clips.sections import SectionShelf
from reelwright.workflows.clips.shortcuts import (
    merged,
    shortcuts_of_latents,
    shortcuts_of_making,
    shortcuts_of_seeing,
)

SECTIONS_FOLDER = "sections"
"""Within a run: a folder for each clip whose sections are kept."""
PREVIEW = "preview.mp4"
"""Beside it: the sections of the clip at hand that are there so far."""
COMPUTING = (RuntimeError, MemoryError)
"""What a network that cannot compute raises, for want of memory too."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A planned clip and its place in the run."""

    plan: PlannedClip
    folder: Path
    number: int
    total: int
    """How many the run has; 0 if nobody knows yet."""

    @property
    def files(self) -> ClipFiles:
        return ClipFiles(folder=self.folder, stem=f"clip-{self.number:03d}_seed-{self.plan.config.seed}")

    @property
    def sections_folder(self) -> Path:
        return self.folder / SECTIONS_FOLDER / f"clip-{self.number:03d}"

    @property
    def is_finished(self) -> bool:
        wanted = self.files.wanted(self.plan.config)
        return self.has_latents and all(path.exists() for path in wanted.values())

    @property
    def has_latents(self) -> bool:
        return has_latents(self.files, self.plan.record)

    def finished(self, shortcuts: Sequence[str]) -> ClipFinished:
        """Tell of it. `shortcuts`: what was not exact in making its latents."""
        config = self.plan.config
        files = {kind: str(path) for kind, path in self.files.wanted(config).items()}
        return ClipFinished(self.number, self.total, files, merged(shortcuts, [*shortcuts_of_seeing(config)]))


def make_clips(session: Session, clips: Sequence[Clip], earlier: Path | None = None) -> Iterator[Event]:
    """Make every clip that is not there yet; a ClipFinished for each that is whole.

    earlier: the folder of a run whose sections serve too, where they are the very ones.

    In a run of several clips, one that cannot be computed gives a ClipFailed and the others are made. What
    the disk refuses ends the run at once.
    """
    waiting: deque[Clip] = deque()
    for clip in clips:
        saved = clip.plan.latents or (clip.files.latent if clip.has_latents else None)
        if clip.is_finished:
            yield clip.finished(shortcuts_of_latents(clip.files.latent, clip.files.record))
        elif saved is not None:
            segment = session.open_latents(read_latents(saved), clip.plan.config)
            known = shortcuts_of_latents(saved, clip.files.record)
            yield from _save(clip, replace(segment, shortcuts=known))
        else:
            waiting.append(clip)
    while waiting:
        try:
            yield from _make_in_turn(session, waiting, earlier)
        except (NumericsError, MemoryLimitError, *COMPUTING) as error:
            if clips[0].total == 1:
                raise
            clip = waiting.popleft()
            yield ClipFailed(
                clip.number, clip.total, " ".join([str(error), *getattr(error, "__notes__", [])])
            )


def _make_in_turn(session: Session, waiting: deque[Clip], earlier: Path | None) -> Iterator[Event]:
    """Make the clips that wait; each leaves the queue when it is saved."""
    others = [] if earlier is None else sorted(earlier.glob(f"{SECTIONS_FOLDER}/*/"))
    maker = _SectionKeeper([clip.sections_folder for clip in waiting], others)
    for notice in maker.notices:
        yield Notice(notice)
    try:
        for made in session.generate([clip.plan.request for clip in waiting], maker.find):
            match made:
                case Segment():
                    yield from _save(waiting[0], _with_shortcuts(made, waiting[0], maker))
                    waiting.popleft()
                case Section():
                    yield from maker.keep(waiting[0], made)
                case _:
                    yield from _show(waiting[0], made)
    except COMPUTING as error:
        if waiting[0].sections_folder.is_dir():
            error.add_note(f"Finished sections are kept: go on with reelwright resume {waiting[0].folder}.")
        raise


def _with_shortcuts(made: Segment, clip: Clip, maker: "_SectionKeeper") -> Segment:
    """All that was not exact in making these latents, section by section too."""
    told = shortcuts_of_making(clip.plan.config)
    return replace(made, shortcuts=merged(tuple(told), maker.shortcuts_of(clip), made.shortcuts))


def _show(clip: Clip, made: Made) -> Iterator[Event]:
    if isinstance(made, Preview):
        path = clip.folder / "preview.png"
        write_png(path, Image.fromarray(made.image_HWC.numpy()))
        yield PreviewSaved(str(path), made.step)
    elif not isinstance(made, Section | Segment):
        yield made


class _SectionKeeper:
    """Keeps sections as they come, and lets a preview of the clip grow by each."""

    def __init__(self, folders: Sequence[Path], others: Sequence[Path] = ()) -> None:
        """`others`: folders in which sections are looked for too; none is put there."""
        self._shelves = {folder: SectionShelf(folder) for folder in (*folders, *others)}
        self._previews: dict[Path, dict[int, Path]] = {folder: {} for folder in folders}
        self._found: dict[str, tuple[str, ...]] = {}
        self._taken: dict[Path, tuple[str, ...]] = dict.fromkeys(folders, ())

    @property
    def notices(self) -> list[str]:
        return [notice for shelf in self._shelves.values() for notice in shelf.notices]

    def find(self, key: str) -> Tensor | None:
        for shelf in self._shelves.values():
            if (found := shelf.find(key)) is not None:
                self._found[key] = shelf.shortcuts_of(key)
                return found
        return None

    def shortcuts_of(self, clip: Clip) -> tuple[str, ...]:
        """What was left out or rounded in the sections of a clip, in the order they were made."""
        return self._taken[clip.sections_folder]

    def keep(self, clip: Clip, section: Section) -> Iterator[Event]:
        folder = clip.sections_folder
        section = replace(section, shortcuts=self._found.get(section.key, section.shortcuts))
        self._taken[folder] = merged(self._taken[folder], section.shortcuts)
        path = self._shelves[folder].keep(section)
        yield FileSaved("section", str(path))
        if section.decode is None:
            return
        part = path.with_suffix(".mp4")
        if not _is_clip(part):
            yield from until_it_fits(partial(_write_preview, part, section), section.lessen)
        parts = self._previews[folder]
        parts[section.index] = part
        preview = clip.folder / PREVIEW
        join_mp4(preview, [parts[index] for index in sorted(parts)])
        yield PreviewSaved(str(preview), len(parts))


def _write_preview(path: Path, section: Section) -> Iterator[Event]:
    assert section.decode is not None
    write_mp4(path, section.decode(), fps=section.fps)
    yield from ()


def _is_clip(path: Path) -> bool:
    try:
        probe_video(path)
    except FileError:
        return False
    return True


def _save(clip: Clip, segment: Segment) -> Iterator[Event]:
    """Latents first: whatever happens while decoding, the work of denoising is kept."""
    files, config = clip.files, clip.plan.config
    record = clip.plan.told(segment.shortcuts)
    latent_metadata = {**segment.metadata, **_metadata(record)} if config.metadata else {}
    if segment.flaw:
        save_latents(files.flawed_latent, segment.latents_BCTHW, latent_metadata)
        raise NumericsError(
            f"{segment.flaw} They are kept in {files.flawed_latent}. Try --execution.dtype float32 (or"
            " bfloat16 rather than float16), or a lower --guidance-scale."
        )
    if clip.plan.latents is None and not clip.has_latents:
        files.remove(config)
    if record and not config.metadata:
        write_text_atomic(files.record, record)
    save_latents(files.latent, segment.latents_BCTHW, latent_metadata)
    yield FileSaved("latent", str(files.latent))
    if config.format != "latent":
        try:
            yield from until_it_fits(partial(_decode, clip, segment), segment.lessen)
        except (MemoryLimitError, *COMPUTING) as error:
            error.add_note(how_to_decode(clip.plan.family, files.latent, config))
            raise
    yield clip.finished(merged(segment.shortcuts, segment.unasked()))


def _decode(clip: Clip, segment: Segment) -> Iterator[Event]:
    config = clip.plan.config
    taken = merged(segment.shortcuts, [*shortcuts_of_seeing(config)], segment.unasked())
    told = clip.plan.told(taken)
    return write_frames(clip.files, config, segment, _metadata(told) if config.metadata else {})


def _metadata(record: str) -> dict[str, str]:
    return {METADATA_KEY: record} if record else {}
