"""What nodes that only hold values hand on: parts of a configuration, with pictures in files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reelwright.comfy import host
from reelwright.comfy.layout import FROM_LATENTS, MASKS, MOVING, PICTURES
from reelwright.comfy.schema import NOTHING, Input, input_of, tooltip_of, value_of
from reelwright.core.errors import ConfigError
from reelwright.core.schema_fields import FieldFacts

if TYPE_CHECKING:
    from torch import Tensor

Given = Mapping[str, Any]
Values = dict[str, Any]

CLIP_RATE = "clip_fps"
"""Of a node with clips: how fast images follow each other that have no rate of their own."""
_FILE_KINDS = {
    "dit": "diffusion_models",
    "vae": "vae",
    "text_encoder": "text_encoders",
    "text_encoder_2": "text_encoders",
    "image_encoder": "clip_vision",
    "lora": "loras",
}
"""Field -> what ComfyUI calls the folders with such files."""


def inputs_of(fields: Iterable[FieldFacts]) -> dict[str, Input]:
    """The inputs of a node with these fields, by name."""
    return {facts.name: _input(facts) for facts in fields}


def values_of(fields: Iterable[FieldFacts], given: Given) -> Values:
    """What a node's inputs say, as a configuration takes it; what is not given or not chosen is left out."""
    read = {facts.name: _value(facts, given) for facts in fields if given.get(facts.name) is not None}
    return {name: value for name, value in read.items() if value is not None}


def lora_inputs(fields: Sequence[FieldFacts]) -> dict[str, Input]:
    """One file, and what its lists of numbers say of each."""
    one: dict[str, tuple[str, float]] = {"lora_multiplier": ("FLOAT", 1.0), "lora_alpha": ("FLOAT", 0.0)}
    inputs: dict[str, Input] = {}
    for facts in fields:
        about = {"tooltip": " ".join(facts.about.split())}
        if facts.name in one:
            kind, default = one[facts.name]
            least = -100.0 if facts.minimum is None else facts.minimum
            inputs[facts.name] = (kind, {"default": default, "min": least, "max": 1e6, "step": 0.01, **about})
        else:
            inputs[facts.name] = _files(facts)
    return inputs


def lora_values(loras: Sequence[Given]) -> Values:
    """The configuration of a stack of LoRA files."""
    chosen = [each for each in loras if each["lora"] != NOTHING]
    if not chosen:
        return {}
    values: Values = {
        "lora": [host.model_file("loras", each["lora"]) for each in chosen],
        "lora_multiplier": [each["lora_multiplier"] for each in chosen],
    }
    alphas = [each["lora_alpha"] for each in chosen]
    return {**values, "lora_alpha": alphas} if any(alphas) else values


def _input(facts: FieldFacts) -> Input:
    about = {"tooltip": tooltip_of(facts)}
    if not _names_files(facts):
        return input_of(facts)
    if facts.name in PICTURES:
        return "IMAGE", about
    if facts.name in MASKS:
        return "MASK", about
    if facts.name in FROM_LATENTS:
        return "IMAGE,VIDEO,LATENT", about
    if facts.name in MOVING:
        return "IMAGE,VIDEO", about
    return _files(facts) if facts.name in _FILE_KINDS else input_of(facts)


def _files(facts: FieldFacts) -> Input:
    files = host.model_files(_FILE_KINDS[facts.name])
    return [NOTHING, *files], {"default": NOTHING, "tooltip": " ".join(facts.about.split())}


def _value(facts: FieldFacts, given: Given) -> Any:  # noqa: ANN401 - of the field's own type
    value = given[facts.name]
    if not _names_files(facts):
        return value_of(facts, value)
    if facts.name in (*PICTURES, *MASKS):
        return _pictures(facts, value)
    if facts.name in MOVING:
        return _clip(facts.name, value, given.get(CLIP_RATE, 0.0))
    if facts.name in _FILE_KINDS:
        return None if value == NOTHING else host.model_file(_FILE_KINDS[facts.name], value)
    return value_of(facts, value)


def _names_files(facts: FieldFacts) -> bool:
    return "path" in (facts.kind, facts.items)


def _pictures(facts: FieldFacts, images: "Tensor") -> Any:  # noqa: ANN401 - a path, or several
    from reelwright.comfy.pixels import keep_pictures  # noqa: PLC0415 - torch only where it is needed

    paths = [str(path) for path in keep_pictures(images)]
    return paths if facts.kind == "list" else paths[0]


def _clip(name: str, value: Any, fps: float) -> Any:  # noqa: ANN401 - frames, or where they are
    from reelwright.comfy.making import made_of  # noqa: PLC0415 - as above
    from reelwright.comfy.pixels import Frames, clip_of  # noqa: PLC0415 - as above

    if isinstance(value, Mapping):
        made = made_of(value["samples"])  # pyright: ignore[reportUnknownArgumentType] - ComfyUI's LATENT
        if made is None:
            raise ConfigError(
                f"{name}: these latents are of no sample node. Decode them, and give the images."
            )
        return str(made.latents)
    clip = clip_of(value, fps)
    return clip if isinstance(clip, Frames) else str(clip)
