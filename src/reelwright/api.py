"""Reelwright from Python: the same workflows as the command line, returning what they made."""

from collections.abc import Mapping
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

    values = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    config = from_mapping(families.configs(family).GENERATE, values, "generate()")
    last: Event | None = None
    for last in workflow.run(family, config):
        if on_event is not None:
            on_event(last)
    assert isinstance(last, Finished)
    return [Clip({kind: Path(path) for kind, path in files.items()}) for files in last.files]
