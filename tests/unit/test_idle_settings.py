"""Settings without effect: refused, or told."""

from dataclasses import replace
from pathlib import Path

import pytest

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import TrainConfig
from reelwright.workflows.training.idle_settings import idle_remarks, refuse_idle


@pytest.mark.parametrize(
    ("said", "remark"),
    [
        ({"samples": {"every_steps": 5}}, "samples.every_steps: no effect without samples.prompts."),
        ({"ema": {"every": 2}}, "ema.every: no effect without ema.decay."),
        (
            {"hub": {"folder": "a", "public": True}},
            "hub.folder, hub.public: no effect without hub.repository.",
        ),
        ({"validation": {"num_items": 1}}, "validation.num_items: no effect without validation.dataset."),
        ({"samples": {"prompts": "a.txt", "at_start": False}}, "samples.prompts: is never used."),
        ({"saving": {"keep_steps": 5}}, "saving.keep_steps: there is nothing to remove without"),
        (
            {"saving": {"metadata": False, "comment": "x"}},
            "saving.comment: not written, as saving.metadata is off.",
        ),
        (
            {"method": "full", "saving": {"title": "x", "author": "y"}},
            "saving.title, saving.author: not written: whole models hold no metadata.",
        ),
    ],
    ids=("samples", "ema", "hub", "validation", "never", "kept", "metadata", "full"),
)
def test_what_waits_for_another_setting_is_told(said: dict[str, object], remark: str) -> None:
    (told,) = idle_remarks(from_mapping(TrainConfig, said, "test"))
    assert told.startswith(remark)


def test_nothing_is_said_of_defaults_and_of_what_goes_together() -> None:
    assert idle_remarks(TrainConfig()) == []
    said = {"samples": {"prompts": "a.txt", "every_steps": 2}, "ema": {"decay": 0.9, "every": 2}}
    assert idle_remarks(from_mapping(TrainConfig, said, "test")) == []


def test_settings_of_adapters_are_refused_where_all_weights_learn() -> None:
    config = from_mapping(TrainConfig, {"method": "full", "saving": {"layout": "peft"}}, "test")
    with pytest.raises(ConfigError, match=r"saving\.layout"):
        refuse_idle(config)
    merged = replace(TrainConfig().adapter, base_weights=(Path("a.safetensors"),), rank=4)
    with pytest.raises(ConfigError, match=r"^train: adapter\.rank: has no effect .* set it back to 16"):
        refuse_idle(replace(config, saving=TrainConfig().saving, adapter=merged))


def test_held_out_clips_are_judged_somewhere():
    said = {"validation": {"dataset": "held.toml", "levels": []}}
    with pytest.raises(ConfigError, match=r"validation\.levels: there is none"):
        refuse_idle(from_mapping(TrainConfig, said, "test"))
