"""Which runs one model in use serves."""

from dataclasses import dataclass, field, replace
from typing import Any

from reelwright import families
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.family import Family
from reelwright.workflows.clips.sessions import KeptSessions

NAME = families.names()[0]
Config = families.configs(NAME).GENERATE


@dataclass(frozen=True)
class Found:
    """A model that was found, as far as sessions tell models apart."""

    fingerprints: dict[str, str] = field(default_factory=lambda: {"vae": "1"})
    layout: str = "text"
    notices: tuple[str, ...] = ()
    fps: float = 8.0


def family() -> Family:
    def start(model: Any, execution: Any) -> Any:
        return object()

    return Family(name=NAME, locate=Any, resolve=Any, start=start, inputs=Any)


def test_another_prompt_seed_and_place_take_the_same_session():
    kept, config = KeptSessions(), Config(prompt="a")
    first = kept.open(family(), Found(), config)
    for other in (replace(config, prompt="b", seed=9), replace(config, steps=3), replace(config, run=None)):
        assert kept.open(family(), Found(), other) is first


def test_other_files_loras_layouts_and_ways_to_run_take_another():
    kept, config = KeptSessions(), Config(prompt="a")
    first = kept.open(family(), Found(), config)
    others = [
        kept.open(family(), Found({"vae": "2"}), config),
        kept.open(family(), Found(layout="image"), config),
        kept.open(family(), Found(), replace(config, lora_multiplier=(0.5,))),
        kept.open(family(), Found(), replace(config, execution=ExecutionConfig(block_swap=2))),
    ]
    assert len({id(each) for each in (first, *others)}) == 5


def test_to_decode_any_way_to_run_the_denoiser_will_do():
    kept, config = KeptSessions(), Config(prompt="a", execution=ExecutionConfig(block_swap=2))
    first = kept.open(family(), Found(), config)
    usual = replace(config, execution=ExecutionConfig())
    assert kept.open(family(), Found(), usual, only_to_decode=True) is first
    in_tiles = replace(config, execution=ExecutionConfig(tiling=True))
    assert kept.open(family(), Found(), in_tiles, only_to_decode=True) is not first


def test_what_is_closed_is_not_given_again():
    kept, config = KeptSessions(), Config(prompt="a")
    first = kept.open(family(), Found(), config)
    kept.close(first)
    assert kept.open(family(), Found(), config) is not first
