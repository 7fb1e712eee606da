"""Make a video of two sections from an image, watching them come, then go on from it."""

import reelwright
from reelwright.core.events import Event, FileSaved

SMALL = {"latent_window_size": 2, "steps": 1, "height": 64, "width": 96}
"""For the built-in model; leave it out with model="base"."""


def show(event: Event) -> None:
    if isinstance(event, FileSaved) and event.kind == "section":
        print(f"section saved: {event.path}")


first, *_ = reelwright.generate(
    "framepack",
    on_event=show,
    prompt="0:a ball lies still;;;-1:the ball rolls away",
    video_sections=2,
    seed=7,
    **SMALL,
)
longer, *_ = reelwright.generate(
    "framepack",
    on_event=show,
    prompt="the ball rolls on",
    extend=first.video,
    video_sections=1,
    seed=8,
    **SMALL,
)
print(longer.video, tuple(longer.frames().shape))
