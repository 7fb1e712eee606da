"""Command lines and help pages drawn from a schema, and what a wrong word is answered with."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Le

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.core.config import validate
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
    sampler: Literal["auto"] | Literal["zebra", "ddim", "apple"] = "auto"
    """Which way."""
    metadata: bool = True
    """Write the recipe into every file."""
    engine: Engine = field(default_factory=Engine)
    """How it runs."""


def read(*arguments: str, default: Recipe | None = None) -> Recipe:
    line = read_command_line(Recipe, arguments, command="make", about="Makes things.", default=default)
    return validate(line, ORIGIN)


def problems_of(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(*arguments)
    return str(caught.value).splitlines()


@pytest.fixture
def page(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert not caught.value.code
    return " ".join(capsys.readouterr().out.replace("│", "").split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), Recipe()),
        (("--prompt", "a red fox"), Recipe(prompt="a red fox")),
        (("--prompt=--bold", "--image", "a b.png"), Recipe(prompt="--bold", image=Path("a b.png"))),
        (("--prompt=-foo",), Recipe(prompt="-foo")),
        (("--prompt", "-5"), Recipe(prompt="-5")),
        (("--prompt", ""), Recipe(prompt="")),
        (("--num-frames", "49"), Recipe(num_frames=49)),
        (("--num_frames=49",), Recipe(num_frames=49)),
        (("--scale", "7"), Recipe(scale=7.0)),
        (("--no-metadata",), Recipe(metadata=False)),
        (("--no-metadata", "--metadata"), Recipe(metadata=True)),
        (("--sampler", "ddim"), Recipe(sampler="ddim")),
        (
            ("--engine.tiling", "--engine.dtype", "float32"),
            Recipe(engine=Engine(tiling=True, dtype="float32")),
        ),
        (("--engine.no-tiling",), Recipe()),
    ],
)
def test_flags_set_fields(arguments: tuple[str, ...], expected: Recipe):
    assert read(*arguments) == expected


def test_flags_go_over_the_given_default_and_none_unsets_a_path():
    default = Recipe(image=Path("fox.png"), num_frames=9, engine=Engine(tiling=True))
    line = read("--engine.dtype", "float32", "--image", "None", default=default)
    assert line == Recipe(num_frames=9, engine=Engine(tiling=True, dtype="float32"))


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--num-frame", "--num-frames"),
        ("--no-metadat", "--no-metadata"),
        ("--promt", "--prompt"),
        ("--engine.tilin", "--engine.tiling"),
        ("--tiling", "--engine.tiling"),
    ],
)
def test_a_misspelt_flag_is_named_with_the_nearest_right_one(word: str, meant: str):
    first, *others = problems_of(word)
    assert first == f"Unrecognized options: {word}"
    assert any(meant in line for line in others)


@pytest.mark.parametrize("word", ["--qqqq", "-x", "stray"])
def test_a_word_that_is_like_no_flag_leads_to_the_help(word: str):
    assert problems_of(word) == [
        f"Unrecognized options: {word}",
        "For full helptext, run reelwright make --help",
    ]


@pytest.mark.parametrize("arguments", [("--prompt",), ("--prompt", "--metadata"), ("--prompt", "--no-such")])
def test_a_flag_without_its_value_is_named(arguments: tuple[str, ...]):
    assert "'--prompt'" in problems_of(*arguments)[0]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_complaints_are_plain_text(monkeypatch: pytest.MonkeyPatch, encoding: str):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    lines = problems_of("--promt")
    assert lines == [
        "Unrecognized options: --promt",
        "Perhaps you meant:",
        "    --prompt STR",
        "        What to show. (default: '')",
        "For full helptext, run reelwright make --help",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--num-frames", "x"), "num_frames: 'x' is not a whole number."),
        (("--num-frames", "1.5"), "num_frames: '1.5' is not a whole number."),
        (("--num-frames", "-1"), "num_frames: -1 is too small. Use 0 or more."),
        (("--scale", "much"), "scale: 'much' is not a number."),
        (("--scale", "nan"), "scale: nan is not finite. Use a number."),
        (("--sampler", "dim"), "sampler: 'dim' is not one of auto, zebra, ddim, apple. Did you mean ddim?"),
    ],
)
def test_a_wrong_value_is_named_with_the_nearest_right_one(arguments: tuple[str, ...], line: str):
    assert problems_of(*arguments) == [f"command line: {line}"]


def test_all_wrong_values_are_told_at_once():
    problems = problems_of("--num-frames", "x", "--scale", "10", "--sampler", "x", "--engine.dtype", "int")
    keys = [problem.split(": ")[1] for problem in problems]
    assert sorted(keys) == ["engine.dtype", "num_frames", "sampler", "scale"]


def test_the_help_page_shows_each_flag_with_its_values_meaning_and_default(page: str):
    assert page.startswith("usage: reelwright make [-h] [OPTIONS] Makes things.")
    assert "--prompt STR What to show. (default: '')" in page
    assert "--num-frames INT Frames of video. (default: 0)" in page
    assert "--scale FLOAT How strongly. (default: 6.0)" in page
    assert "--metadata, --no-metadata Write the recipe into every file. (default: True)" in page
    assert page.index("--metadata") < page.index("engine options") < page.index("--engine.dtype")


def test_the_help_page_lists_choices_in_the_order_of_the_schema(page: str):
    assert "--sampler {auto,zebra,ddim,apple} Which way. (default: auto)" in page


def test_the_help_page_names_the_flags_of_every_command(page: str):
    assert all(flag in page for flag in ("--json", "--quiet", "--debug"))


def test_the_boxes_of_the_help_page_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "64")
    with pytest.raises(SystemExit):
        read("--help")
    _, flags = capsys.readouterr().out.split("--flag=-value.")
    assert "--num-frames" in flags
    assert max(map(len, flags.splitlines())) <= 64
