"""What the denoiser is shown for one section: prompt, picture, and the latents around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from reelwright.families.framepack.checkpoints import FramePackModel
from reelwright.families.framepack.conditions import CleanLatents, Conditions, guidance_of
from reelwright.families.framepack.denoise import Look
from reelwright.families.framepack.embeddings import (
    PromptFeatures,
    Wording,
    encode_images,
    encode_prompts,
    wordings,
)
from reelwright.families.framepack.requests import FramePackRequest
from reelwright.families.framepack.scene import KnownLatents
from reelwright.families.framepack.sections import SectionLayout, Slots


@dataclass(frozen=True, kw_only=True)
class Features:
    """Of all prompts and pictures of a run."""

    prompts: dict[Wording, PromptFeatures]
    pictures: dict[bytes, Tensor]

    def prompt(self, text: str, request: FramePackRequest) -> PromptFeatures:
        return self.prompts[Wording(prompt=text, system_prompt=request.config.system_prompt)]

    def picture(self, image: Image.Image | None, request: FramePackRequest) -> Tensor:
        """Of a section's picture; if only the first section is to see an end image, of both (diffusers)."""
        features = self.pictures[_shown(image, request).tobytes()]
        if request.end_image is None or request.config.compatibility.end_image == "history":
            return features
        return (features + self.pictures[request.end_image.tobytes()]) / 2


def encode_features(
    model: FramePackModel, requests: Sequence[FramePackRequest], device: torch.device, dtype: torch.dtype
) -> Features:
    """Encode every prompt and picture once; encoders are loaded one at a time, and gone at the end."""
    wanted = [
        wording
        for request in requests
        for wording in wordings(request.config, [section.plan.prompt for section in request.sections])
    ]
    prompts = encode_prompts(
        wanted,
        llama=model.llama,
        clip=model.clip,
        fingerprints=model.fingerprints,
        device=device,
        dtype=dtype,
    )
    images = {image.tobytes(): image for request in requests for image in _pictures(request)}
    encoded = encode_images(
        list(images.values()),
        siglip=model.siglip,
        fingerprints=model.fingerprints,
        device=device,
        dtype=dtype,
    )
    return Features(prompts=prompts, pictures=dict(zip(images, encoded, strict=True)))


def look_of(
    features: Features,
    request: FramePackRequest,
    layout: SectionLayout,
    known: KnownLatents,
    device: torch.device,
    dtype: torch.dtype,
) -> Look:
    """The conditions of a section, as the denoiser takes them."""
    config, section = request.config, request.sections[layout.section]
    picture = features.picture(section.image, request)

    def group(slots: Slots | None) -> CleanLatents | None:
        if slots is None:
            return None
        return CleanLatents(latents_BCTHW=known.fill(slots, layout), indices_BT=torch.tensor([slots.indices]))

    def conditions(prompt: PromptFeatures) -> Conditions:
        return Conditions(
            text_BLD=prompt.llama_BLD,
            text_lengths=(prompt.length,),
            pooled_BD=prompt.pooled_BD,
            image_BLD=picture,
            guidance_B=guidance_of([config.distilled_guidance], dtype),
            indices_BT=torch.tensor([layout.indices]),
            clean_1x=group(layout.clean_1x),
            clean_2x=group(layout.clean_2x),
            clean_4x=group(layout.clean_4x),
        ).to(device, dtype)

    negative = None
    if config.guidance_scale != 1.0:
        negative = conditions(features.prompt(config.negative_prompt, request))
    return Look(positive=conditions(features.prompt(section.plan.prompt, request)), negative=negative)


def _pictures(request: FramePackRequest) -> list[Image.Image]:
    shown = [_shown(section.image, request) for section in request.sections]
    return shown if request.end_image is None else [*shown, request.end_image]


def _shown(image: Image.Image | None, request: FramePackRequest) -> Image.Image:
    """Where there is no image, the encoder is shown black, as released."""
    size = (request.config.width, request.config.height)
    return Image.new("RGB", size) if image is None else image
