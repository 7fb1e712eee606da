"""Which fields of a schema stand open in a form and which are folded away, by what they are called."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reelwright.core.schema_fields import FieldFacts, describe

WORDS = ("prompt", "negative_prompt")
"""What is said."""
PICTURES = ("image", "end_image", "video", "extend", "bridge_to", "control_video")
"""What is shown: files to drop."""
PICTURE_OPTIONS = {"image_fit": PICTURES, "strength": ("video",)}
"""What says how a picture is used -> those without one of which it is of no use, or even refused."""
EXACT = ("height", "width", "num_frames", "video_seconds", "video_sections")
"""What a picker of legal shapes sets; to be typed too, folded away."""
ESSENTIALS = ("steps", "guidance_scale", "distilled_guidance", "seed", "num_videos")
HEAD = ("model",)
NOT_ASKED = ("out", "run", "from_file", "from_latent", "save_merged_model")
"""Where a job's files are is the queue's to say; the others make no clip, or many from one file."""

_OPEN = frozenset((*HEAD, *WORDS, *PICTURES, *PICTURE_OPTIONS, *EXACT, *ESSENTIALS))
_REST = "More"
_FOLDED = (
    (
        "Sampling",
        re.compile(
            r"sampler|timestep_spacing|guidance_|negative$|flow_shift|rope_|posterior|image_latent_scale"
        ),
    ),
    ("LoRA", re.compile(r"lora")),
    ("Model files", re.compile(r"(dit|vae|text_encoder|tokenizer|image_encoder|offline)(_2)?$")),
    ("Files written", re.compile(r"fps|strict|format|crf|contact_sheet|metadata|preview")),
    ("Kernels and compiling", re.compile(r"execution\.(attention|compile)")),
    ("Step cache", re.compile(r"execution\.step_cache")),
    ("Memory and device", re.compile(r"execution\.")),
    ("Compatibility", re.compile(r"compatibility\.")),
)


@dataclass(frozen=True)
class Fold:
    """Fields that are folded away together."""

    title: str
    fields: tuple[FieldFacts, ...]


def folds(schema: type[Any]) -> tuple[Fold, ...]:
    """What is folded away, every field of the schema that does not stand open, in its order."""
    by_title: dict[str, list[FieldFacts]] = {title: [] for title in (*(title for title, _ in _FOLDED), _REST)}
    for each in _folded_fields(schema):
        by_title[_title_of(each)].append(each)
    return tuple(Fold(title, tuple(found)) for title, found in by_title.items() if found)


def titled(dotted: str) -> str:
    """A field's name as words: num_frames is Frames, saving.keep_states is Keep states."""
    name = dotted.rpartition(".")[2]
    plain = _TITLES.get(dotted) or _TITLES.get(name) or name.removeprefix("num_").replace("_", " ")
    return plain[:1].upper() + plain[1:]


_TITLES = {
    "image": "first frame",
    "end_image": "last frame",
    "video": "clip to start from",
    "extend": "clip to go on from",
    "bridge_to": "clip to arrive at",
    "control_video": "control clip",
    "num_videos": "clips",
    "guidance_scale": "guidance",
    "fps": "frames per second",
    "crf": "quality of the mp4",
    "dit": "transformer",
    "vae": "autoencoder",
    "vram": "GPU memory to fit into",
    "ram": "memory to fit into",
    "lora": "LoRA files",
    "lora_multiplier": "strengths",
    "lora_alpha": "alphas",
    "lora_include": "modules to change",
    "lora_exclude": "modules to leave alone",
    "dtype": "number format",
    "vae_chunk": "frames decoded at a time",
    "fp8_matmul": "multiply in fp8",
    "dataset": "data set",
    "ema": "running average",
    "samples.prompts": "prompts of samples",
    "samples.every_steps": "samples every so many steps",
    "validation.dataset": "data set to validate on",
    "validation.every_steps": "validation every so many steps",
}


def _folded_fields(schema: type[Any]) -> Iterator[FieldFacts]:
    for each in describe(schema):
        if each.kind != "group" and each.dotted not in _OPEN and each.dotted not in NOT_ASKED:
            yield each


def _title_of(each: FieldFacts) -> str:
    return next((title for title, pattern in _FOLDED if pattern.match(each.dotted)), _REST)
