"""Reelwright from Python: the same workflows as the command line, returning what they made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelwright import families
from reelwright.core.config import from_mapping
from reelwright.core.events import Event, EventSink, Finished

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """The files of one clip, by kind: video, frames, latent, contact_sheet."""

    files: Mapping[str, Path]

    @property
    def video(self) -> Path:
        return self.files["video"]

    @property
    def latent(self) -> Path:
        return self.files["latent"]

    def frames(self) -> "Tensor":
        """The pictures of the mp4, uint8 [F, H, W, 3]."""
        from reelwright.media.video_reader import read_video  # noqa: PLC0415 - torch only where it is needed

        return read_video(self.video)


def generate(family: str, on_event: EventSink | None = None, **fields: Any) -> list[Clip]:  # noqa: ANN401
    """Make video; `fields` are those of the family's configuration, as on the command line.

    Events go to `on_event`. Raises UserError, whose message says what to do.
    """
    from reelwright.workflows import generate as workflow  # noqa: PLC0415 - torch only where it is needed

    config = from_mapping(families.configs(family).GENERATE, _without_paths(fields), "generate()")
    finished = _to_the_end(workflow.run(family, config), on_event)
    return [Clip({kind: Path(path) for kind, path in files.items()}) for files in finished.files]


@dataclass(frozen=True)
class Trained:
    """What a training left."""

    run: Path
    """Its folder: recipe, metrics, states to go on from, samples."""
    weights: Path
    """An adapter, for `lora` of `generate`; or the folder of a whole denoiser, for `dit`."""


def train(family: str, on_event: EventSink | None = None, **fields: Any) -> Trained:  # noqa: ANN401
    """Fine-tune on cached clips; `fields` are those of the family's configuration, groups as dictionaries.

    With `run` a folder in which a training was stopped, goes on with it. Events go to `on_event`. Raises
    UserError, whose message says what to do.
    """
    from reelwright.workflows import train as workflow  # noqa: PLC0415 - torch only where it is needed

    config = from_mapping(families.configs(family).TRAIN, _without_paths(fields), "train()")
    finished = _to_the_end(workflow.run(family, config), on_event)
    run = Path(finished.files[0]["run"])
    place = (config.saving.folder or run) / config.name
    file = place.with_name(f"{place.name}.safetensors")
    return Trained(run, file if file.exists() else place)


def _without_paths(value: Any) -> Any:  # noqa: ANN401
    """Nested values as a recipe says them, in which paths are text."""
    if isinstance(value, Mapping):
        return {name: _without_paths(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _to_the_end(events: Iterator[Event], on_event: EventSink | None) -> Finished:
    last: Event | None = None
    for last in events:
        if on_event is not None:
            on_event(last)
    assert isinstance(last, Finished)
    return last
