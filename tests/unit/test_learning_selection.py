"""Which modules learn: presets, patterns over whole names, ranks and alphas by pattern."""

import pytest

from reelwright.adapters.learning.selection import select_modules
from reelwright.core.errors import ConfigError
from reelwright.families.framepack.lora_layouts import released_targets
from reelwright.protocols.train_configs import AdapterConfig

from .lora_networks import SUBJECTS

CONTROL = SUBJECTS["cogvideox"].targets
PACKED = SUBJECTS["framepack"].targets


def selected(network=CONTROL, **options: object) -> dict[str, tuple[int, float]]:
    sizes = select_modules(network, AdapterConfig(**options))  # pyright: ignore
    return {module: (each.rank, each.alpha) for module, each in sizes.items()}


def numbers(text: str, count: int) -> list[str]:
    return [text.format(index) for index in range(count)]


def test_usual_modules_are_those_that_peers_train():
    assert list(selected()) == [
        f"blocks.{i}.attention.{part}" for i in range(2) for part in ("query", "key", "value", "output")
    ]
    released = next(each for each in released_targets() if each.name.endswith("released"))
    assert len(selected(released)) == 440


def test_attention_leaves_feed_forward_layers_out():
    usual, attention = selected(PACKED), selected(PACKED, targets="attention")
    assert set(usual) - set(attention) == {
        *(
            f"double_blocks.{i}.{stream}.feed_forward.{part}"
            for i in range(2)
            for stream in ("video", "text")
            for part in ("expand", "contract")
        ),
        *numbers("single_blocks.{}.expand", 2),
    }
    assert set(attention) < set(usual)
    assert selected(targets="attention") == selected()


def test_all_linear_layers_are_those_of_the_blocks():
    own = selected(targets="all")
    assert set(own) - set(selected()) == {
        f"blocks.{i}.{part}"
        for i in range(2)
        for part in ("norm1.modulation", "norm2.modulation", "feed_forward.expand", "feed_forward.contract")
    }
    packed = selected(PACKED, targets="all")
    assert set(packed) - set(selected(PACKED)) == {
        *numbers("double_blocks.{}.video.modulation", 2),
        *numbers("double_blocks.{}.text.modulation", 2),
        *numbers("single_blocks.{}.modulation", 2),
    }


def test_patterns_are_of_whole_names_ours_or_released():
    assert selected(exclude=(r".*\.(query|key|value)",)).keys() == {
        "blocks.0.attention.output",
        "blocks.1.attention.output",
    }
    assert selected(exclude=(r"transformer_blocks\.0\..*",)).keys() == {
        f"blocks.1.attention.{part}" for part in ("query", "key", "value", "output")
    }
    assert "patch_embedding.projection" in selected(include=(r"patch_embed\.proj",))


def test_what_is_included_is_trained_though_it_is_excluded():
    chosen = selected(PACKED, exclude=(".*",), include=(r"single_blocks\.1\.expand", ".*norm1.linear"))
    assert list(chosen) == [*numbers("double_blocks.{}.video.modulation", 2), "single_blocks.1.expand"]


def test_the_first_pattern_that_fits_gives_the_size():
    chosen = selected(
        rank=4,
        alpha=2.0,
        rank_pattern=(r"blocks\.0\..*=8", r".*\.key=16"),
        alpha_pattern=(r".*attn1\.to_q=0.5", r"(?P<x>.*)\.value=0"),
    )
    assert chosen["blocks.0.attention.key"] == (8, 2.0)
    assert chosen["blocks.1.attention.key"] == (16, 2.0)
    assert chosen["blocks.1.attention.query"] == (4, 0.5)
    assert chosen["blocks.0.attention.value"] == (8, 8.0)
    assert selected(rank=4, rank_pattern=(r".*\.key=16",))["blocks.1.attention.key"] == (16, 16.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include": ("(",)}, r"include: '\(' is no regular expression"),
        ({"exclude": ("attention",)}, r"only a part of blocks.0.attention.query, .*Try '.\*attention.\*'"),
        ({"include": (r"blocks\.\d+\.atention\.query",)}, r"Did you mean blocks.0.attention.query\?"),
        ({"include": ("zzz",)}, "Names look like"),
        ({"exclude": (".*",)}, "they leave no module"),
        ({"rank_pattern": (r".*\.contract=3",)}, "rank_pattern: .* is the whole name of no module"),
        ({"rank_pattern": ("query",)}, "is not PATTERN=N with a whole number from 1"),
        ({"rank_pattern": (".*=0",)}, "is not PATTERN=N with a whole number"),
        ({"rank_pattern": (".*=1.5",)}, "is not PATTERN=N with a whole number"),
        ({"alpha_pattern": (".*=-1",)}, "is not PATTERN=N with a number from 0"),
        ({"alpha_pattern": (".*=nan",)}, "is not PATTERN=N with a number from 0"),
    ],
    ids=lambda value: "-".join(f"{k}={v[0]}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_patterns_that_do_nothing_are_errors(options: dict[str, object], said: str):
    with pytest.raises(ConfigError, match=said):
        selected(**options)
