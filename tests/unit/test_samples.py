"""Clips made while training: when, with which weights, where they go, and that training never notices."""

import json
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from accelerate.utils.dataclasses import DistributedType
from PIL import Image
from torch import Tensor, nn

from reelwright.core.errors import ConfigError
from reelwright.core.events import ClipFinished, Event, FileSaved, Notice
from reelwright.families.cogvideox.config import CogVideoXGenerate
from reelwright.media.image_ops import read_png_metadata
from reelwright.media.video_reader import probe_video, read_mp4_metadata
from reelwright.protocols.family import Family, Made, Segment
from reelwright.protocols.train_configs import SamplesConfig, TrainConfig
from reelwright.protocols.training import Sampling, Training
from reelwright.workflows.training.samples import Samples, plan_samples
from reelwright.workflows.training.setting import DenoiserSetting

from .training_runs import Learned, OneNumber, moment, open_run, result

FPS = 8.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    config: CogVideoXGenerate
    notices: Sequence[str] = ()


class FlatClips:
    """A session whose clips have the gray of the denoiser's number, each pixel of all frames."""

    living: ClassVar["weakref.WeakSet[nn.Module]"] = weakref.WeakSet()

    def __init__(self, _: object, config: TrainConfig, denoiser: nn.Module) -> None:
        assert isinstance(denoiser, OneNumber)
        self.denoiser = denoiser
        self.autoencoder = nn.Linear(2, 2)
        FlatClips.living.add(self.autoencoder)

    def generate(self, requests: Sequence[Wanted], _: object) -> Iterator[Made]:
        torch.randn(3)
        for request in requests:
            if "fails" in request.config.prompt:
                raise RuntimeError("DefaultCPUAllocator: not enough memory")
            assert not self.denoiser.training
            assert not torch.is_grad_enabled()
            yield self._segment(request, float(self.denoiser.number))

    def _segment(self, request: Wanted, gray: float) -> Segment:
        config = request.config

        def decode() -> Iterator[Tensor]:
            yield torch.full((config.num_frames, 32, 32, 3), round(255 * gray), dtype=torch.uint8)

        latents = torch.full((1, 1, 1, 1, 1), gray)
        return Segment(latents_BCTHW=latents, num_frames=config.num_frames, fps=FPS, decode=decode)


def resolve(config: CogVideoXGenerate, _: object) -> Wanted:
    if config.width % 16:
        raise ConfigError("width: no multiple of 16.")
    return Wanted(config=replace(config, num_frames=config.num_frames or 5), notices=["frames: 5."])


FAMILY = Family(
    name="cogvideox",
    locate=lambda _: SimpleNamespace(fingerprints={"transformer": "abc"}, notices=()),
    resolve=resolve,
    start=lambda _, __: None,  # type: ignore[arg-type,return-value]
    inputs=lambda _: {},
)
TRAINING = Training(
    locate=lambda _, __: None,  # type: ignore[arg-type,return-value]
    caches=lambda _, latents, texts: (latents, texts),
    sampling=Sampling(
        config=lambda _, __: CogVideoXGenerate(),
        start=FlatClips,
        encode=lambda _, __, ___: None,
        locate=lambda config, _: FAMILY.locate(config),
    ),  # type: ignore[arg-type]
    num_tokens=lambda _, __: 1,
)


def open_samples(
    folder: Path, prompts: str = "a fox\na bird --d 42\n", base: float | None = 0.25, **more: Any
) -> tuple[DenoiserSetting, Samples]:
    path = folder / "prompts.txt"
    path.write_text(prompts)
    config = TrainConfig(samples=SamplesConfig(prompts=path, **{"every_steps": 10, "seed": 7, **more}))
    denoiser = OneNumber(0.5)
    setting = open_run(folder, config, network=denoiser, trainables=Learned(denoiser, base))
    plan = plan_samples(FAMILY, TRAINING, config, None)  # type: ignore[arg-type]
    assert plan is not None
    return setting, Samples(setting, plan)


