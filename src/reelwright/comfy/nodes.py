"""The nodes: for each family those that its schema has fields for, and a few for all families.

Nothing of a model is in here. A node reads its inputs into values of the configuration; those that work hand
them to the workflows. Ids stand in people's workflows and are never changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.comfy import host, layout
from reelwright.comfy.inputs import (
    CLIP_RATE,
    Given,
    Values,
    inputs_of,
    lora_inputs,
    lora_values,
    values_of,
)
from reelwright.comfy.schema import Input
from reelwright.core.schema_fields import FieldFacts

_CATEGORY = "Reelwright"
_LORAS, _EXECUTION_TYPE = "REELWRIGHT_LORAS", "REELWRIGHT_EXECUTION"
_FOLDER: Input = (
    "STRING",
    {
        "default": "",
        "tooltip": "Instead of a model from the list: a folder in the diffusers layout, or a hub id.",
    },
)
_CLIP_RATE: Input = (
    "FLOAT",
    {
        "default": 0.0,
        "min": 0.0,
        "max": 1000.0,
        "tooltip": "Frames per second of clips that are given as images; 0 takes the model's own rate. Videos"
        " have their own.",
    },
)
_OWN_DEFAULTS = {"preview_every": 1}
"""Where nodes have other defaults than the command line: here a preview is seen at once."""
_SHOWN_OTHERWISE = {
    **{name: {"default": default} for name, default in _OWN_DEFAULTS.items()},
    "seed": {"control_after_generate": True},
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node, as ComfyUI is told of it."""

    id: str
    title: str
    about: str
    category: str
    required: Callable[[], dict[str, Input]] = dict
    optional: Callable[[], dict[str, Input]] = dict
    hidden: Mapping[str, str] = field(default_factory=dict[str, str])
    outputs: Mapping[str, str]
    """Name -> type."""
    run: Callable[[Given], Any]
    is_output: bool = False
    changes_with: Callable[[Given], Any] | None = None
    """What the result depends on beyond the inputs."""

    def as_class(self) -> type:
        """The class that ComfyUI loads."""

        def input_types(_: type) -> dict[str, Any]:
            found = {"required": self.required(), "optional": self.optional(), "hidden": dict(self.hidden)}
            return {kind: inputs for kind, inputs in found.items() if inputs or kind == "required"}

        def run(_: object, **given: Any) -> Any:  # noqa: ANN401 - as ComfyUI calls it
            return self.run(given)

        facts: dict[str, Any] = {
            "INPUT_TYPES": classmethod(input_types),
            "RETURN_TYPES": tuple(self.outputs.values()),
            "RETURN_NAMES": tuple(self.outputs),
            "FUNCTION": "run",
            "CATEGORY": self.category,
            "DESCRIPTION": self.about,
            "OUTPUT_NODE": self.is_output,
            "run": run,
            "__doc__": self.about,
        }
        if (depends := self.changes_with) is not None:

            def is_changed(_: type, **given: Any) -> Any:  # noqa: ANN401 - as ComfyUI calls it
                return depends(given)

            facts["IS_CHANGED"] = classmethod(is_changed)
        return type(self.id, (), facts)


def all_nodes() -> tuple[Node, ...]:
    """Those of all families and those that are the same for each."""
    found = [_lora_node(), _execution_node(), _save_node()]
    for family in families.names():
        found += _family_nodes(family)
    return tuple(found)


def type_of(family: str, role: str) -> str:
    """What the links between two nodes of a family carry."""
    return f"REELWRIGHT_{family}_{role}".upper()


def node_id(family: str, role: str) -> str:
    return f"Reelwright_{family}_{role}"


def _family_nodes(family: str) -> list[Node]:
    found = [_model_node(family)]
    titles = {
        layout.TEXT: ("text", "What to show, and what to stay away from."),
        layout.IMAGES: ("images", "Pictures to start from and to arrive at."),
        layout.CLIPS: ("clips", "Clips to start from, to go on from or to be led by."),
        layout.ONE_FRAME: ("single frames", "Make single pictures from others."),
        layout.OPTIONS: ("options", "What seldom needs a change."),
    }
    for role, (name, about) in titles.items():
        if fields := layout.fields_of(family, role):
            found.append(_values_node(family, role, name, about, fields))
    for name, fields in layout.groups_of(family).items():
        about = f"The group `{name}` of the configuration."
        found.append(_values_node(family, name.capitalize(), name, about, fields, group=name))
    if layout.section_fields(family):
        found.append(_section_node(family))
    return [*found, _sample_node(family), _decode_node(family)]


