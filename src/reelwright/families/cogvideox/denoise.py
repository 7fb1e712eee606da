"""The forward passes of a clip: which prompts a step sees, and how they guide it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reelwright.diffusion.guidance import guidance_scales, guide
from reelwright.diffusion.process import V_PREDICTION
from reelwright.diffusion.samplers import PredictX0
from reelwright.diffusion.schedules import Step
from reelwright.execution.guidance_passes import predict
from reelwright.execution.policy import Branch, Call, PreparedDenoiser
from reelwright.families.cogvideox.conditions import Conditions
from reelwright.families.cogvideox.config import CogVideoXGenerate


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the denoiser is shown of a clip by the prompt that it sees, or by both in one batch."""

    plain: dict[Branch, Conditions]
    """In a step without guidance."""
    guided: dict[Branch, Conditions]
    """In a step with guidance, by passes."""


def look_of(conditions: Conditions, negative_BLD: Tensor | None, *, together: bool) -> Look:
    """Everything but the text is shared; without a negative one, nothing guides."""
    plain: dict[Branch, Conditions] = {"positive": conditions}
    if negative_BLD is None:
        return Look(plain=plain, guided=plain)
    negative_BLD = negative_BLD.to(conditions.text_BLD)
    if together:
        return Look(plain=plain, guided={"both": conditions.with_negative(negative_BLD)})
    return Look(plain=plain, guided={**plain, "negative": replace(conditions, text_BLD=negative_BLD)})


def predictor(
    denoiser: PreparedDenoiser, config: CogVideoXGenerate, look: Look, steps: Sequence[Step]
) -> PredictX0:
    """Clean latents by guided velocity; where guidance is 1 or less, the negative pass is left out."""
    timesteps = [step.timestep for step in steps]
    scales = guidance_scales(config.guidance_schedule, config.guidance_scale, timesteps, len(steps))

    def calls_of(index: int) -> list[Call]:
        conditions_of = look.guided if scales[index] > 1.0 else look.plain
        return [
            Call(
                step=index,
                num_steps=len(steps),
                branch=branch,
                timestep_B=torch.full((len(known.text_BLD),), timesteps[index], device=known.text_BLD.device),
                conditions=known,
            )
            for branch, known in conditions_of.items()
        ]

    calls = [calls_of(index) for index in range(len(steps))]
    denoiser.start([call for of_step in calls for call in of_step])
    known = {
        timestep: (of_step, scale) for timestep, of_step, scale in zip(timesteps, calls, scales, strict=True)
    }

    @torch.no_grad()
    def predict_x0(latents: Tensor, step: Step) -> Tensor:
        calls, scale = known[step.timestep]
        predictions = predict(denoiser, latents, calls)
        velocity = predictions["positive"]
        if "negative" in predictions:
            velocity = guide(predictions["negative"], velocity, scale)
        return V_PREDICTION.predict_x0(latents, velocity, step.level)

    return predict_x0
