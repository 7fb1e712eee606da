"""Which step caches can be asked for, and files of ratios."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelwright.core.errors import ConfigError, FileError
from reelwright.execution.step_cache.choosing import check_step_cache
from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.execution.step_cache.ratios import MagnitudeRatios, read_ratios, resample, write_ratios
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.review import Review

FACTS = StepCacheFacts(
    signal=lambda network, video, text, signal: signal, polynomial=(1.0, 0.0), ratios=(1.0, 1.1)
)
UNKNOWN = StepCacheFacts(signal=FACTS.signal)
ONCE = {"step_cache": "magcache"}


def notices(facts: StepCacheFacts, **options: Any) -> list[str]:
    review = Review(GenerateConfig(execution=ExecutionConfig(**options)))
    check_step_cache(review, facts)
    review.raise_problems()
    return review.notices


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step_cache_threshold": 0.1}, "step_cache_threshold: is for a step cache"),
        ({"step_cache_start": 0.1}, "step_cache_start: is for a step cache"),
        ({"step_cache_max_skips": 2}, "step_cache_max_skips: is for a step cache"),
        ({"step_cache_ratios": Path("a")}, "step_cache_ratios: is for a step cache"),
        ({"step_cache_ratio_list": (1.0,)}, "step_cache_ratio_list: is for a step cache"),
        ({"step_cache": "teacache", "step_cache_threshold": -0.5}, "step_cache_threshold: -0.5 is below 0"),
        ({"step_cache": "teacache", "step_cache_ratio_list": (1.0,)}, "step_cache_ratios: are for magcache"),
        ({"step_cache": "first_block", "step_cache_calibrate": Path("a")}, "calibrate: measures exact steps"),
        ({**ONCE, "step_cache_ratio_list": (1.0,), "step_cache_ratios": Path("a")}, "Give one of them"),
        ({**ONCE, "step_cache_ratios": Path("none.json")}, "none.json: is missing. Make it with"),
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused(options: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=r"^execution\.step_cache") as refusal:
        notices(FACTS, **options)
    assert said in str(refusal.value)


def test_magcache_without_ratios_is_refused_with_the_way_to_them():
    with pytest.raises(ConfigError) as refusal:
        notices(UNKNOWN, **ONCE)
    assert "--execution.step-cache-calibrate ratios.json" in str(refusal.value)
    assert "--execution.step-cache-ratios ratios.json" in str(refusal.value)
    assert notices(UNKNOWN, **ONCE, step_cache_ratio_list=(1.0, 1.1)) == []


def test_what_was_not_made_for_a_model_is_remarked_on():
    assert notices(FACTS, step_cache="teacache") == []
    (said,) = notices(UNKNOWN, step_cache="teacache")
    assert "never fitted to this model" in said
    assert "threshold of 0.15." in said
    (said,) = notices(UNKNOWN, step_cache="teacache", step_cache_threshold=0.25)
    assert "threshold of 0.25." in said
    borrowed = StepCacheFacts(signal=FACTS.signal, ratios=(1.0,), ratios_are_own=False)
    (said,) = notices(borrowed, **ONCE)
    assert "measured on a larger model" in said
    assert notices(borrowed, **ONCE, step_cache_ratio_list=(1.0,)) == []


@pytest.mark.parametrize("count", [1, 2, 7, 25, 50, 80])
def test_ratios_are_resampled_by_the_nearest_index(count: int):
    values = np.random.default_rng(0).uniform(0.8, 1.2, 50)
    index = np.rint(np.arange(count) * 49 / max(count - 1, 1)).astype(int)
    assert resample(values.tolist(), count) == values[index].tolist()


def test_prompts_have_their_own_ratios_and_a_batch_of_both_the_mean():
    ratios = MagnitudeRatios(positive=(1.0, 1.2), negative=(1.0, 0.8))
    assert ratios.at_steps("positive", 2) == [1.0, 1.2]
    assert ratios.at_steps("negative", 2) == [1.0, 0.8]
    assert ratios.at_steps("both", 2) == [1.0, 1.0]
    alone = MagnitudeRatios(positive=(1.0, 1.2))
    assert alone.at_steps("negative", 2) == alone.at_steps("both", 2) == [1.0, 1.2]


def test_a_file_of_ratios_is_read_as_it_was_written(tmp_path: Path):
    path = tmp_path / "ratios.json"
    ratios = MagnitudeRatios(positive=(1.0, 1.25), negative=(1.0, 0.75))
    write_ratios(path, ratios)
    assert read_ratios(path) == ratios
    assert json.loads(path.read_text())["steps"] == 2
    write_ratios(path, MagnitudeRatios(positive=(1.0,)))
    assert read_ratios(path) == MagnitudeRatios(positive=(1.0,))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1.0]", "no table"),
        ("{}", "no table of ratios"),
        ('{"ratios": {"negative": [1.0]}}', "of positive and negative passes"),
        ('{"ratios": {"positive": [1.0], "other": [1.0]}}', "of positive and negative passes"),
        ('{"ratios": {"positive": []}}', "numbers above 0"),
        ('{"ratios": {"positive": [1.0, 0.0]}}', "numbers above 0"),
        ('{"ratios": {"positive": [1.0, "a"]}}', "numbers above 0"),
        ('{"ratios": {"positive": [1.0, NaN]}}', "numbers above 0"),
        ("{", "damaged"),
    ],
)
def test_a_file_that_holds_no_ratios_is_refused(tmp_path: Path, content: str, said: str):
    path = tmp_path / "ratios.json"
    path.write_text(content)
    with pytest.raises(FileError, match=said):
        read_ratios(path)
