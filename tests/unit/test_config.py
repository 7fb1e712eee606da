"""Recipes become configurations, and every mistake in them is named at once."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Le
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core.config import field_docs, from_mapping, read_recipe, to_mapping, to_toml, validate
from reelwright.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Engine:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    device: str = "auto"
    """Where to compute."""
    block_swap: Annotated[int, Ge(0)] = 0
    """Blocks that wait in main memory."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    prompt: str = ""
    """What to show,
    in words."""
    image: Path | None = None
    steps: Annotated[int, Ge(1), Le(1000)] = 50
    """Denoising steps."""
    scale: float = 6.0
    strict: bool = False
    sampler: Literal["auto"] | Literal["ddim", "dpm"] = "auto"
    sizes: tuple[int, ...] = (480, 720)
    engine: Engine = field(default_factory=Engine)
    """How it runs."""


@dataclass(frozen=True, kw_only=True)
class OddRecipe(Recipe):
    extra: int = 1
    """An own setting."""

    def __post_init__(self) -> None:
        if self.extra % 2 == 0:
            raise ValueError(f"extra: {self.extra} is even. Nearest: {self.extra + 1}.")


def problems_of(mapping: dict[str, Any], schema: type = Recipe) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_mapping(schema, mapping, "r.toml")
    return str(caught.value).splitlines()


def test_any_subset_of_the_keys_is_a_recipe():
    assert from_mapping(Recipe, {}, "r.toml") == Recipe()
    config = from_mapping(
        Recipe,
        {"image": "fox.png", "scale": 4, "sizes": [16, 32], "engine": {"block-swap": 3}},
        "r.toml",
    )
    expected = Recipe(image=Path("fox.png"), scale=4.0, sizes=(16, 32), engine=Engine(block_swap=3))
    assert config == expected
    assert isinstance(config.scale, float)


def test_keys_go_over_a_default_inside_groups_too():
    default = Recipe(steps=7, image=Path("fox.png"), engine=Engine(device="cuda", block_swap=2))
    config = from_mapping(Recipe, {"steps": 8, "engine": {"block_swap": 9}}, "flags", default)
    assert config == replace(default, steps=8, engine=Engine(device="cuda", block_swap=9))
    assert from_mapping(Recipe, {"image": None}, "flags", default).image is None


