"""Tell what is wrong with a configuration, and what would be adjusted, before anything is made."""

from collections.abc import Iterator
from dataclasses import replace

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.events import Event, Notice
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.presets import filled
from reelwright.workflows.clips.planning import plan_decoding, plan_generation


def run(family: str, config: GenerateConfig) -> Iterator[Event]:
    """A notice for all that `generate` would say before it starts. Raises UserError with all that is wrong.

    Nothing is downloaded for it: a model that is not on disk is a FileError.
    """
    config = filled(validate(config, "generate"), families.configs(family).PRESETS)
    known, asked = families.load(family), replace(config, offline=True)
    plan = plan_generation(known, asked) if config.from_latent is None else plan_decoding(known, asked)
    yield from (Notice(text) for text in plan.notices)
