"""What the nodes do: find a model, make latents, see them. All of it is done by the workflows."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from reelwright import families
from reelwright.checkpoint.latent_files import read_latents, save_latents
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.comfy import host
from reelwright.comfy.memory import empty_caches
from reelwright.comfy.pixels import Frames, to_images
from reelwright.comfy.sessions import SESSIONS
from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.events import Event, Finished, Notice, PreviewSaved, StageStarted, StepDone
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.data.cache_store import content_digest, content_key
from reelwright.execution.devices import choose_device
from reelwright.media.video_reader import stream_video
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Family, Model, Segment, Session
from reelwright.workflows import generate
from reelwright.workflows.adapter_origin import locate
from reelwright.workflows.clips.frames import decode_frames
from reelwright.workflows.clips.making import SECTIONS_FOLDER
from reelwright.workflows.clips.shortcuts import merged

_MADE = "reelwright_made"
"""The attribute of a tensor that tells what it is; whatever changes the tensor makes one without it."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which networks are meant, and how they run: values of the family's configuration."""

    family: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Made:
    """Where latents are kept, and of frames, what was approximated in seeing them."""

    family: str
    latents: Path
    values: Mapping[str, Any]
    """Of the model that made them."""
    fps: float = 0.0
    shortcuts: tuple[str, ...] = ()


def made_of(tensor: Tensor) -> Made | None:
    """What this program knows of a tensor; None for one that it has not made, or that was changed."""
    return getattr(tensor, _MADE, None)


def find_model(choice: ModelChoice) -> None:
    """Check that the files of a model are there and fit together. Raises UserError."""
    config = from_mapping(families.configs(choice.family).GENERATE, choice.values, "model")
    for notice in locate(families.load(choice.family), config).notices:
        host.tell(notice)


def make_latents(choice: ModelChoice, values: Mapping[str, Any]) -> Tensor:
    """Latents of one clip as ComfyUI has them: not scaled, [1, C, T, H, W].

    They are in the run's folder, under a name that follows from all that was asked for: what was stopped goes
    on there, and what is there already is not made again, nor sections that the run before has too. Raises
    UserError.
    """
    with torch.inference_mode(False):
        config = SESSIONS.fit(choice.family, placed(_configuration(choice, values)))
        opened: list[Session] = []

        def open_session(family: Family, model: Model, resolved: GenerateConfig) -> Session:
            opened.append(SESSIONS.open(family, model, resolved))
            return opened[0]

        earlier = _latest_run(choice.family)
        events = generate.run(
            choice.family, config, replaces=True, earlier=earlier, open_session=open_session
        )
        last = watched(events)
        assert isinstance(last, Finished)
        path = Path(last.files[0]["latent"])
        made = Made(family=choice.family, latents=path, values=choice.values)
        return _marked(read_latents(path) / opened[0].latent_scale, made)


def see_latents(choice: ModelChoice, samples: Tensor) -> Tensor:
    """The frames of latents as ComfyUI's IMAGE. Raises UserError."""
    with torch.inference_mode(False):
        config = placed(_seeing(choice, made_of(samples)))
        known = families.load(choice.family)
        session = SESSIONS.open_to_decode(known, locate(known, config), config)
        path = _kept_latents(samples, session.latent_scale)
        segment = session.open_latents(read_latents(path), config)
        chunks: list[Tensor] = []
        watched(decode_frames(segment, chunks, config.execution.device))
        return _marked(to_images(chunks), _made_of_segment(choice, path, segment))


def placed(config: GenerateConfig) -> GenerateConfig:
    """On the processor where ComfyUI was told to stay there, though there is a GPU; else as it says."""
    execution = config.execution
    if execution.device != "auto" or host.device_type() != "cpu" or choose_device("auto").type == "cpu":
        return config
    return replace(config, execution=replace(execution, device="cpu"))