def _lora_node() -> Node:
    fields = layout.shared_fields(layout.LORA)
    return Node(
        id="ReelwrightLora",
        title="Reelwright: LoRA",
        about="A LoRA, LoHa or LoKr file, after those that come before it.",
        category=_CATEGORY,
        required=partial(lora_inputs, fields),
        optional=lambda: {"before": (_LORAS, {"tooltip": "LoRAs that are applied before this one."})},
        outputs={"loras": _LORAS},
        run=lambda given: ((*given.get("before", ()), given),),
        changes_with=lambda given: _file_facts([host.model_file("loras", given["lora"])]),
    )


def _execution_node() -> Node:
    fields = layout.shared_fields(layout.EXECUTION)
    return Node(
        id="ReelwrightExecution",
        title="Reelwright: execution",
        about="How a model runs; never what it computes.",
        category=_CATEGORY,
        optional=partial(inputs_of, fields),
        outputs={"execution": _EXECUTION_TYPE},
        run=lambda given: (values_of(fields, given),),
    )


def _model_node(family: str) -> Node:
    fields = layout.fields_of(family, layout.MODEL)

    def optional() -> dict[str, Input]:
        inputs = inputs_of(fields)
        variants = [variant.name for variant in families.configs(family).VARIANTS]
        folders = [name for name in host.model_folders() if name not in variants]
        inputs["model"] = ([*variants, *folders], inputs["model"][1])
        links: dict[str, Input] = {
            "loras": (_LORAS, {"tooltip": "A stack of LoRA nodes."}),
            "execution": (_EXECUTION_TYPE, {"tooltip": "How the model runs; without it, as is usual."}),
        }
        return {"model": inputs.pop("model"), "folder": _FOLDER, **inputs, **links}

    return Node(
        id=node_id(family, layout.MODEL),
        title=f"{layout.title(family)}: load model",
        about="Find a model and check its files. It is loaded when it is first needed, and then stays.",
        category=f"{_CATEGORY}/{layout.title(family)}",
        optional=optional,
        outputs={"model": type_of(family, layout.MODEL)},
        run=partial(_load_model, family, fields),
        changes_with=lambda given: _file_facts(_paths_in(_model_values(family, fields, given))),
    )


def _model_values(family: str, fields: Sequence[FieldFacts], given: Given) -> Values:
    values = values_of(fields, given)
    variants = [variant.name for variant in families.configs(family).VARIANTS]
    if (name := given.get("model", "")) and name not in variants:
        values["model"] = host.model_folders().get(name, name)
    if folder := str(given.get("folder", "")).strip():
        values["model"] = folder
    execution = {"execution": given["execution"]} if given.get("execution") else {}
    return {**values, **lora_values(given.get("loras") or ()), **execution}


def _load_model(family: str, fields: Sequence[FieldFacts], given: Given) -> tuple[Any]:
    from reelwright.comfy.making import ModelChoice, find_model  # noqa: PLC0415 - torch where it is needed

    choice = ModelChoice(family=family, values=_model_values(family, fields, given))
    find_model(choice)
    return (choice,)


def _values_node(
    family: str, role: str, name: str, about: str, fields: Sequence[FieldFacts], *, group: str = ""
) -> Node:
    """A node that only holds values."""

    def run(given: Given) -> tuple[Values]:
        values = values_of(fields, given)
        return ({group: values} if group else values,)

    def optional() -> dict[str, Input]:
        rate = {CLIP_RATE: _CLIP_RATE} if role == layout.CLIPS else {}
        return {**inputs_of(fields), **rate}

    return Node(
        id=node_id(family, role),
        title=f"{layout.title(family)}: {name}",
        about=about,
        category=f"{_CATEGORY}/{layout.title(family)}",
        optional=optional,
        outputs={name.replace(" ", "_"): type_of(family, role)},
        run=run,
    )


def _section_node(family: str) -> Node:
    fields, kind = layout.section_fields(family), type_of(family, layout.SECTION)
    before: Input = (kind, {"tooltip": "The sections that come before this one."})
    return Node(
        id=node_id(family, layout.SECTION),
        title=f"{layout.title(family)}: section",
        about="A part of a long video, after those that come before it.",
        category=f"{_CATEGORY}/{layout.title(family)}",
        optional=lambda: {"before": before, **inputs_of(fields)},
        outputs={"sections": kind},
        run=lambda given: ((*given.get("before", ()), values_of(fields, given)),),
    )