@pytest.mark.parametrize(
    ("mapping", "line"),
    [
        ({"stepz": 3}, "r.toml: stepz: unknown key. Did you mean steps?"),
        ({"block_swap": 3}, "r.toml: block_swap: unknown key. Did you mean engine.block_swap?"),
        ({"engine": {"devize": "x"}}, "r.toml: engine.devize: unknown key. Did you mean engine.device?"),
        (
            {"engine": {"prompt": "x"}},
            "r.toml: engine.prompt: unknown key. Keys of engine: device, block_swap."
            " Other keys belong above the first [table].",
        ),
        ({"steps": 0}, "r.toml: steps: 0 is too small. Use 1 or more."),
        ({"steps": 1001}, "r.toml: steps: 1001 is too large. Use 1000 or less."),
        ({"steps": 4.5}, "r.toml: steps: 4.5 is not a whole number."),
        ({"steps": "50"}, "r.toml: steps: '50' is not a whole number."),
        ({"steps": True}, "r.toml: steps: True is not a whole number."),
        ({"scale": "high"}, "r.toml: scale: 'high' is not a number."),
        ({"scale": float("nan")}, "r.toml: scale: nan is not finite. Use a number."),
        ({"strict": 1}, "r.toml: strict: 1 is not true or false."),
        ({"prompt": 3}, "r.toml: prompt: 3 is not text in quotes."),
        ({"sampler": "dmp"}, "r.toml: sampler: 'dmp' is not one of auto, ddim, dpm. Did you mean dpm?"),
        ({"sizes": [1, "x"]}, "r.toml: sizes: 'x' is not a whole number."),
        ({"engine": 3}, "r.toml: engine: 3 is not a table of settings."),
        ({"engine": {"block_swap": -1}}, "r.toml: engine.block_swap: -1 is too small. Use 0 or more."),
        ({"scale": 1.0, "SCALE": 2.0}, "r.toml: SCALE: unknown key. Did you mean scale?"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_remedy(mapping, line):
    assert problems_of(mapping) == [line]


def test_all_mistakes_are_told_at_once():
    problems = problems_of(
        {"stepz": 3, "steps": 0, "sampler": "x", "engine": {"devize": 1, "block_swap": -1}}
    )
    assert [problem.split(": ")[1] for problem in problems] == [
        "stepz",
        "engine.devize",
        "steps",
        "sampler",
        "engine.block_swap",
    ]


def test_a_key_written_in_both_spellings_is_refused():
    problems = problems_of({"engine": {"block_swap": 1, "block-swap": 2}})
    assert problems == ["r.toml: engine.block-swap: given twice. Keep one."]


def test_a_rule_of_the_schema_itself_speaks_for_itself():
    assert problems_of({"extra": 4}, OddRecipe) == ["r.toml: extra: 4 is even. Nearest: 5."]


def test_an_instance_made_in_code_can_be_checked():
    assert validate(Recipe(steps=3), "code") == Recipe(steps=3)
    with pytest.raises(ConfigError, match="code: steps: 0 is too small"):
        validate(Recipe(steps=0), "code")


def test_a_recipe_file_may_have_comments_tables_and_a_byte_order_mark(tmp_path: Path):
    path = tmp_path / "fox.toml"
    text = '# comment\nworkflow = "generate"\nfamily = "x"\nsteps = 3 # few\n[engine]\ndevice = "cpu"\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    identity = {"workflow": "generate", "family": "x"}
    assert read_recipe(path, Recipe, identity) == Recipe(steps=3, engine=Engine(device="cpu"))
    with pytest.raises(ConfigError, match=r"fox\.toml: family: this recipe is for x, not y"):
        read_recipe(path, Recipe, {"family": "y"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"steps = fifty", "is not valid TOML.*line 1"),
        (b"prompt = \xff", "is not text in UTF-8"),
        (b"stepz = 1", "stepz: unknown key"),
    ],
)
def test_a_broken_recipe_file_is_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "fox.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"fox\.toml: .*{message}|fox\.toml: {message}"):
        read_recipe(path, Recipe)


def test_a_missing_recipe_names_its_neighbor(tmp_path: Path):
    (tmp_path / "foxes.toml").touch()
    with pytest.raises(ConfigError, match=r"no such recipe. Did you mean .*foxes\.toml"):
        read_recipe(tmp_path / "foxs.toml", Recipe)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path, Recipe)


def test_only_what_differs_from_the_defaults_can_be_listed():
    config = Recipe(steps=3, image=Path("fox.png"), engine=Engine(block_swap=1))
    changed = {"steps": 3, "image": "fox.png", "engine": {"block_swap": 1}}
    assert to_mapping(config, only_changed=True) == changed
    assert to_mapping(Recipe(), only_changed=True) == {}


def test_the_docstrings_of_fields_are_found_in_base_classes_too():
    docs = field_docs(OddRecipe)
    assert docs["steps"] == "Denoising steps."
    assert docs["extra"] == "An own setting."
    assert "image" not in docs


@given(
    prompt=st.text(st.characters(codec="utf-8", exclude_characters="\r")),
    steps=st.integers(1, 1000),
    scale=st.floats(allow_nan=False, allow_infinity=False),
    strict=st.booleans(),
    sampler=st.sampled_from(["auto", "ddim", "dpm"]),
    sizes=st.lists(st.integers(0, 2**62), max_size=3).map(tuple),
    swap=st.integers(0, 99),
)
def test_a_written_recipe_reads_back_as_the_same_configuration(
    prompt, steps, scale, strict, sampler, sizes, swap
):
    config = Recipe(
        prompt=prompt,
        steps=steps,
        scale=scale,
        strict=strict,
        sampler=sampler,
        sizes=sizes,
        engine=Engine(block_swap=swap),
    )
    assert from_mapping(Recipe, tomllib.loads(to_toml(config)), "r.toml") == config
    assert from_mapping(Recipe, to_mapping(config, only_changed=True), "r.toml") == config
