"""What `dataset synth` may be told. No torch here."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from reelwright.data.synthetic.scene import SceneOptions


@dataclass(frozen=True, kw_only=True)
class SynthConfig(SceneOptions):
    """Draw clips by rule, with captions and the truth about every frame."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["video", "image", "pair"] = "video"
    """Clips; or their first frames; or pairs: the first frame to control with, the last one to train on."""
    count: Annotated[int, Ge(1), Le(100_000)] = 16
    """How many."""
    start: Annotated[int, Ge(0)] = 0
    """Number of the first one: clip 17 of a seed is the same, however many are made."""
    seed: Annotated[int, Ge(0)] = 0
    """Which of the endless rows of scenes."""
    width: Annotated[int, Ge(16), Le(4096)] = 256
    """Pixels; even for clips."""
    height: Annotated[int, Ge(16), Le(4096)] = 256
    """Pixels; even for clips."""
    fps: Annotated[float, Gt(0.0), Le(1000.0)] = 30.0
    """Frames per second. Another rate shows the same motion."""
    num_frames: Annotated[int, Ge(1), Le(1_000_000)] = 37
    """Frames of a clip; of a pair, the last one is its target."""
    detail: Literal["short", "medium", "long", "mixed"] = "mixed"
    """How much captions tell; mixed takes each kind in turn."""
    truth: bool = True
    """Write truth/NAME.json: where everything is in each frame."""
    crf: Annotated[int, Ge(0), Le(51)] = 10
    """Quality of clips: 0 lossless, 51 worst."""
