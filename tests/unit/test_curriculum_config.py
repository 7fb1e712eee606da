"""Lists of tables in recipes and on command lines."""

import tomllib

import pytest

from reelwright import families
from reelwright.cli.train import parse
from reelwright.core.config import from_mapping, to_toml
from reelwright.core.errors import ConfigError

RECIPE = """
seed = 3
[[curriculum]]
name = "small"
steps = 30
size = "64x64"
learning-rate = 1e-3
[[curriculum]]
steps = 20
best = 0.2
min_score = 0.5
optimizer = "reset"
warmup = 0.1
positions = "extrapolated"
"""


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_stages_of_a_recipe_come_back_from_the_recipe_of_the_run(family):
    schema = families.configs(family).TRAIN
    config = from_mapping(schema, tomllib.loads(RECIPE), "recipe.toml")
    assert [(stage.name, stage.steps, stage.learning_rate) for stage in config.curriculum] == [
        ("small", 30, 1e-3),
        ("", 20, 0.0),
    ]
    assert from_mapping(schema, tomllib.loads(to_toml(config)), "again") == config


def test_what_is_wrong_in_a_stage_is_told_with_its_place_and_the_nearest_key():
    schema = families.configs("cogvideox").TRAIN
    stages = [{"steps": 1, "learning_rat": 1e-3}, {"steps": 0}, {"name": "a", "best": 2.0}]
    with pytest.raises(ConfigError) as found:
        from_mapping(schema, {"curriculum": stages}, "r.toml")
    assert str(found.value).splitlines() == [
        "r.toml: curriculum.0.learning_rat: unknown key. Did you mean curriculum.0.learning_rate?",
        "r.toml: curriculum.1.steps: 0 is too small. Use 1 or more.",
        "r.toml: curriculum.2.steps: is missing. Give it a value.",
        "r.toml: curriculum.2.best: 2.0 is too large. Use 1.0 or less.",
    ]
    with pytest.raises(ConfigError, match="curriculum: 'small' is not a list"):
        from_mapping(schema, {"curriculum": "small"}, "r.toml")


def test_flags_change_the_stages_of_a_recipe_by_their_place(tmp_path):
    recipe = tmp_path / "stages.toml"
    recipe.write_text(RECIPE)
    _, line = parse(["cogvideox", str(recipe), "--curriculum.1.steps", "7", "--curriculum.0.best", "0.5"])
    assert [(stage.steps, stage.best) for stage in line.config.curriculum] == [(30, 0.5), (7, 0.2)]
    assert line.config.curriculum[1].min_score == 0.5
