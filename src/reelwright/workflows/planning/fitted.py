"""Clips that are made with the lightest options that fit into memory."""

from dataclasses import replace
from pathlib import Path

from reelwright.core.config import read_recipe, to_toml
from reelwright.core.paths import write_text_atomic
from reelwright.execution.devices import choose_device
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.plan_config import PlanConfig
from reelwright.workflows.planning.beginning import begin, fit_generation

_CHOICE = "fitted.toml"


def fitted(family: str, config: GenerateConfig) -> tuple[GenerateConfig, list[str]]:
    """The configuration as `execution.fit` wants it, and what was chosen, in words. Raises UserError.

    What does not fit by estimate is told and tried all the same. A run that goes on keeps what it began with:
    some options round, and how much memory is free may have changed.
    """
    wanted = config.execution.fit
    if wanted == "off" or config.from_latent is not None:
        return config, []
    if wanted == "auto" and choose_device(config.execution.device).type != "cuda":
        return config, []
    if config.run is not None and (config.run / _CHOICE).exists():
        kept = read_recipe(config.run / _CHOICE, type(config), _identity(family))
        return replace(config, execution=kept.execution), ["fit: as this run began"]
    found = fit_generation(begin(family, "generate", config, PlanConfig()))
    said = [f"fit: {knob.flag} ({knob.costs})" for knob in found.chosen]
    said += [f"this may not fit: {text}" for text in found.problems]
    return replace(config, execution=found.execution), said


def keep_choice(folder: Path, family: str, config: GenerateConfig) -> None:
    """Write what `fitted` gave beside the recipe, for a run that goes on."""
    write_text_atomic(folder / _CHOICE, to_toml(config, _identity(family)))


def _identity(family: str) -> dict[str, str]:
    return {"workflow": "generate", "family": family}
