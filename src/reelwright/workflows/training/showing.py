"""The state in which weights are looked at while training goes on, and when that is done."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from reelwright.protocols.train_configs import SamplesConfig, ValidationConfig
from reelwright.workflows.training.setting import Moment, Setting, is_due


def is_shown_now(moment: Moment, config: ValidationConfig | SamplesConfig) -> bool:
    """Before the first step if that is asked for, every so often, and at the end if ever."""
    if moment.step == 0:
        return config.at_start
    is_ever = config.every_steps > 0 or config.every_epochs > 0
    return is_due(moment, config.every_steps, config.every_epochs) or (is_ever and moment.is_last)


@contextmanager
def as_shown(setting: Setting) -> Generator[None]:
    """The network has the weights that are shown, without dropout; no gradients are computed.

    Afterwards its modes and the state of torch's random numbers are what they were.
    """
    device = setting.accelerator.device
    devices = [device] if device.type == "cuda" else []
    modes = [(module, module.training) for module in setting.network.modules()]
    with torch.random.fork_rng(devices), setting.shown(), torch.no_grad():
        setting.network.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
