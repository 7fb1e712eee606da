"""The noise levels of the released models, and the steps of one generation through them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from reelwright.diffusion.schedules import (
    Step,
    neighbor_steps,
    released_steps,
    rescale_to_zero_terminal_snr,
    scaled_linear_alphas,
    shift_snr,
    spaced_timesteps,
)
from reelwright.families.cogvideox.config import CogVideoXGenerate, SchedulerConfig


def plan_steps(scheduler: SchedulerConfig, config: CogVideoXGenerate) -> list[Step]:
    """The steps of a generation, noisiest first; from a clip, only the last `strength` of them."""
    spacing = scheduler.timestep_spacing if config.timestep_spacing == "auto" else config.timestep_spacing
    timesteps = spaced_timesteps(
        config.steps, spacing, num_timesteps=scheduler.num_train_timesteps, offset=scheduler.steps_offset
    )
    alphas = training_alphas(scheduler, timesteps if config.compatibility.zero_snr == "steps" else None)
    if config.compatibility.previous_timestep == "released":
        steps = released_steps(alphas, timesteps, config.steps)
    else:
        steps = neighbor_steps(alphas, timesteps)
    if config.video is None:
        return steps
    return steps[config.steps - int(config.steps * config.strength) :]


def training_alphas(scheduler: SchedulerConfig, only: Sequence[int] | None = None) -> Tensor:
    """Squared signal shares of all training timesteps, float64; rescaled over `only` these (SAT)."""
    alphas = scaled_linear_alphas(scheduler.num_train_timesteps, scheduler.beta_start, scheduler.beta_end)
    alphas = shift_snr(alphas, scheduler.snr_shift_scale)
    if not scheduler.rescale_betas_zero_snr:
        return alphas
    if only is None:
        return rescale_to_zero_terminal_snr(alphas)
    used = torch.tensor(sorted(only))
    return alphas.index_put((used,), rescale_to_zero_terminal_snr(alphas[used]))
