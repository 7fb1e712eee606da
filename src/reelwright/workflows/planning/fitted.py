"""Clips that are made with the lightest options that fit into memory."""

from dataclasses import replace

from reelwright.execution.devices import choose_device
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.plan_config import PlanConfig
from reelwright.workflows.planning.beginning import begin, fit_generation


def fitted(family: str, config: GenerateConfig) -> tuple[GenerateConfig, list[str]]:
    """The configuration as `execution.fit` wants it, and what was chosen, in words. Raises UserError.

    What does not fit by estimate is told and tried all the same.
    """
    wanted = config.execution.fit
    if wanted == "off" or config.from_latent is not None:
        return config, []
    if wanted == "auto" and choose_device(config.execution.device).type != "cuda":
        return config, []
    found = fit_generation(begin(family, "generate", config, PlanConfig()))
    said = [f"fit: {knob.flag} ({knob.costs})" for knob in found.chosen]
    said += [f"this may not fit: {text}" for text in found.problems]
    return replace(config, execution=found.execution), said
