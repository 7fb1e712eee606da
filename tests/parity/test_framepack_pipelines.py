"""Whole runs against the reference pipeline: the same folder, image, prompt and seed give the same frames.

Where the pipeline does otherwise than the released demos, it is told to do as they do, or we as it does:

- It draws the latents of images (`posterior`), is sampled by Euler's method, and shows an end image to the
  first section alone, averaging both images' features (`compatibility.end_image`).
- It decodes with overlapping tiles in time unless told not to; the demos' windows are the same otherwise.
- It resizes floating-point pictures for the image encoder where the demos resize 8-bit ones; its encoder is
  compared with ours in test_framepack_encoders.py, and our features are given to it here.
"""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import HunyuanVideoFramepackPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import DEFAULT_PROMPT_TEMPLATE
from PIL import Image
from torch import Tensor

from reelwright.families.framepack.config import Compatibility, FramePackGenerate
from reelwright.families.framepack.family import FAMILY
from reelwright.families.framepack.tiny import write_model
from reelwright.protocols.family import Section, Segment

PROMPT = "a red ball rolls over the floor at night"
NEGATIVE = "a gray box stands still"
SEED = 1234
HEIGHT, WIDTH = 64, 96
FRAMES_OF_SECTION = 33
"""As the pipeline counts: it makes as many sections of 33 frames as cover what is asked for."""


@pytest.fixture(scope="module", params=["backward", "forward"])
def folder(request, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    write_model(root / "model", direction=request.param, dtype=torch.float32)
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """A picture to start from and one to end on, at the size of the video."""
    root = tmp_path_factory.mktemp("pictures")
    gradient = torch.linspace(0, 255, HEIGHT * WIDTH).view(HEIGHT, WIDTH)
    paths = [root / "start.png", root / "end.png"]
    for path, last in zip(paths, (255 - gradient, gradient.flip(0)), strict=True):
        pixels = torch.stack([gradient, gradient.flip(1), last], dim=-1).to(torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    return paths


def our_frames(config: FramePackGenerate) -> Tensor:
    """uint8 [F, H, W, 3], without the losses of a video file."""
    model = FAMILY.locate(config)
    session = FAMILY.start(model, config.execution)
    made = list(session.generate([FAMILY.resolve(config, model)], lambda key: None))
    sections = [item for item in made if isinstance(item, Section)]
    (segment,) = [item for item in made if isinstance(item, Segment)]
    assert segment.flaw == ""
    assert len(sections) == config.video_sections
    return torch.cat(list(segment.decode()))


def reference_frames(folder: Path, direction: str, **options: object) -> Tensor:
    pipeline = HunyuanVideoFramepackPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.use_framewise_encoding = pipeline.vae.use_framewise_decoding = False
    model = FAMILY.locate(FramePackGenerate(model=str(folder)))

    def encode_image(image: Tensor, device: object, dtype: object = None) -> Tensor:
        pixels = ((image[0].permute(1, 2, 0) / 2 + 0.5) * 255).round().to(torch.uint8)
        return model.siglip.encode([Image.fromarray(pixels.numpy())], device="cpu", dtype=torch.float32)

    pipeline.encode_image = encode_image
    sampling = {"backward": "inverted_anti_drifting", "forward": "vanilla"}[direction]
    frames = pipeline(
        prompt=PROMPT,
        prompt_template={**DEFAULT_PROMPT_TEMPLATE, "crop_start": model.llama.crop_start()},
        height=HEIGHT,
        width=WIDTH,
        generator=torch.Generator().manual_seed(SEED),
        sampling_type=sampling,
        output_type="np",
        **options,
    ).frames[0]
    return torch.from_numpy((numpy.asarray(frames) * 255).round().astype(numpy.uint8))


def config_of(folder: Path, picture: Path, num_sections: int, **options: object) -> FramePackGenerate:
    config = FramePackGenerate(
        model=str(folder),
        prompt=PROMPT,
        image=picture,
        seed=SEED,
        height=HEIGHT,
        width=WIDTH,
        steps=3,
        sampler="euler",
        posterior="sample",
        video_sections=num_sections,
        distilled_guidance=6.0,
        preview_every=0,
    )
    return replace(config, **options)


def largest_difference(ours: Tensor, theirs: Tensor) -> int:
    assert ours.shape == theirs.shape
    return int((ours.int() - theirs.int()).abs().max())


@pytest.mark.parametrize("num_sections", [2, 5])
def test_a_video_of_some_sections_is_the_pipelines(folder, pictures, num_sections):
    ours = our_frames(config_of(folder / "model", pictures[0], num_sections))
    theirs = reference_frames(
        folder / "model",
        FAMILY.locate(FramePackGenerate(model=str(folder / "model"))).direction,
        image=Image.open(pictures[0]),
        num_frames=FRAMES_OF_SECTION * num_sections,
        num_inference_steps=3,
    )
    assert len(ours) == 36 * num_sections + 1
    assert largest_difference(ours, theirs) <= 1


def test_real_guidance_is_the_pipelines(folder, pictures):
    ours = our_frames(
        config_of(folder / "model", pictures[0], 2, guidance_scale=3.0, negative_prompt=NEGATIVE)
    )
    theirs = reference_frames(
        folder / "model",
        FAMILY.locate(FramePackGenerate(model=str(folder / "model"))).direction,
        image=Image.open(pictures[0]),
        num_frames=FRAMES_OF_SECTION * 2,
        num_inference_steps=3,
        true_cfg_scale=3.0,
        negative_prompt=NEGATIVE,
    )
    assert largest_difference(ours, theirs) <= 1


@pytest.mark.parametrize("folder", ["backward"], indirect=True)
def test_an_end_image_is_the_pipelines(folder, pictures):
    config = config_of(folder / "model", pictures[0], 3, end_image=pictures[1])
    ours = our_frames(replace(config, compatibility=Compatibility(end_image="first")))
    theirs = reference_frames(
        folder / "model",
        "backward",
        image=Image.open(pictures[0]),
        last_image=Image.open(pictures[1]),
        num_frames=FRAMES_OF_SECTION * 3,
        num_inference_steps=3,
    )
    assert largest_difference(ours, theirs) <= 1
