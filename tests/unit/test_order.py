"""Orders: command lines become data, and data become the same calls again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.cli import bench, cache, dataset, generate, lora, plan, train
from reelwright.core.errors import ConfigError, FileError
from reelwright.jobs.order import Order, arguments_of, order_of

FAMILIES = families.names()


def calls_of(family: str) -> list[tuple[str, Mapping[str, object]]]:
    """What command lines of most kinds call."""
    _, made = generate.parse(
        [family, "--prompt", "a fox", "--image", "fox.png", "--execution.tiling", "--lora", "a", "b"]
    )
    _, learned = train.parse([family, "--dataset", "d.toml", "--stage", "encoders", "--steps", "3"])
    _, tuned = train.parse([family, "--dataset", "d.toml", "--adapter.rank", "4", "--seed", "1"])
    _, measured = bench.parse([family, "--prompt", "a fox", "--presets", "fast"])
    redone = {
        "config": replace(made.config, run=Path("run")),
        "section": -1,
        "prompt": None,
        "seed": 4,
        "branch": Path("new"),
    }
    return [
        ("generate", {"family": family, "config": made.config}),
        ("train", {"family": family, "config": learned.config}),
        ("train", {"family": family, "config": tuned.config}),
        ("bench", {"family": family, "config": measured.config, "bench": measured.bench}),
        ("redo", {"family": family, **redone}),
        ("plan", plan.parse(["generate", family, "--gpu", "4090", "--height", "64"])),
        *(
            cache.parse([*words, family, "--dataset", "d.toml"])
            for words in (["latents"], ["text"], ["verify"], ["prune"])
        ),
        *(dataset.parse([action, family, "--dataset", "d.toml"]) for action in ("lint", "preview")),
        dataset.parse(["synth", "clips", "--count", "3"]),
        lora.parse(["inspect", "a.safetensors"]),
        lora.parse(["merge", "a.safetensors", "b.safetensors", "--multipliers", "1", "0.5"]),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_command_line_calls_is_called_again_from_json(family: str):
    for workflow, arguments in calls_of(family):
        order = order_of(workflow, arguments)
        again = Order.from_json(order.to_json(), "a test")
        assert again == order
        called = arguments_of(again)
        assert {name: called[name] for name in arguments} == arguments, workflow
        assert set(called) >= set(arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_order_says_only_what_differs_from_the_defaults(family: str):
    _, line = generate.parse([family, "--prompt", "a fox", "--execution.tiling"])
    order = order_of("generate", {"family": family, "config": line.config})
    assert order.values == {"prompt": "a fox", "execution": {"tiling": True}}
    assert order.options == {}


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"workflow": "generat"}, "unknown workflow. Did you mean generate?"),
        ({"workflow": "generate", "family": "nobody"}, "is no model family"),
        ({"workflow": "doctor", "family": "nobody"}, "is no model family"),
        (
            {"workflow": "train", "family": FAMILIES[0], "values": {"stage": "denoisr"}},
            "Did you mean denoiser?",
        ),
        (
            {"workflow": "cache", "family": FAMILIES[0], "options": {"kind": "latent"}},
            "Did you mean latents?",
        ),
        ({"workflow": "lora", "options": {"action": "inspect"}}, "order: file: is missing"),
        ({"workflow": "redo", "family": FAMILIES[0]}, "order: section: is missing"),
        (
            {"workflow": "lora", "values": {"x": 1}, "options": {"action": "inspect", "file": "a"}},
            "options only",
        ),
        ({"workflow": "generate", "family": FAMILIES[0], "options": {"x": 1}}, "order: x: unknown key"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_in_words(told: dict[str, Any], complaint: str):
    with pytest.raises(ConfigError, match=complaint.replace("?", r"\?")):
        arguments_of(Order(**told))


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '{"workflow": 3}', '{"work": "generate"}', '{"workflow": "a", "values": []}']
)
def test_what_is_no_order_is_told_of(text: str):
    with pytest.raises(FileError, match="here: is no order of a job"):
        Order.from_json(text, "here")


def test_all_problems_of_an_order_are_told_at_once():
    order = Order(workflow="redo", family=FAMILIES[0], values={"stepps": 1}, options={"sektion": 2})
    with pytest.raises(ConfigError) as refused:
        arguments_of(order, "job 1")
    words = str(refused.value)
    assert all(
        f"job 1: {key}" in words for key in ("stepps: unknown", "sektion: unknown", "section: is missing")
    )


def test_values_of_an_order_are_plain_json():
    lines: Sequence[Any] = [order_of(workflow, arguments) for workflow, arguments in calls_of(FAMILIES[0])]
    for order in lines:
        assert json.loads(order.to_json())["values"] == order.values
