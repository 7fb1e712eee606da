"""Workflows as ComfyUI's page opens them, drawn from those that its `/prompt` takes.

python -m reelwright.comfy.pages comfyui/example_workflows
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelwright.comfy import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from reelwright.core.paths import write_text_atomic

Prompt = Mapping[str, Mapping[str, Any]]
"""Node -> its class and its inputs, of which a list of two is a link: a node, and which of its outputs."""

_LINKED_KINDS = ("IMAGE", "MASK", "LATENT", "VIDEO")
_COLUMN, _GAP, _WIDTH = 400, 60, 340
_HEAD, _ROW, _PROSE, _PICTURE = 60, 26, 110, 260
_AFTER_SEED, _UPLOAD = "fixed", "image"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the page knows of a kind of node."""

    links: Mapping[str, str]
    """Input -> type of what is linked to it."""
    widgets: Mapping[str, Mapping[str, Any]]
    """Input -> how it is shown."""
    outputs: Mapping[str, str]


def draw(prompt: Prompt) -> dict[str, Any]:
    """The workflow with a place for every node, and every value that is not said as it usually is."""
    shapes = {key: shape_of(node["class_type"]) for key, node in prompt.items()}
    links = _links(prompt, shapes)
    places = _places(prompt, shapes)
    nodes = [
        _node(key, order, node, shapes[key], places[key], links)
        for order, (key, node) in enumerate(prompt.items())
    ]
    return {
        "last_node_id": max(map(int, prompt)),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def shape_of(kind: str) -> Shape:
    """What the page knows of a node here, or of one of ComfyUI's own that examples use."""
    if kind in _OTHERS:
        return _OTHERS[kind]
    known = NODE_CLASS_MAPPINGS[kind]
    found: Mapping[str, Mapping[str, Any]] = known.INPUT_TYPES()  # pyright: ignore[reportAttributeAccessIssue]
    inputs = {**found["required"], **found.get("optional", {})}
    linked = {name: told[0] for name, told in inputs.items() if _is_linked(told[0])}
    names: Sequence[str] = known.RETURN_NAMES  # pyright: ignore[reportAttributeAccessIssue]
    kinds: Sequence[str] = known.RETURN_TYPES  # pyright: ignore[reportAttributeAccessIssue]
    return Shape(
        links=linked,
        widgets={name: told[1] for name, told in inputs.items() if name not in linked},
        outputs=dict(zip(names, kinds, strict=True)),
    )


def _is_linked(kind: Any) -> bool:  # noqa: ANN401 - a type, or a list of choices
    return isinstance(kind, str) and (kind.startswith("REELWRIGHT") or kind.split(",")[0] in _LINKED_KINDS)


_OTHERS = {
    "LoadImage": Shape(
        links={},
        widgets={"image": {"default": "example.png", "image_upload": True}},
        outputs={"IMAGE": "IMAGE", "MASK": "MASK"},
    ),
    "LoadVideo": Shape(
        links={}, widgets={"file": {"default": "", "image_upload": True}}, outputs={"VIDEO": "VIDEO"}
    ),
    "RepeatImageBatch": Shape(
        links={"image": "IMAGE"}, widgets={"amount": {"default": 1}}, outputs={"IMAGE": "IMAGE"}
    ),
    "ImageInvert": Shape(links={"image": "IMAGE"}, widgets={}, outputs={"IMAGE": "IMAGE"}),
}


def _links(prompt: Prompt, shapes: Mapping[str, Shape]) -> list[list[Any]]:
    """Each as the page writes it: number, from where, which output, to where, which input, type."""
    links: list[list[Any]] = []
    for key, node in prompt.items():
        for slot, name in enumerate(shapes[key].links):
            if name in node["inputs"]:
                source, output = node["inputs"][name]
                kind = list(shapes[source].outputs.values())[output]
                links.append([len(links) + 1, int(source), output, int(key), slot, kind])
    return links


def _node(
    key: str,
    order: int,
    node: Mapping[str, Any],
    shape: Shape,
    place: tuple[int, int],
    links: Sequence[Sequence[Any]],
) -> dict[str, Any]:
    number, kind = int(key), node["class_type"]
    arriving = {link[4]: link[0] for link in links if link[3] == number}
    leaving = {at: [link[0] for link in links if link[1] == number and link[2] == at] for at in range(8)}
    return {
        "id": number,
        "type": kind,
        "pos": list(place),
        "size": [_WIDTH, _height(shape)],
        "flags": {},
        "order": order,
        "mode": 0,
        "title": NODE_DISPLAY_NAME_MAPPINGS.get(kind, kind),
        "inputs": [
            {"name": name, "type": told, "link": arriving.get(slot)}
            for slot, (name, told) in enumerate(shape.links.items())
        ],
        "outputs": [
            {"name": name, "type": told, "links": leaving[slot] or None, "slot_index": slot}
            for slot, (name, told) in enumerate(shape.outputs.items())
        ],
        "properties": {"Node name for S&R": kind},
        "widgets_values": _widget_values(shape, node["inputs"]),
    }


def _widget_values(shape: Shape, given: Mapping[str, Any]) -> list[Any]:
    """In the order of the widgets; what the page adds of its own, after the widget that it belongs to."""
    values: list[Any] = []
    for name, told in shape.widgets.items():
        values.append(given.get(name, told.get("default")))
        if told.get("control_after_generate"):
            values.append(_AFTER_SEED)
        if told.get("image_upload"):
            values.append(_UPLOAD)
    return values


def _places(prompt: Prompt, shapes: Mapping[str, Shape]) -> dict[str, tuple[int, int]]:
    """Each node in the column before the first that it is linked to; in a column one below the other."""
    columns: dict[str, int] = {}
    for key, node in reversed(
        list(prompt.items())
    ):  # in which nodes come after those that they are linked to
        own = columns.setdefault(key, 0)
        for name in shapes[key].links:
            if name in node["inputs"]:
                source = node["inputs"][name][0]
                columns[source] = min(columns.get(source, 0), own - 1)
    first = min(columns.values())
    bottoms: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for key in prompt:
        top = bottoms.get(columns[key], 0)
        places[key] = ((columns[key] - first) * _COLUMN, top)
        bottoms[columns[key]] = top + _height(shapes[key]) + _GAP
    return places


def _height(shape: Shape) -> int:
    prose = sum(_PROSE for told in shape.widgets.values() if told.get("multiline"))
    prose += sum(_PICTURE for told in shape.widgets.values() if told.get("image_upload"))
    rows = max(len(shape.links), len(shape.outputs)) + len(shape.widgets)
    return _HEAD + _ROW * rows + prose


if __name__ == "__main__":
    for source in sorted(Path(sys.argv[1]).glob("api/*.json")):
        page = draw(json.loads(source.read_text(encoding="utf-8")))
        target = source.parents[1] / source.name
        write_text_atomic(target, json.dumps(page, indent=1, ensure_ascii=False) + "\n")