def gray(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.convert("L").getpixel((60, 60))  # type: ignore[return-value]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def step_to(samples: Samples, *steps: int, num_steps: int = 1000) -> list[Event]:
    return [
        event
        for step in steps
        for event in samples(moment(step, result() if step else None, num_steps=num_steps))
    ]


def test_no_file_of_prompts_makes_no_clips():
    assert plan_samples(FAMILY, TRAINING, TrainConfig(), None) is None  # type: ignore[arg-type]


def test_a_prompt_without_a_seed_has_one_by_its_place_and_notices_name_lines(tmp_path: Path):
    _, samples = open_samples(tmp_path, "a fox\n\na bird --d 42\na cow\n")
    assert [clip.config.seed for clip in samples._plan.clips] == [7, 42, 9]
    assert samples._plan.notices == [f"{tmp_path / 'prompts.txt'}: line 1: frames: 5."]


def test_all_bad_prompts_are_told_before_anything_loads(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        open_samples(tmp_path, "a fox\nb --f many\nc --w 17\nd --strength 3\n")
    lines = str(caught.value).removeprefix(f"{tmp_path / 'prompts.txt'}: ").splitlines()
    assert len(lines) == 3
    for line, words in zip(
        lines, ("line 2: --f", "line 3: width: no multiple", "line 4: strength"), strict=True
    ):
        assert words in line


def test_each_time_has_a_folder_of_clips_sheets_and_latents(tmp_path: Path):
    _, samples = open_samples(tmp_path, at_start=False)
    events = step_to(samples, 0, 9, 10, 11)
    folder = tmp_path / "samples" / "step-00000010"
    stems = ("clip-001_seed-7", "clip-002_seed-42")
    kinds = (".mp4", ".latent.safetensors", ".record.json", ".sheet.png")
    assert names(folder) == sorted(["beside.png", *(stem + kind for stem in stems for kind in kinds)])
    assert FileSaved("samples", str(folder)) in events
    assert [event.clip for event in events if isinstance(event, ClipFinished)] == [1, 2, 1, 2]
    assert probe_video(folder / "clip-001_seed-7.mp4").fps == FPS
    assert json.loads((folder / "clip-001_seed-7.record.json").read_text())["config"]["prompt"] == "a fox"


def test_clips_do_not_say_that_the_released_model_could_make_them_again(tmp_path: Path):
    _, samples = open_samples(tmp_path)
    step_to(samples, 10)
    folder = tmp_path / "samples" / "step-00000010"
    assert "reelwright" not in read_mp4_metadata(folder / "clip-001_seed-7.mp4")
    assert "reelwright" not in read_png_metadata(folder / "clip-001_seed-7.sheet.png")


def test_the_untrained_model_is_shown_above_the_one_of_now(tmp_path: Path):
    setting, samples = open_samples(tmp_path)
    step_to(samples, 10)
    setting.denoiser.number.data.fill_(0.75)  # type: ignore[union-attr,operator]
    step_to(samples, 20)
    folder = tmp_path / "samples"
    assert names(folder) == ["step-00000010", "step-00000020", "untrained"]
    sheets = [
        folder / name / "clip-001_seed-7.sheet.png"
        for name in ("untrained", "step-00000010", "step-00000020")
    ]
    assert [gray(sheet) for sheet in sheets] == pytest.approx([64, 128, 191], abs=2)
    with Image.open(sheets[0]) as sheet, Image.open(folder / "step-00000020" / "beside.png") as page:
        tops = [number * (page.height // 4) + 60 for number in range(4)]
        shown = [page.convert("L").getpixel((60, top)) for top in tops]
        assert page.height > 4 * sheet.height
    assert shown == pytest.approx([64, 191, 64, 191], abs=2)


def test_at_the_start_nothing_is_learned_so_that_those_clips_are_the_untrained_ones(tmp_path: Path):
    setting, samples = open_samples(tmp_path, base=None)
    setting.trainables.changed = 0.0  # type: ignore[attr-defined]
    assert not [event for event in step_to(samples, 0) if isinstance(event, Notice)]
    setting.trainables.changed = 0.1  # type: ignore[attr-defined]
    setting.denoiser.number.data.fill_(0.75)  # type: ignore[union-attr,operator]
    assert not [event for event in step_to(samples, 10) if isinstance(event, Notice)]
    assert names(tmp_path / "samples") == ["step-00000000", "step-00000010"]
    with Image.open(tmp_path / "samples" / "step-00000010" / "beside.png") as page:
        assert page.convert("L").getpixel((60, 60)) == pytest.approx(128, abs=2)


def test_where_the_untrained_model_is_lost_clips_stand_alone_and_it_is_said_once(tmp_path: Path):
    _, samples = open_samples(tmp_path, base=None, at_start=False)
    notices = [event for event in step_to(samples, 10, 20) if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "stand alone" in notices[0].message
    assert not (tmp_path / "samples" / "step-00000010" / "beside.png").exists()


def test_without_beside_only_the_clips_of_now_are_made(tmp_path: Path):
    _, samples = open_samples(tmp_path, beside=False)
    step_to(samples, 10)
    assert names(tmp_path / "samples") == ["step-00000010"]


def test_training_notices_nothing(tmp_path: Path):
    setting, samples = open_samples(tmp_path)
    setting.denoiser.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    step_to(samples, 10)
    assert torch.equal(torch.get_rng_state(), before)
    assert setting.denoiser.training
    assert torch.is_grad_enabled()
    assert float(setting.denoiser.number.detach()) == 0.5  # type: ignore[arg-type]
    assert len(FlatClips.living) == 0  # what else was loaded is gone


def test_a_clip_that_fails_is_told_and_the_others_are_made(tmp_path: Path):
    setting, samples = open_samples(tmp_path, "a fox\nthis fails\na cow\n", beside=False)
    setting.denoiser.train()
    (notice,) = [event for event in step_to(samples, 10) if isinstance(event, Notice)]
    assert notice.message == "step 10: clip 2 was not made: DefaultCPUAllocator: not enough memory"
    folder = tmp_path / "samples" / "step-00000010"
    assert {path.name for path in folder.glob("*.mp4")} == {"clip-001_seed-7.mp4", "clip-003_seed-9.mp4"}
    assert setting.denoiser.training


def test_a_single_clip_that_fails_does_not_end_the_run_either(tmp_path: Path):
    setting, samples = open_samples(tmp_path, "this fails\n", beside=False)
    setting.denoiser.train()
    before = torch.get_rng_state()
    (notice,) = [event for event in step_to(samples, 10) if isinstance(event, Notice)]
    assert notice.message.startswith("step 10: clips were not made, training goes on: DefaultCPUAllocator")
    assert setting.denoiser.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_single_frame_is_a_png(tmp_path: Path):
    _, samples = open_samples(tmp_path, "a fox --f 1\n", beside=False)
    step_to(samples, 10)
    folder = tmp_path / "samples" / "step-00000010" / "clip-001_seed-7"
    assert [path.suffix for path in folder.iterdir()] == [".png"]


def test_a_run_stopped_between_clips_makes_the_others_only(tmp_path: Path):
    _, samples = open_samples(tmp_path, "a fox\na bird\n", beside=False)
    events = samples(moment(10, result()))
    for event in events:
        if isinstance(event, ClipFinished):
            break
    events.close()  # type: ignore[attr-defined]
    folder = tmp_path / "samples" / "step-00000010"
    written = (folder / "clip-001_seed-7.mp4").stat().st_mtime_ns
    _, resumed = open_samples(tmp_path, "a fox\na bird\n", beside=False)
    resumed.restore(json.loads(json.dumps(samples.state())))
    assert FileSaved("samples", str(folder)) in list(resumed(moment(10)))
    assert (folder / "clip-002_seed-8.mp4").is_file()
    assert (folder / "clip-001_seed-7.mp4").stat().st_mtime_ns == written
    _, again = open_samples(tmp_path, "a fox\na bird\n", beside=False)
    again.restore(json.loads(json.dumps(resumed.state())))
    assert list(again(moment(10))) == []


def test_shared_out_weights_make_no_clips_and_say_so(tmp_path: Path):
    setting, samples = open_samples(tmp_path)
    setting.accelerator.state.distributed_type = DistributedType.FSDP
    (notice,) = step_to(samples, 10)
    assert isinstance(notice, Notice)
    assert "share out the weights" in notice.message
    assert not (tmp_path / "samples").exists()
