"""Which field of a family's configuration is on which node.

A family's own fields are found by what they are called; one that nobody knows is among the options. Names of
roles are parts of the nodes' ids, which stand in people's workflows: they are never changed.
"""

from collections.abc import Iterator
from functools import cache

from reelwright import families
from reelwright.core.schema_fields import FieldFacts, describe
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.storyboards import StorySchema

MODEL, LORA, EXECUTION = "Model", "Lora", "Execution"
TEXT, IMAGES, CLIPS, ONE_FRAME, SECTION = "Text", "Images", "Clips", "OneFrame", "Section"
OPTIONS, SAMPLE, DECODE, SAVE = "Options", "Sample", "Decode", "Save"

_ROLES = {
    LORA: ("lora", "lora_multiplier", "lora_alpha"),
    TEXT: ("prompt", "negative_prompt", "system_prompt"),
    IMAGES: ("image", "end_image", "image_fit"),
    CLIPS: ("video", "strength", "control_video", "extend", "bridge_to", "clip_latents", "loop"),
    ONE_FRAME: ("one_frame", "control_image", "control_mask", "one_frame_auto_resize"),
    SAMPLE: (
        *("seed", "steps", "guidance_scale", "distilled_guidance", "sampler"),
        *("height", "width", "num_frames", "video_seconds", "video_sections", "preview_every"),
    ),
    SAVE: ("format", "crf", "contact_sheet", "metadata"),
}
DECIDED = ("save_merged_model", "from_file", "from_latent", "num_videos", "out", "run")
"""What the program of nodes itself decides: where files are, and how often something is made."""
PICTURES = ("image", "end_image", "control_image")
MASKS = ("control_mask",)
MOVING = ("video", "control_video", "extend", "bridge_to")
"""Path fields that are given as pictures, masks and clips, rather than by where their files are."""
FROM_LATENTS = ("extend", "bridge_to")
"""Of these, those that latents may be given for."""


def title(family: str) -> str:
    """What people call a family: how its schema's docstring begins."""
    return str(families.configs(family).GENERATE.__doc__).partition(":")[0]


def story(family: str) -> StorySchema | None:
    """How the family's storyboards are written; None for families without."""
    return getattr(families.configs(family), "STORY", None)


@cache
def fields_of(family: str, role: str) -> tuple[FieldFacts, ...]:
    """The fields on the node of a role, in the schema's order; none where the family has no such node."""
    return tuple(each for each in _top_fields(family) if _role_of(family, each) == role)


def groups_of(family: str) -> dict[str, tuple[FieldFacts, ...]]:
    """The fields of each group that is the family's own, by the group's name."""
    shared = {each.name for each in describe(GenerateConfig) if each.kind == "group"}
    described = describe(families.configs(family).GENERATE)
    own = [each.name for each in described if each.kind == "group" and each.name not in shared]
    return {name: tuple(each for each in described if each.group == name) for name in own}


def shared_fields(role: str) -> tuple[FieldFacts, ...]:
    """The fields of a node that is the same for all families."""
    described = describe(GenerateConfig)
    if role == EXECUTION:
        return tuple(each for each in described if each.group == EXECUTION.lower())
    return tuple(each for each in described if not each.group and each.name in _ROLES[role])


def section_fields(family: str) -> tuple[FieldFacts, ...]:
    """The keys of one part of a storyboard."""
    schema = story(family)
    return () if schema is None else describe(schema.part)


def _top_fields(family: str) -> Iterator[FieldFacts]:
    schema = story(family)
    elsewhere = (*DECIDED, schema.field) if schema else DECIDED
    for each in describe(families.configs(family).GENERATE):
        if not each.group and each.kind != "group" and each.name not in elsewhere:
            yield each


def _role_of(family: str, facts: FieldFacts) -> str:
    for role, names in _ROLES.items():
        if facts.name in names:
            return role
    # What all clips of a run share is what the networks are made of.
    return MODEL if families.configs(family).PROMPT_OPTIONS[facts.name].refusal else OPTIONS
