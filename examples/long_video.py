"""From words to a long video: CogVideoX makes the first picture, FramePack goes on from it, twice."""

from PIL import Image

import reelwright
from reelwright.core.events import Event, FileSaved

FEW_STEPS = 4
"""For the eye that cannot wait; 20 and more make what the models can make."""
PROMPT = "a red ball moves right on sand"


def show(event: Event) -> None:
    if isinstance(event, FileSaved) and event.kind == "section":
        print(f"section saved: {event.path}")


short, *_ = reelwright.generate("cogvideox", prompt=PROMPT, guidance_scale=3.0, steps=FEW_STEPS, seed=7)
Image.fromarray(short.frames()[0].numpy()).save("first.png")
first, *_ = reelwright.generate(
    "framepack", on_event=show, prompt=PROMPT, image="first.png", video_sections=2, steps=FEW_STEPS, seed=7
)
longer, *_ = reelwright.generate(
    "framepack", prompt=PROMPT, extend=first.video, video_sections=1, steps=FEW_STEPS, seed=8
)
print(longer.video, tuple(longer.frames().shape))
