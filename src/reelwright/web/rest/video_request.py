"""What callers ask of a video, as an order for the queue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le
from pydantic import Field

from reelwright import families
from reelwright.core.errors import ConfigError, suggestion
from reelwright.jobs.order import Order, arguments_of
from reelwright.protocols.shape_choices import ShapeChoices
from reelwright.web.rest.bodies import ORIGIN
from reelwright.web.uploads import Upload

WORKFLOW = "generate"
"""Jobs of this workflow are videos."""
_FIXED = ("out", "run", "save_merged_model")
"""Fields of the configuration that say where files go, which the studio alone decides."""
_LENGTH = "video_seconds"
"""The field of families that are told lengths in seconds; others are told frames."""
_NEAR = 0.6
"""Seconds by which a length may be off."""


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """A video to be made."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: str
    """A family, or family/variant; the variant may also be a hub id, or a folder that is open to jobs."""
    prompt: str = ""
    """What to show."""
    size: Annotated[str, Field(json_schema_extra={"pattern": "^([1-9][0-9]{0,3}x[1-9][0-9]{0,3})?$"})] = ""
    """WIDTHxHEIGHT in pixels; empty takes the model's own."""
    seconds: (
        Annotated[float, Gt(0.0), Le(36_000.0)]
        | Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]{1,4}([.][0-9]{1,3})?$"})]
        | None
    ) = None
    """Length, as a number or as text; null takes the model's own."""
    seed: Annotated[int, Ge(-1), Le(2**63 - 1)] = -1
    """Where the noise starts; -1 draws one."""
    input_reference: str = ""
    """The id of an upload, a picture or a clip to start from; in a form, the file itself."""
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    """Any other field of the family's configuration, groups as objects; files as upload:ID."""


def order_of_request(request: VideoRequest, upload: Upload | None) -> Order:
    """The order that a request makes, from the file it came with. Raises ConfigError."""
    family, model = _family_and_model(request.model)
    if fixed := [name for name in _FIXED if name in request.config]:
        raise ConfigError(f"{ORIGIN}: config.{fixed[0]}: is decided by the studio. Leave it out.")
    said: dict[str, Any] = {
        "model": model or None,
        "prompt": request.prompt or None,
        "seed": None if request.seed == -1 else request.seed,
        **_size(request.size),
        **(_reference(upload) if upload else {}),
    }
    values = _joined(request.config, said)
    seconds = _seconds(request.seconds)
    if seconds is not None:
        values = _joined(values, _length(family, values, seconds))
    return Order(workflow=WORKFLOW, family=family, values=values)


def shapes_of(family: str, config: object) -> ShapeChoices | None:
    """Which sizes and lengths the model of a configuration makes, where the family can tell."""
    shapes: Callable[[object], ShapeChoices | None] | None = getattr(families.configs(family), "SHAPES", None)
    return None if shapes is None else shapes(config)


def _family_and_model(model: str) -> tuple[str, str]:
    family, _, rest = model.partition("/")
    if family not in families.names():
        raise ConfigError(
            f"{ORIGIN}: model: {model[:200]!r}: begins with no family. {suggestion(family, families.names())}"
        )
    return family, rest


def _joined(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both together. Raises ConfigError for what is said twice."""
    said = {name: value for name, value in more.items() if value is not None}
    if twice := [name for name in said if name in values]:
        raise ConfigError(f"{ORIGIN}: config.{twice[0]}: is said outside of config too. Keep one.")
    return {**values, **said}


def _size(size: str) -> Mapping[str, int]:
    if not size:
        return {}
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and len(size) < 12 and int(width) and int(height)):
        raise ConfigError(f"{ORIGIN}: size: {size[:80]!r} is not WIDTHxHEIGHT. Use such as 720x480.")
    return {"width": int(width), "height": int(height)}


def _seconds(seconds: float | str | None) -> float | None:
    if not isinstance(seconds, str):
        return seconds
    try:
        number = float(seconds)
    except ValueError:
        number = 0.0
    if not 0 < number <= 36_000:
        raise ConfigError(f"{ORIGIN}: seconds: {seconds[:80]!r} is no length. Use a number such as 6.")
    return number


def _length(family: str, values: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
    """What of the family's configuration asks for this length, or for the nearest one that it makes."""
    schema = families.configs(family).GENERATE
    if any(each.name == _LENGTH for each in fields(schema)):
        return {_LENGTH: seconds}
    config = arguments_of(Order(workflow=WORKFLOW, family=family, values=dict(values)), ORIGIN)["config"]
    shapes = shapes_of(family, config)
    if shapes is None:
        raise ConfigError(
            f"{ORIGIN}: seconds: the frame rate of this model is not known before it is read."
            " Say config.num_frames instead."
        )
    length = min(shapes.lengths, key=lambda each: abs(each.seconds - seconds))
    if abs(length.seconds - seconds) > _NEAR:
        known = ", ".join(f"{each.seconds:.3g}" for each in shapes.lengths)
        raise ConfigError(
            f"{ORIGIN}: seconds: this model does not make {seconds:g} seconds. It makes: {known}."
        )
    return length.values


def _reference(upload: Upload) -> Mapping[str, str]:
    if upload.kind not in ("image", "video"):
        raise ConfigError(f"{ORIGIN}: input_reference: is neither a picture nor a clip. Send one of them.")
    return {upload.kind: f"upload:{upload.id}"}