def _made_of_segment(choice: ModelChoice, path: Path, segment: Segment) -> Made:
    record = recorded(path)
    shortcuts = merged(() if record is None else record.shortcuts, segment.unasked())
    return Made(
        family=choice.family, latents=path, values=choice.values, fps=segment.fps, shortcuts=shortcuts
    )


def recorded(latents: Path) -> Provenance | None:
    """How latents were made, as their file says; None where it says nothing."""
    text = read_safetensors_metadata(latents).get(METADATA_KEY)
    return Provenance.from_json(text, str(latents)) if text else None


def _configuration(choice: ModelChoice, values: Mapping[str, Any]) -> GenerateConfig:
    """All that is asked for, with clips in files and a folder of the run's own."""
    asked = {**choice.values, **values, "format": "latent"}
    if clips := {name: each for name, each in asked.items() if isinstance(each, Frames)}:
        fps = float(asked.get("fps") or _own_rate(choice))
        asked |= {name: str(clip.keep(fps)) for name, clip in clips.items()}
    config = from_mapping(families.configs(choice.family).GENERATE, asked, "node")
    key = content_key(config={**to_mapping(config), "run": "", "preview_every": 0})
    folder = host.output_folder() / "runs" / f"{choice.family}-{key[:16]}"
    return from_mapping(type(config), {"run": str(folder)}, "node", config)


def _latest_run(family: str) -> Path | None:
    """The run with sections that was made last: in it are those that a changed storyboard still has."""
    runs = (host.output_folder() / "runs").glob(f"{family}-*/{SECTIONS_FOLDER}")
    latest = max(runs, key=lambda folder: folder.stat().st_mtime, default=None)
    return None if latest is None else latest.parent


def _own_rate(choice: ModelChoice) -> float:
    config = from_mapping(families.configs(choice.family).GENERATE, choice.values, "model")
    return locate(families.load(choice.family), config).fps


def _seeing(choice: ModelChoice, made: Made | None) -> GenerateConfig:
    """As latents were made, with the model at hand; other latents are seen with what is usual."""
    schema = families.configs(choice.family).GENERATE
    record = None if made is None else recorded(made.latents)
    if made is None or record is None:
        return from_mapping(schema, choice.values, "model")
    execution = choice.values.get("execution", {})
    if made.values == choice.values:
        return from_mapping(schema, {**choice.values, **record.config, "execution": execution}, "latents")
    known = {name: value for name, value in record.config.items() if name not in made.values}
    return from_mapping(schema, {**known, **choice.values, "execution": execution}, "latents")


def _kept_latents(samples: Tensor, scale: float) -> Path:
    """The file of latents: that of the run, or a new one for latents from elsewhere."""
    made = made_of(samples)
    if made is not None:
        return made.latents
    scaled = (samples.detach().cpu().float() * scale).contiguous()
    folder = host.output_folder() / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{content_digest({'': scaled})[:24]}.latent.safetensors"
    if not path.is_file():
        save_latents(path, scaled, {})
    return path


def _marked(tensor: Tensor, made: Made) -> Tensor:
    setattr(tensor, _MADE, made)
    return tensor


def watched(events: Iterator[Event]) -> Event | None:
    """Run to the end, with progress and previews; closed at once where the user cancels."""
    progress, last = host.Progress(), None
    with closing(events) as running:  # pyright: ignore[reportArgumentType] - workflows are generators
        try:
            for last in running:
                _show(last, progress)
                host.check_interrupted()
        except BaseException:
            running.close()
            empty_caches()
            raise
    return last


def _show(event: Event, progress: host.Progress) -> None:
    match event:
        case StageStarted(total=total):
            progress.start(total)
        case StepDone(step=step):
            progress.show(step)
        case PreviewSaved(path=path):
            progress.show(0, _picture(Path(path)))
        case Notice(message=message):
            host.tell(message)
        case _:
            pass


def _picture(path: Path) -> Image.Image:
    """A rough picture of a clip: the picture itself, or the first frame of a video."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.convert("RGB")
    (frame,) = stream_video(path, max_frames=1)
    return Image.fromarray(frame.numpy())
