"""Forms: values that differ from defaults, problems beside their fields, and what stands open."""

import pytest

from reelwright import families
from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.schema_fields import describe
from reelwright.protocols.configs import GenerateConfig
from reelwright.web.form_layout import NOT_ASKED, folds, titled
from reelwright.web.pages.fields import entered, shown
from reelwright.web.settings import Settings, by_field

_SCHEMAS = [families.configs(name).GENERATE for name in families.names()]


def test_only_what_differs_from_the_defaults_is_kept():
    settings = Settings(GenerateConfig)
    settings.set("prompt", "a fox")
    settings.set("steps", 12)
    settings.set("steps", 50)
    settings.set("execution.tiling", True)
    assert settings.values == {"prompt": "a fox", "execution": {"tiling": True}}


def test_a_group_without_changes_is_no_longer_said():
    settings = Settings(GenerateConfig, {"execution": {"tiling": True}})
    settings.set("execution.tiling", False)
    assert settings.values == {}


def test_a_value_that_is_not_said_is_the_default_as_json_has_it():
    settings = Settings(GenerateConfig)
    assert settings.get("steps") == 50
    assert settings.get("image") is None
    assert settings.get("lora") == []


@pytest.mark.parametrize("schema", _SCHEMAS)
def test_every_resolved_recipe_comes_back_as_the_same_configuration(schema):
    config = from_mapping(
        schema,
        {"prompt": "x", "seed": 2**63 - 1, "lora": ["a.safetensors"], "execution": {"vram": 8.5}},
        "test",
    )
    settings = Settings(schema, to_mapping(config))
    assert settings.config() == config
    assert settings.problems() == {}


@pytest.mark.parametrize("schema", _SCHEMAS)
def test_settings_of_another_family_bring_what_both_know(schema):
    settings = Settings(schema, {"prompt": "a fox", "unknown_to_all": 3, "execution": 7})
    assert settings.values == {"prompt": "a fox"}


def test_problems_stand_under_the_fields_that_have_them():
    settings = Settings(GenerateConfig, {"steps": 0, "height": "abc", "lora_multiplier": [1.0, "x"]})
    settings.set("execution.tile_size", -1)
    assert settings.problems() == {
        "steps": "0 is too small. Use 1 or more.",
        "height": "'abc' is not a whole number.",
        "lora_multiplier": "'x' is not a number.",
        "execution.tile_size": "-1 is too small. Use 0 or more.",
    }


def test_a_message_that_names_no_field_stands_by_itself():
    message = "image: there is no such file: a.png.\nthe disk is full"
    assert by_field(message, ["image"]) == {"image": "there is no such file: a.png.", "": "the disk is full"}


def test_a_path_that_is_not_open_is_told_beside_its_field():
    message = "order: config.image: '/etc/passwd' is not among the runs and uploads."
    assert by_field(message, ["image"]) == {"image": "'/etc/passwd' is not among the runs and uploads."}


@pytest.mark.parametrize("schema", _SCHEMAS)
def test_what_is_folded_away_and_what_is_never_asked_are_different_fields(schema):
    folded = [each.dotted for fold in folds(schema) for each in fold.fields]
    assert len(folded) == len(set(folded))
    assert not {*NOT_ASKED, "prompt", "steps", "seed", "model"} & set(folded)
    assert "execution.block_swap" in folded


@pytest.mark.parametrize("schema", _SCHEMAS)
def test_what_an_input_shows_is_read_back_as_the_same_value(schema):
    settings = Settings(schema)
    for each in describe(schema):
        if each.kind != "group":
            value = settings.get(each.dotted)
            assert entered(each, shown(each, value)) == value, each.dotted


def test_text_that_is_no_number_stays_text_so_that_it_can_be_told():
    steps = Settings(GenerateConfig).facts["steps"]
    assert entered(steps, "many") == "many"
    assert entered(steps, " 12 ") == 12
    assert entered(steps, "") is None


def test_large_seeds_keep_every_digit():
    seed = Settings(GenerateConfig).facts["seed"]
    assert entered(seed, str(2**63 - 1)) == 2**63 - 1
    assert shown(seed, 2**63 - 1) == "9223372036854775807"


def test_names_of_fields_read_as_words():
    assert titled("num_frames") == "Frames"
    assert titled("image") == "First frame"
    assert titled("negative_prompt") == "Negative prompt"
