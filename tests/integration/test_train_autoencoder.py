"""Autoencoders from the command line: what they learn, what a killed run comes to, and who reads them."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from reelwright import families
from reelwright.cli.main import main
from reelwright.core.config import from_mapping
from reelwright.core.events import Event, StepDone
from reelwright.media.video_reader import stream_video
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.workflows import train
from reelwright.workflows.autoencoder_training.network import as_values

from .training_data import RATES, draw_clips, lines_of, losses_of, weights_of

FAMILIES = ("cogvideox", "framepack")
CLASSES = {"cogvideox": "AutoencoderKLCogVideoX", "framepack": "AutoencoderKLHunyuanVideo"}
SMALL = {
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 16,
}
FILE = "diffusion_pytorch_model.safetensors"
GOLDEN = Path(__file__).with_suffix(".json")
"""To write it anew: REELWRIGHT_GOLDEN=write; say in the commit which losses changed, by how much and why."""
CLOSE = 2e-4
"""Relative: processors add in other orders, and twenty steps of training let such differences grow."""
STAGES = [
    {"steps": 3, "frames": 1, "width": 32, "height": 32, "batch_size": 2},
    {"frames": 5, "width": 16, "height": 16, "batch_size": 1},
]


class Killed(Exception):  # noqa: N818 - what the operating system does, not an error
    """Stands for the end of the process: no one catches it."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> a folder with clips of nine frames."""
    found: dict[str, Path] = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family) / "clips"
        draw_clips(folder, 9, fps=RATES[family])
        found[family] = folder
    return found


def begin(family: str, clips: Path, run: Path, **more: Any) -> Iterator[Event]:
    """A run, or the rest of one: the events as they come."""
    mapping = {
        "dataset": str(clips),
        "run": str(run),
        "init": "random",
        "sizes": SMALL,
        "steps": 6,
        "seed": 5,
        "stages": STAGES,
        "optimizer": {"learning_rate": 5e-3},
        **more,
    }
    return train.run(family, from_mapping(AutoencoderTrainConfig, mapping, "test"))