def _sample_node(family: str) -> Node:
    fields = layout.fields_of(family, layout.SAMPLE)
    links = _links(family)

    def optional() -> dict[str, Input]:
        inputs = inputs_of(fields)
        for name, told in _SHOWN_OTHERWISE.items():
            inputs[name] = (inputs[name][0], {**inputs[name][1], **told})
        return {**{name: (kind, {}) for name, kind in links.items()}, **inputs}

    return Node(
        id=node_id(family, layout.SAMPLE),
        title=f"{layout.title(family)}: sample",
        about="Make the latents of a clip. They are on disk before anything else is done with them.",
        category=f"{_CATEGORY}/{layout.title(family)}",
        required=lambda: {"model": (type_of(family, layout.MODEL), {"tooltip": "From its load node."})},
        optional=optional,
        outputs={"samples": "LATENT"},
        run=partial(_sample, family, fields, tuple(links)),
    )


def _links(family: str) -> dict[str, str]:
    """The nodes with values that a sample node takes, by the name of the input."""
    roles = (layout.TEXT, layout.IMAGES, layout.CLIPS, layout.ONE_FRAME, layout.OPTIONS)
    there = [role for role in roles if layout.fields_of(family, role)]
    there += [name.capitalize() for name in layout.groups_of(family)]
    found = {("single_frames" if role == layout.ONE_FRAME else role.lower()): role for role in there}
    if layout.section_fields(family):
        found["sections"] = layout.SECTION
    return {name: type_of(family, role) for name, role in found.items()}


def _sample(family: str, fields: Sequence[FieldFacts], links: Sequence[str], given: Given) -> tuple[Any]:
    from reelwright.comfy.making import make_latents  # noqa: PLC0415 - torch only where it is needed
    from reelwright.comfy.stories import keep_story  # noqa: PLC0415 - as above

    told = {**_OWN_DEFAULTS, **given}
    values: Values = values_of(fields, told)
    for name in links:
        match given.get(name):
            case tuple() as parts if (schema := layout.story(family)) is not None:
                values[schema.field] = str(keep_story(schema, parts))
            case dict() as more:
                values |= more
            case _:
                pass
    return ({"samples": make_latents(given["model"], values)},)


def _decode_node(family: str) -> Node:
    return Node(
        id=node_id(family, layout.DECODE),
        title=f"{layout.title(family)}: decode",
        about="See latents. Where memory runs out, in smaller tiles.",
        category=f"{_CATEGORY}/{layout.title(family)}",
        required=lambda: {
            "model": (type_of(family, layout.MODEL), {"tooltip": "The model that made the latents."}),
            "samples": ("LATENT", {"tooltip": "Latents of a sample node, or others of this kind of model."}),
        },
        outputs={"images": "IMAGE", "fps": "FLOAT"},
        run=_decode,
    )


def _decode(given: Given) -> tuple[Any, float]:
    from reelwright.comfy.making import made_of, see_latents  # noqa: PLC0415 - torch where it is needed

    images = see_latents(given["model"], given["samples"]["samples"])
    made = made_of(images)
    return images, made.fps if made is not None else 0.0


def _save_node() -> Node:
    fields = layout.shared_fields(layout.SAVE)
    rate: Input = (
        "FLOAT",
        {"default": 0.0, "min": 0.0, "max": 1000.0, "tooltip": "0 takes the clip's own rate."},
    )
    prefix: Input = (
        "STRING",
        {"default": "reelwright/clip", "tooltip": "Folder and start of the file's name."},
    )
    return Node(
        id="ReelwrightSave",
        title="Reelwright: save",
        about="Write a clip with the record from which `reelwright replay` makes it again, and the workflow.",
        category=_CATEGORY,
        required=lambda: {"images": ("IMAGE", {"tooltip": "Frames from a decode node, or any others."})},
        optional=lambda: {"filename_prefix": prefix, "fps": rate, **inputs_of(fields)},
        hidden={"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        outputs={"path": "STRING"},
        run=partial(_save, fields),
        is_output=True,
    )


def _save(fields: Sequence[FieldFacts], given: Given) -> dict[str, Any]:
    from reelwright.comfy.saving import save_frames  # noqa: PLC0415 - torch only where it is needed

    saved = save_frames(
        given["images"],
        prefix=given.get("filename_prefix", "reelwright/clip"),
        fps=given.get("fps", 0.0),
        values=values_of(fields, given),
        hidden=[("prompt", given.get("prompt")), *(given.get("extra_pnginfo") or {}).items()],
    )
    return {"ui": saved.shown, "result": (str(saved.path),)}


def _paths_in(values: Values) -> list[str]:
    words = (each for value in values.values() for each in (value if isinstance(value, list) else [value]))
    return [each for each in words if isinstance(each, str)]


def _file_facts(paths: Sequence[str]) -> str:
    """What tells a changed file: of those that are there, in folders too, name, size and time."""
    named = [Path(path) for path in paths]
    inside = [file for path in named if path.is_dir() for file in sorted(path.rglob("*.safetensors"))]
    there = [path for path in (*named, *inside) if path.is_file()]
    return repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in there])
