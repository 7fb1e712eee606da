"""Make a clip from Python, watching its progress."""

import reelwright
from reelwright.core.events import Event, StepDone


def show(event: Event) -> None:
    if isinstance(event, StepDone) and event.stage == "denoise":
        print(f"step {event.step} of {event.total}, {event.seconds:.2f} s")


clips = reelwright.generate(
    "cogvideox", on_event=show, prompt="a red ball moves left on grass", seed=7, steps=8, num_videos=2
)
for clip in clips:
    print(clip.video, tuple(clip.frames().shape))
