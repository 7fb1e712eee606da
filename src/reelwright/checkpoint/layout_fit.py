"""How the tensors of a file meet those that a network needs, found out before any weights are read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reelwright.checkpoint.key_map import KeyMap, Located
from reelwright.checkpoint.scales import is_beside_weights
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError

Shape = tuple[int, ...]

_NUM_SHOWN = 5
_LORA_NAME = re.compile(r"lora_[ABab]\b|lora_(down|up|embedding)|\.lora\.|hada_w|lokr_w|\.alpha$")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The outcome of laying one layout over a file."""

    layout: KeyMap
    located: dict[str, Located]
    """By our name; the file's name is as it stands in the file, with its prefix."""
    num_needed: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mis_shaped: tuple[str, ...]
    """Each with the shape in the file and the shape needed."""

    @property
    def is_complete(self) -> bool:
        return not (self.missing or self.unexpected or self.mis_shaped)

    @property
    def num_matched(self) -> int:
        return self.num_needed - len(self.missing) - len(self.mis_shaped)


def detect_layout(source: TensorSource, layouts: Sequence[KeyMap], expected: Mapping[str, Shape]) -> KeyMap:
    """The layout under which a file holds exactly the tensors that are expected, by our name and shape.

    Raises CheckpointError that lists what does not fit under the layout that came closest.
    """
    fits = [fit_layout(source, layout, expected) for layout in layouts]
    # The most matches win, not the fewest strangers: a wrong layout may claim nothing and drop everything.
    best = max(fits, key=lambda fit: (fit.is_complete, fit.num_matched, -len(fit.unexpected)))
    check_fit(source, best)
    return best.layout


def fit_layout(source: TensorSource, layout: KeyMap, expected: Mapping[str, Shape]) -> Fit:
    """Lay one layout over the names and shapes of a file. Nothing is read."""
    weights = [name for name in source.names() if not is_beside_weights(name)]
    actual_names = {layout.without_prefix(name): name for name in weights}
    located: dict[str, Located] = {}
    missing: list[str] = []
    mis_shaped: list[str] = []
    claimed: set[str] = set()
    for our_name, shape in expected.items():
        place = layout.locate(our_name)
        if place is None or place.file_name not in actual_names:
            missing.append(place.file_name if place else our_name)
            continue
        claimed.add(place.file_name)
        actual_name = actual_names[place.file_name]
        in_file = source.shape(actual_name)
        if _shape_of_parts(in_file, place) == shape:
            located[our_name] = Located(actual_name, place.parts, place.of)
        else:
            mis_shaped.append(f"{actual_name} is {list(in_file)}, needed is {_needed_shape(shape, place)}")
    strangers = [
        actual_name
        for name, actual_name in actual_names.items()
        if name not in claimed and not layout.drops(name)
    ]
    return Fit(
        layout=layout,
        located=located,
        num_needed=len(expected),
        missing=tuple(missing),
        unexpected=tuple(strangers),
        mis_shaped=tuple(mis_shaped),
    )


def check_fit(source: TensorSource, fit: Fit) -> None:
    """Raise CheckpointError unless every tensor needed is there, with its shape, and no other."""
    if is_lora(source.names()):
        raise CheckpointError(
            f"{source.origin}: this is a LoRA, not a whole model."
            " Give the model here and this file as a LoRA beside it."
        )
    if not fit.is_complete:
        raise CheckpointError(_explain(source, fit))


def is_lora(names: Sequence[str]) -> bool:
    """Whether most tensors of a file are called as those of adapters are."""
    return sum(bool(_LORA_NAME.search(name)) for name in names) > len(names) // 2


def check_not_quantized(source: TensorSource, file_names: Iterable[str]) -> None:
    """Raise CheckpointError if tensors that must be fractional numbers are whole numbers in the file."""
    whole = [name for name in file_names if not source.dtype(name).is_floating_point]
    if whole:
        raise CheckpointError(
            f"{source.origin}: {_listed('quantized to integers', whole)}. Such files cannot be read."
            " Use a bfloat16, fp8 or GGUF file; --execution.weights int8 rounds one while it is loaded."
        )


def _explain(source: TensorSource, fit: Fit) -> str:
    lines = [
        f"{source.origin}: the tensors do not fit this model. The closest known layout is {fit.layout.name}:"
        f" {fit.num_matched} of {fit.num_needed} tensors match."
    ]
    kinds = {"missing": fit.missing, "of another shape": fit.mis_shaped, "unexpected": fit.unexpected}
    lines += [f"  {_listed(kind, found)}" for kind, found in kinds.items() if found]
    lines.append(_advice(fit))
    return "\n".join(lines)


def _listed(kind: str, names: Sequence[str]) -> str:
    shown = "; ".join(names[:_NUM_SHOWN])
    return f"{len(names)} {kind}: {shown}{'; …' if len(names) > _NUM_SHOWN else ''}"


def _advice(fit: Fit) -> str:
    if fit.num_matched == 0:
        return (
            "This is another part or another model altogether. Give the file of the part that is asked for."
        )
    if fit.mis_shaped:
        return "This is another size or variant of the model. Choose the variant that the file belongs to."
    if fit.missing:
        return "The file is of another variant, or is incomplete. Choose its variant, or fetch it again."
    return "The file holds more than this variant has. Choose the variant that it belongs to."


def _shape_of_parts(shape: Shape, place: Located) -> Shape | None:
    """The shape of our chunks of a tensor; None if it cannot be cut so."""
    if place.of == 1:
        return shape
    if not shape or shape[0] % place.of:
        return None
    return (shape[0] // place.of * len(place.parts), *shape[1:])


def _needed_shape(shape: Shape, place: Located) -> list[int]:
    """The shape the whole tensor of the file should have for our chunks of it to have `shape`."""
    return list(shape) if place.of == 1 else [shape[0] // len(place.parts) * place.of, *shape[1:]]
