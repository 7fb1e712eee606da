"""Presets: under the recipe and the flags, over the defaults."""

from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.cli import generate as command
from reelwright.core.errors import ConfigError
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.policy_configs import PolicyConfig
from reelwright.protocols.presets import LEAST_PSNR, exactly, filled, with_preset

FAMILIES = families.names()


def read(family: str, *words: str) -> PolicyConfig:
    _, line = command.parse([family, *words])
    return line.config.execution


def differing(execution: PolicyConfig) -> dict[str, Any]:
    default = vars(ExecutionConfig())
    return {name: value for name, value in vars(execution).items() if value != default[name]}


def flat(config: Any) -> dict[str, Any]:
    """All options by their names with sections."""
    values = {}
    for name, value in vars(config).items():
        inner = flat(value) if is_dataclass(value) else None
        values.update({f"{name}.{key}": each for key, each in inner.items()} if inner else {name: value})
    return values


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", ["exact", "balanced", "fast"])
def test_a_preset_sets_what_its_familys_table_says(family: str, preset: Any):
    _, line = command.parse([family, "--execution.preset", preset])
    expected = {"execution.preset": preset, **families.configs(family).PRESETS[preset]}
    default = flat(families.configs(family).GENERATE())
    found = flat(line.config)
    assert {name: value for name, value in found.items() if value != default[name]} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_cost_more_from_exact_to_fast_and_exact_costs_nothing(family: str):
    assert set(families.configs(family).PRESETS) == set(LEAST_PSNR)
    assert families.configs(family).PRESETS["exact"] == {}
    assert LEAST_PSNR["exact"] > LEAST_PSNR["balanced"] > LEAST_PSNR["fast"]


def test_flags_go_over_the_recipe_and_the_recipe_over_the_preset(tmp_path: Path, monkeypatch):
    table = {
        "exact": {},
        "balanced": {
            "execution.step_cache": "first_block",
            "execution.step_cache_threshold": 0.3,
            "execution.step_cache_max_skips": 2,
        },
    }
    monkeypatch.setattr(families.configs("cogvideox"), "PRESETS", table)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[execution]\npreset = 'balanced'\nstep_cache_threshold = 0.2\nstep_cache_max_skips = 3\n"
    )
    told = read("cogvideox", str(recipe), "--execution.step-cache-max-skips", "4")
    assert (told.step_cache, told.step_cache_threshold, told.step_cache_max_skips) == ("first_block", 0.2, 4)


def test_a_default_that_is_given_beside_a_preset_wins_too(monkeypatch):
    table = {
        "fast": {
            "execution.step_cache": "first_block",
            "execution.step_cache_threshold": 0.3,
            "execution.attention": "flex",
        }
    }
    monkeypatch.setattr(families.configs("cogvideox"), "PRESETS", table)
    told = read("cogvideox", "--execution.preset", "fast", "--execution.step-cache", "off")
    assert differing(told) == {"preset": "fast", "attention": "flex"}


def test_another_step_cache_takes_its_own_threshold(monkeypatch):
    table = {
        "fast": {
            "execution.step_cache": "first_block",
            "execution.step_cache_threshold": 0.3,
            "execution.attention": "flex",
        }
    }
    monkeypatch.setattr(families.configs("cogvideox"), "PRESETS", table)
    told = read("cogvideox", "--execution.preset", "fast", "--execution.step-cache", "teacache")
    assert (told.step_cache, told.step_cache_threshold) == ("teacache", -1.0)


def test_a_preset_of_which_nothing_is_left_is_refused(monkeypatch):
    monkeypatch.setattr(
        families.configs("cogvideox"), "PRESETS", {"fast": {"execution.step_cache": "first_block"}}
    )
    with pytest.raises(ConfigError, match=r"fast sets execution\.step_cache, .*--execution.preset exact"):
        read("cogvideox", "--execution.preset", "fast", "--execution.step-cache", "off")


def test_a_word_that_is_no_preset_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"execution.preset.*Did you mean balanced"):
        read("cogvideox", "--execution.preset", "balance")


def test_in_python_a_named_preset_fills_what_is_not_set():
    table: Any = {"fast": {"execution.step_cache": "first_block", "execution.step_cache_threshold": 0.3}}
    asked = GenerateConfig(execution=ExecutionConfig(preset="fast"))
    assert filled(asked, table) == with_preset(GenerateConfig(), "fast", table)
    own = replace(asked, execution=ExecutionConfig(preset="fast", step_cache="teacache"))
    assert filled(own, table) == own


def test_the_exact_run_keeps_its_place_and_leaves_out_every_shortcut():
    asked = GenerateConfig(
        execution=ExecutionConfig(
            device="cpu",
            dtype="float32",
            block_swap=2,
            preset="fast",
            weights="fp8_scaled",
            text_weights="int8",
            step_cache="teacache",
            step_cache_threshold=0.2,
            attention="sage",
            compile="blocks",
            guidance_passes="apart",
            tiling=True,
        )
    )
    told = exactly(asked, {"fast": {}}).execution
    assert differing(told) == {"device": "cpu", "dtype": "float32", "block_swap": 2}


def test_the_exact_run_has_no_option_of_the_preset_that_lies_elsewhere():
    asked = FramePackGenerate(execution=ExecutionConfig(preset="balanced"))
    table = {"balanced": {"compatibility.decode_windows": "aligned"}}
    given = filled(asked, table)
    assert given.compatibility.decode_windows == "aligned"
    assert exactly(given, table) == FramePackGenerate()
    own = replace(FramePackGenerate(), compatibility=given.compatibility)
    assert exactly(own, table) == own
