"""Look at exactly what will be trained on: after resampling, cutting, resizing and cropping."""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from PIL import Image

from reelwright.core.config import validate
from reelwright.core.errors import UserError
from reelwright.core.events import (
    ClipFailed,
    ConsoleText,
    Event,
    FileSaved,
    Finished,
    Notice,
    StageStarted,
    StepDone,
)
from reelwright.core.locations import name_of
from reelwright.core.paths import check_writable
from reelwright.data.clips import read_clip
from reelwright.data.local_media import local_media
from reelwright.media.console_picture import console_picture, parse_color
from reelwright.media.contact_sheet import Cell, ContactSheet, draw_sheet, evenly_spaced, thumbnail
from reelwright.media.frame_chunks import Pixels, each_frame
from reelwright.media.image_ops import fit_image, open_image, write_png
from reelwright.media.sheet_page import Row, draw_page
from reelwright.media.video_writer import write_mp4
from reelwright.protocols.cache_configs import ClipsConfig
from reelwright.protocols.clips import Clip
from reelwright.protocols.preview_config import PreviewConfig, PreviewView
from reelwright.workflows.caching.cutting import clips_of
from reelwright.workflows.caching.datasets import check_datasets, latents_of_clips, open_datasets

_STAGE = "preview"
_FRAMES_ON_SHEETS, _FRAMES_IN_TERMINALS = 8, 1
_PAGE = re.compile(r"page_\d{3,}\.png")


def run(family: str, preview: PreviewConfig, clips: ClipsConfig) -> Iterator[Event]:
    """Show the clips of all data sets of a file as `cache latents` with the same settings cuts them.

    What cannot be used is listed; the others are shown. Raises UserError at the end if there was any.
    """
    started = time.perf_counter()
    preview = validate(preview, "dataset preview")
    latents = latents_of_clips(family, clips)
    datasets = open_datasets(clips.dataset).datasets
    check_datasets(latents, datasets)
    if preview.view != "console":
        check_writable(preview.out)
    view: _View = _VIEWS[preview.view](preview)
    failures: list[str] = []
    num_shown = 0
    yield StageStarted(_STAGE)
    for _, clip in clips_of(datasets, latents):
        if preview.num_clips and num_shown == preview.num_clips:
            yield Notice("there are more clips; --num-clips 0 shows all.")
            break
        try:
            yield from view.show(_unless_refused(clip))
            num_shown += 1
            yield StepDone(_STAGE, num_shown, 0, 0.0)
        except UserError as error:
            failures.append(str(error))
            yield ClipFailed(num_shown + len(failures), 0, str(error))
    yield from view.finish()
    files = ({"preview": str(preview.out)},) if view.has_files and num_shown else ()
    yield Finished(files, time.perf_counter() - started)
    if failures:
        raise UserError("\n".join(failures))


def _unless_refused(clip: Clip | UserError) -> Clip:
    if isinstance(clip, UserError):
        raise clip
    return clip


class _View(Protocol):
    """One of the ways to show clips, one after the other."""

    has_files: bool

    def show(self, clip: Clip, /) -> Iterator[Event]:
        """Raises UserError for a clip that cannot be read."""
        ...

    def finish(self) -> Iterator[Event]: ...


