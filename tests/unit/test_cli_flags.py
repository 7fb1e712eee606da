"""Flags drawn from a schema, and the help page that lists them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Le

from reelwright.cli.flags import flags_of, parse_flags
from reelwright.cli.help_page import help_page
from reelwright.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Engine:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    tiling: bool = False
    """Work in tiles."""
    dtype: Literal["auto", "float32"] = "auto"
    """Number format."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Makes things."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    prompt: str = ""
    """What to show."""
    image: Path | None = None
    """The first frame."""
    num_frames: Annotated[int, Ge(0)] = 0
    """Frames of video."""
    scale: Annotated[float, Ge(0.5), Le(9.0)] = 6.0
    """How strongly."""
    sampler: Literal["auto"] | Literal["ddim"] = "auto"
    """Which way."""
    metadata: bool = True
    """Write the recipe into every file."""
    engine: Engine = field(default_factory=Engine)
    """How it runs."""


def problems_of(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_flags(arguments, Recipe())
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), Recipe()),
        (("--prompt", "a red fox"), Recipe(prompt="a red fox")),
        (("--prompt=--bold", "--image", "a b.png"), Recipe(prompt="--bold", image=Path("a b.png"))),
        (("--prompt", "-5"), Recipe(prompt="-5")),
        (("--num-frames", "49"), Recipe(num_frames=49)),
        (("--num_frames=49",), Recipe(num_frames=49)),
        (("--scale", "7"), Recipe(scale=7.0)),
        (("--no-metadata",), Recipe(metadata=False)),
        (("--no-metadata", "--metadata"), Recipe(metadata=True)),
        (("--metadata=false",), Recipe(metadata=False)),
        (("--sampler", "ddim"), Recipe(sampler="ddim")),
        (
            ("--engine.tiling", "--engine.dtype", "float32"),
            Recipe(engine=Engine(tiling=True, dtype="float32")),
        ),
        (("--engine.no-tiling",), Recipe()),
    ],
)
def test_flags_set_fields(arguments, expected):
    assert parse_flags(arguments, Recipe()).config == expected


def test_flags_go_over_the_given_default_and_an_empty_word_unsets_a_path():
    default = Recipe(image=Path("fox.png"), num_frames=9, engine=Engine(tiling=True))
    parsed = parse_flags(["--engine.dtype", "float32", "--image", ""], default)
    assert parsed.config == Recipe(num_frames=9, engine=Engine(tiling=True, dtype="float32"))


def test_words_that_belong_to_no_flag_are_kept_in_order():
    assert parse_flags(["a.toml", "--metadata", "b.toml", "--prompt", "c"], Recipe()).words == (
        "a.toml",
        "b.toml",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--num-frame", "3"), "--num-frame: unknown flag. Did you mean --num-frames?"),
        (("--no-metadat",), "--no-metadat: unknown flag. Did you mean --no-metadata?"),
        (("--engine.tilin",), "--engine.tilin: unknown flag. Did you mean --engine.tiling?"),
        (("--foo", "3"), "--foo: unknown flag. See --help."),
        (("-x",), "-x: unknown flag. See --help."),
        (
            ("--prompt",),
            "--prompt: has no value. Give one after it, or as --prompt=VALUE if it starts with --.",
        ),
        (("--num-frames", "x"), "num_frames: 'x' is not a whole number."),
        (("--num-frames", "-1"), "num_frames: -1 is too small. Use 0 or more."),
        (("--scale", "nan"), "scale: nan is not finite. Use a number."),
        (("--sampler", "dim"), "sampler: 'dim' is not one of auto, ddim. Did you mean ddim?"),
        (("--metadata=maybe",), "metadata: 'maybe' is not true or false."),
    ],
)
def test_a_wrong_flag_is_named_with_the_nearest_right_one(arguments, line):
    assert problems_of(*arguments) == [f"command line: {line}"]


def test_all_wrong_flags_are_told_at_once():
    problems = problems_of("--num-frame", "3", "--scale", "10", "--sampler", "x", "--prompt")
    keys = [problem.split(": ")[1] for problem in problems]
    assert sorted(keys) == ["--num-frame", "--prompt", "sampler", "scale"]


def test_the_help_page_shows_each_flag_with_its_values_bounds_and_default():
    page = help_page("make", "Makes things.", flags_of(Recipe()), {"prompt": "Words", "num_frames": "Size"})
    assert page.startswith("usage: reelwright make\n\nMakes things.\n\nWords:\n  --prompt TEXT")
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert "--num-frames N Frames of video. (default 0)" in lines
    assert "--scale X How strongly. (0.5 to 9; default 6.0)" in lines
    assert "--sampler auto|ddim Which way. (default auto)" in lines
    assert "--[no-]metadata Write the recipe into every file. (on by default)" in lines
    assert (
        page.index("Size:")
        < page.index("--num-frames")
        < page.index("Engine:")
        < page.index("--engine.dtype")
    )


def test_the_help_page_fits_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "64")
    page = help_page("make", "Makes things.", flags_of(Recipe()), {})
    assert max(map(len, page.splitlines())) <= 64
