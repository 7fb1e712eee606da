"""A name for the latents of each section, made of everything that decides them."""

import hashlib
from dataclasses import asdict
from typing import Any

import torch
from PIL import Image

from reelwright.core.config import to_mapping
from reelwright.core.paths import sha256_of
from reelwright.data.cache_store import content_digest, content_key
from reelwright.families.framepack.checkpoints import FramePackModel
from reelwright.families.framepack.clips import KnownClip
from reelwright.families.framepack.requests import FramePackRequest, SectionRequest
from reelwright.families.framepack.sections import SectionLayout
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.policy_configs import without_placement

_NOT_IN_LATENTS = frozenset(
    (
        # What is counted below, section by section or by content.
        *("prompt", "image", "story", "section_seeds", "latent_paddings", "lora"),
        *("video_seconds", "video_sections", "num_frames", "control_image", "control_mask", "end_image"),
        *("extend", "bridge_to", "clip_latents", "video", "model", "dit", "vae", "text_encoder"),
        *("text_encoder_2", "image_encoder", "tokenizer", "tokenizer_2", "offline"),
        # What only decides which clips are made and how they are written.
        *("from_file", "num_videos", "strict", "fps", "format", "crf", "contact_sheet", "metadata"),
        *(
            "preview_every",
            "preview_sections",
            "from_latent",
            "out",
            "run",
            "bulk_decode",
            "save_merged_model",
            "lora_settings",
        ),
    )
)


class SectionKeys:
    """Keys in the order in which sections are made: each stands on the one before, whose latents it sees."""

    def __init__(
        self, model: FramePackModel, request: FramePackRequest, dtype: torch.dtype, device: str
    ) -> None:
        config = to_mapping(request.config)
        config["compatibility"].pop("decode_windows", None)
        config["execution"] = _deciding(request.config.execution)
        self._key = content_key(
            config={name: value for name, value in config.items() if name not in _NOT_IN_LATENTS},
            parts=dict(model.fingerprints),
            dtype=str(dtype),
            device=device,
            end_image=_picture(request.end_image),
            clips=[_clip(clip) for clip in (request.extended, request.bridged, request.changed)],
            controls=[[_picture(image), _picture(mask)] for image, mask in request.controls],
        )

    def next(self, layout: SectionLayout, section: SectionRequest) -> str:
        plan = section.plan
        self._key = content_key(
            before=self._key,
            layout=asdict(layout) | {"positions": list(layout.positions)},
            prompt=plan.prompt,
            image=_picture(section.image),
            seed=plan.seed,
            lora_multipliers=plan.lora_multipliers,
        )
        return self._key


def _deciding(execution: ExecutionConfig) -> dict[str, Any]:
    """How the model runs, as far as latents tell; ratios of magnitudes by what they are."""
    known = without_placement(to_mapping(execution))
    known.pop("preset", None)
    if execution.step_cache_ratios is not None:
        known["step_cache_ratios"] = sha256_of(execution.step_cache_ratios)
    return known


def _picture(image: Image.Image | None) -> str:
    if image is None:
        return ""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


def _clip(clip: KnownClip | None) -> dict[str, Any]:
    if clip is None:
        return {}
    if clip.latents_BCTHW is not None:
        return {"latents": content_digest({"": clip.latents_BCTHW})}
    return {"file": sha256_of(clip.path), "max_frames": clip.max_frames}
