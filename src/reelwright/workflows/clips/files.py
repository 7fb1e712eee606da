"""The files of one clip: latents first, then what people look at, each with the record of how it was made."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from reelwright.checkpoint.latent_files import SUFFIX
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.events import Event, FileSaved, StageStarted, StepDone
from reelwright.core.provenance import METADATA_KEY, tells_of_same_work
from reelwright.execution.devices import choose_device, peak_memory
from reelwright.media.contact_sheet import ContactSheet
from reelwright.media.image_ops import write_png
from reelwright.media.png_sequence import stream_to_png_sequence
from reelwright.media.video_writer import stream_to_mp4
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Segment

_CLIP_FORMATS = ("mp4", "both")


@dataclass(frozen=True, kw_only=True)
class ClipFiles:
    """Where a clip's files go."""

    folder: Path
    stem: str

    @property
    def latent(self) -> Path:
        return self.folder / f"{self.stem}{SUFFIX}"

    @property
    def flawed_latent(self) -> Path:
        return self.folder / f"{self.stem}.flawed.safetensors"

    @property
    def record(self) -> Path:
        """How the clip is made, beside files that shall not say so themselves."""
        return self.folder / f"{self.stem}.record.json"

    @property
    def contact_sheet(self) -> Path:
        return self.folder / f"{self.stem}.sheet.png"

    def wanted(self, config: GenerateConfig) -> dict[str, Path]:
        """What a configuration asks for, by kind."""
        files = {"latent": self.latent}
        if config.format == "latent":
            return files
        if config.format in _CLIP_FORMATS:
            files["video"] = self.folder / f"{self.stem}.mp4"
        else:
            files["frames"] = self.folder / self.stem
        if config.contact_sheet:
            files["contact_sheet"] = self.contact_sheet
        return files

    def remove(self, config: GenerateConfig) -> None:
        """Remove the files of another version of the clip: no stop shall leave them beside new latents."""
        for path in self.wanted(config).values():
            with suppress(FileNotFoundError, NotADirectoryError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def has_latents(files: ClipFiles, record: str) -> bool:
    """Whether the very latents that `record` describes are on disk already."""
    if not record or not files.latent.is_file():
        return False
    inside = read_safetensors_metadata(files.latent).get(METADATA_KEY)
    beside = files.record.read_text(encoding="utf-8") if files.record.is_file() else None
    return any(tells_of_same_work(record, found) for found in (inside, beside))


def write_frames(
    files: ClipFiles, config: GenerateConfig, segment: Segment, metadata: Mapping[str, str]
) -> Iterator[Event]:
    """Decode a segment straight into the files that the configuration asks for."""
    wanted = files.wanted(config)
    sheet = ContactSheet(segment.num_frames, fps=segment.fps)
    frames = _shown_to(sheet, segment.decode())
    if config.format in _CLIP_FORMATS:
        kind, written = (
            "video",
            stream_to_mp4(wanted["video"], frames, fps=segment.fps, crf=config.crf, metadata=metadata),
        )
    else:
        kind, written = "frames", stream_to_png_sequence(wanted["frames"], frames, metadata)
    yield StageStarted("decode", segment.num_frames)
    device = choose_device(config.execution.device)
    before = time.perf_counter()
    for num_frames in written:
        seconds, before = time.perf_counter() - before, time.perf_counter()
        yield StepDone("decode", num_frames, segment.num_frames, seconds, peak_memory(device))
    yield FileSaved(kind, str(wanted[kind]))
    if "contact_sheet" in wanted:
        write_png(wanted["contact_sheet"], sheet.image(), metadata)
        yield FileSaved("contact_sheet", str(wanted["contact_sheet"]))


def _shown_to(sheet: ContactSheet, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    for chunk in chunks:
        sheet.add(chunk)
        yield chunk