class _Sheets:
    """Pages, each with the contact sheets of some clips."""

    has_files = True

    def __init__(self, preview: PreviewConfig) -> None:
        self._preview = preview
        self._rows: list[Row] = []
        self._num_pages = 0

    def show(self, clip: Clip) -> Iterator[Event]:
        is_picture = clip.source.kind == "image"
        picture = self._with_controls(clip) if is_picture else self._frames(clip)
        self._rows.append(Row(picture=picture, lines=_words(clip)))
        if len(self._rows) == self._preview.rows:
            yield from self._write_page()

    def finish(self) -> Iterator[Event]:
        if self._rows:
            yield from self._write_page()
        # Pages of an earlier, longer preview are not of what will be trained on now.
        for path in self._preview.out.glob("page_*.png"):
            if _PAGE.fullmatch(path.name) and int(path.stem[5:]) >= self._num_pages:
                path.unlink()

    def _write_page(self) -> Iterator[Event]:
        path = self._preview.out / f"page_{self._num_pages:03d}.png"
        write_png(path, draw_page(self._rows))
        self._rows, self._num_pages = [], self._num_pages + 1
        yield FileSaved("contact_sheet", str(path))

    def _frames(self, clip: Clip) -> Image.Image:
        columns = self._preview.frames or _FRAMES_ON_SHEETS
        width = self._preview.thumbnail_width
        sheet = ContactSheet(clip.num_frames, fps=clip.fps, columns=columns, rows=1, thumbnail_width=width)
        for chunk in read_clip(clip):
            sheet.add(chunk)
        return sheet.image()

    def _with_controls(self, clip: Clip) -> Image.Image:
        pictures = {f"control {number}": each for number, each in enumerate(_controls(clip), start=1)}
        (target,) = each_frame(read_clip(clip))
        pictures["target"] = Image.fromarray(target)
        width = self._preview.thumbnail_width
        cells = [Cell(picture=thumbnail(each, width), left=name) for name, each in pictures.items()]
        return draw_sheet(cells, self._preview.frames or _FRAMES_ON_SHEETS)


class _Files:
    """A clip or picture of its own for each, numbered in the order of the data sets."""

    has_files = True

    def __init__(self, preview: PreviewConfig) -> None:
        self._out = preview.out
        self._number = 0

    def show(self, clip: Clip) -> Iterator[Event]:
        stem = self._out / f"{self._number:05d}_{clip.source.stem}"
        self._number += 1
        if clip.source.kind == "image":
            path = stem.with_name(f"{stem.name}.png")
            (picture,) = each_frame(read_clip(clip))
            write_png(path, Image.fromarray(picture))
        else:
            path = stem.with_name(f"{stem.name}.mp4")
            write_mp4(path, read_clip(clip), fps=clip.fps)
        yield FileSaved("image" if clip.source.kind == "image" else "video", str(path))

    def finish(self) -> Iterator[Event]:
        yield from ()


class _Terminal:
    """Frames as text."""

    has_files = False

    def __init__(self, preview: PreviewConfig) -> None:
        parse_color(preview.console_back)
        self._preview = preview

    def show(self, clip: Clip) -> Iterator[Event]:
        frames = list(_some_frames(clip, self._preview.frames or _FRAMES_IN_TERMINALS))
        preview = self._preview
        yield ConsoleText(
            console_picture(frames, _words(clip), width=preview.console_width, back=preview.console_back)
        )

    def finish(self) -> Iterator[Event]:
        yield from ()


_VIEWS: Mapping[PreviewView, type[_Sheets] | type[_Files] | type[_Terminal]] = {
    "sheet": _Sheets,
    "video": _Files,
    "console": _Terminal,
}


def _some_frames(clip: Clip, most: int) -> Iterator[Pixels]:
    wanted = set(evenly_spaced(clip.num_frames, most))
    return (np.array(frame) for number, frame in enumerate(each_frame(read_clip(clip))) if number in wanted)


def _controls(clip: Clip) -> Iterator[Image.Image]:
    """As they lie under the target: of its size."""
    for location in clip.source.controls:
        with local_media(location) as path:
            yield fit_image(open_image(path).rgb, *clip.size, "crop")


def _words(clip: Clip) -> list[str]:
    """File, place in it, size, and caption."""
    facts = [name_of(clip.source.media)]
    if clip.source.kind == "video":
        last = clip.start + clip.num_frames - 1
        facts.append(
            f"frames {clip.start} to {last} at {clip.fps:g} fps ({clip.num_frames / clip.fps:.2f} s)"
        )
    facts.append(f"{clip.size[0]} x {clip.size[1]} of {clip.facts.size[0]} x {clip.facts.size[1]}")
    caption = clip.source.caption
    missing = f"(no caption; it is looked for in {clip.source.caption_origin})"
    return [" · ".join(facts), missing if caption is None else caption]