@pytest.fixture
def start(clips: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """Begin a run in a folder of that name, or go on with one."""
    return lambda family, run, **more: begin(family, clips[family], tmp_path / run, **more)


@pytest.fixture(scope="module")
def judged(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> a run of twenty steps whose clips were judged before and after."""
    found: dict[str, Path] = {}
    for family in FAMILIES:
        run = tmp_path_factory.mktemp(family) / "run"
        validation = {"dataset": str(clips[family]), "num_clips": 4, "every_steps": 20}
        list(
            begin(
                family,
                clips[family],
                run,
                steps=20,
                stages=[{**STAGES[1], "batch_size": 4}],
                # On even ground a group of few channels has no variance: its norm would multiply rounding.
                sizes=SMALL | {"norm_num_groups": 1},
                # A large epsilon: where gradients are near zero, AdamW would make steps of their rounding.
                optimizer={"learning_rate": 2e-3, "arguments": ["eps=1e-4"]},
                validation=validation,
            )
        )
        found[family] = run
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_killed_after_a_stage_border_with_a_state_from_before_it_ends_as_one_that_is_not(
    family, start, tmp_path
):
    more = {
        "saving": {"state_every_steps": 2},
        "ema": {"decay": 0.9},
        "image_share": 0.3,
        # It begins before the state from which the killed run goes on, so its weights must be in there.
        "discriminator": {"weight": 0.5, "start": 1, "channels": 4},
    }
    list(start(family, "whole", **more))
    events = start(family, "killed", **more)
    for event in events:
        if isinstance(event, StepDone) and event.stage == "train" and event.step == 5:
            break
    with pytest.raises(Killed):
        events.throw(Killed())
    for place in (tmp_path / "killed" / "states").iterdir():
        if place.name != "step-00000002":  # what nobody had the time to write
            rmtree(place)
    assert main(["resume", str(tmp_path / "killed"), "--quiet"]) == 0
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert len(losses_of(tmp_path / "whole")) == 6
    steps = [line for line in lines_of(tmp_path / "whole") if "loss" in line]
    assert steps[-1]["discriminator_gradient_norm"] > 0, "it has a limit of its own"
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole")
    assert set(weights_of(tmp_path / "whole")) == {
        f"{name}/diffusion_pytorch_model.safetensors" for name in ("trained", "trained-ema")
    }
    scales = [
        json.loads((tmp_path / run / "trained-ema" / "config.json").read_text())
        for run in ("whole", "killed")
    ]
    assert scales[0] == scales[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_is_read_by_diffusers_and_gives_the_same_clips(family, start, clips, tmp_path):
    list(start(family, "run", steps=2))
    folder = tmp_path / "run" / "trained"
    theirs = getattr(diffusers, CLASSES[family]).from_pretrained(folder)
    ours = (
        families.load(family)
        .autoencoder_training.locate(AutoencoderTrainConfig(model="tiny", vae=folder))
        .load(torch.device("cpu"))
    )
    values = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = theirs.encode(values).latent_dist.mean
        assert (ours.encode(values).mean - latents).abs().max() < 1e-5
        assert (ours.decode(latents) - theirs.decode(latents).sample).abs().max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_scale_of_latents_is_measured(family, start, clips, tmp_path):
    list(start(family, "run", steps=1, validation={"dataset": str(clips[family]), "num_clips": 2}))
    folder = tmp_path / "run" / "trained"
    theirs = getattr(diffusers, CLASSES[family]).from_pretrained(folder)
    latents: list[torch.Tensor] = []
    for clip in sorted(clips[family].glob("*.mp4"))[:2]:
        frames = stream_video(clip, fps=RATES[family], max_frames=5, size=(16, 16))
        with torch.no_grad():
            latents.append(theirs.encode(as_values(torch.stack(list(frames))[None])).latent_dist.mean)
    assert theirs.config.scaling_factor == pytest.approx(
        1 / float(torch.cat(latents).std(correction=0)), rel=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decoder_that_learns_alone_leaves_the_encoder_and_the_scale_as_they_were(family, start, tmp_path):
    list(start(family, "first", steps=1))
    list(
        start(
            family,
            "second",
            init="checkpoint",
            sizes={},
            vae=str(tmp_path / "first" / "trained"),
            learned="decoder",
            steps=2,
        )
    )
    before, after = (load_file(tmp_path / run / "trained" / FILE) for run in ("first", "second"))
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("encoder.", "quant_conv."))} <= still
    assert not any(name.startswith("decoder.conv_in.") for name in still)
    settings = [
        json.loads((tmp_path / run / "trained" / "config.json").read_text()) for run in ("first", "second")
    ]
    assert settings[0]["scaling_factor"] == settings[1]["scaling_factor"]


@pytest.mark.parametrize("family", FAMILIES)
def test_inflated_kernels_begin_with_the_present_frame_and_learn_the_past(family, start, tmp_path):
    list(start(family, "pictures", steps=2, stages=[STAGES[0] | {"steps": 0}]))
    pictures = tmp_path / "pictures" / "trained"
    begun = {"init": "inflated", "sizes": {}, "vae": str(pictures), "stages": [STAGES[1]]}
    list(start(family, "begun", **begun, steps=1, optimizer={"learning_rate": 1e-12}))
    list(start(family, "clips", **begun, steps=2))
    before, begun, after = (
        load_file(tmp_path / run / "trained" / FILE) for run in ("pictures", "begun", "clips")
    )
    kernels = [name for name, weight in before.items() if weight.ndim == 5 and weight.shape[2] == 3]
    assert len(kernels) > 10
    for name in kernels:
        torch.testing.assert_close(begun[name][:, :, 2], before[name].sum(2), atol=1e-6, rtol=1e-5)
        assert begun[name][:, :, :2].abs().max() < 1e-9
    assert all(after[name][:, :, :2].abs().max() > 1e-4 for name in kernels)


@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_steps_come_to_the_losses_that_they_always_did(family, judged):
    losses = losses_of(judged[family])
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REELWRIGHT_GOLDEN") == "write":
        known[family] = [round(loss, 7) for loss in losses]
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    assert losses == pytest.approx(known[family], rel=CLOSE)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_clips_come_back_better_and_are_shown(family, judged):
    lines = [line for line in lines_of(judged[family]) if "validation_psnr" in line]
    assert [line["step"] for line in lines] == [0, 20]
    assert lines[1]["validation_psnr"] > lines[0]["validation_psnr"]
    assert set(lines[0]) == {"step", "validation_psnr", "validation_ssim", "validation_flicker"}
    pictures = sorted(path.name for path in (judged[family] / "reconstructions").iterdir())
    assert pictures == ["step-00000000.png", "step-00000020.png"]
