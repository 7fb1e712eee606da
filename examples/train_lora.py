"""Train a LoRA on drawn clips, watching the loss, and make a clip with it."""

import reelwright
from reelwright.cli.main import main
from reelwright.core.events import Event, StepDone


def show(event: Event) -> None:
    if isinstance(event, StepDone) and event.stage == "train":
        print(f"step {event.step} of {event.total}, {event.seconds:.2f} s")


# Clips of your own: a folder of them, each with a .txt beside it.
for command in (
    "dataset synth drawn --count 4 --width 64 --height 64 --num-frames 9 --seed 3",
    "cache latents cogvideox --dataset drawn/dataset.toml",
    "cache text cogvideox --dataset drawn/dataset.toml",
):
    assert main(command.split()) == 0

trained = reelwright.train(
    "cogvideox",
    on_event=show,
    dataset="drawn/dataset.toml",
    name="drawn",
    steps=8,  # of your own clips: 1000 and more
    adapter={"rank": 8},
    optimizer={"learning_rate": 1e-3},
)
print(trained.run, trained.weights)
(clip,) = reelwright.generate(
    "cogvideox", lora=[trained.weights], prompt="a red ball rolls", steps=2, num_frames=9
)
print(clip.video)
