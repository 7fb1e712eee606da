"""What is to be planned: the sizes of a model and a machine, with imagined runs at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

from reelwright import families
from reelwright.core.errors import ConfigError
from reelwright.encoders.quiet_networks import import_networks
from reelwright.execution.devices import choose_dtype
from reelwright.execution.estimate import Readings, estimate_generation
from reelwright.execution.fitting import Fit, fit
from reelwright.protocols.cache_configs import CacheLatentsConfig
from reelwright.protocols.configs import DeviceConfig, ExecutionConfig, GenerateConfig
from reelwright.protocols.estimates import Estimate, Estimating, SizedModel
from reelwright.protocols.plan_config import PlanConfig
from reelwright.protocols.train_configs import TrainConfig
from reelwright.workflows.planning.machines import Place, find_place

Command = Literal["generate", "train", "cache"]


@dataclass(frozen=True, kw_only=True)
class Planning:
    """What there is to plan, with the answer's parts at hand."""

    command: Command
    config: Any
    estimating: Estimating
    place: Place
    readings: Readings


def begin(family: str, command: Command, config: Any, plan: PlanConfig) -> Planning:  # noqa: ANN401 - of the command
    """The sizes of the model, and where it is to run. Raises UserError."""
    estimating = families.load(family).estimating
    if estimating is None:
        raise ConfigError(f"{family}: its models are not known well enough to be planned.")
    execution: DeviceConfig = config.execution
    model = estimating.sized(config)
    if _uses_encoders(config, model):
        import_networks()  # as the run will: what they take is a part of what this process has
    place = find_place(execution, plan.gpu, getattr(execution, "vram", 0.0), getattr(execution, "ram", 0.0))
    device = torch.device("cpu" if place.machine.is_processor else "cuda")
    wants_float32 = command == "train" and config.method == "full" and execution.dtype == "auto"
    dtypes = tuple(
        torch.float32 if wants_float32 else _dtype(execution.dtype, device, released)
        for released in (model.released_dtype, model.encoding_dtype)
    )
    readings = Readings(model, place.machine, (dtypes[0], dtypes[1]))
    return Planning(command=command, config=config, estimating=estimating, place=place, readings=readings)


def fit_generation(planning: Planning) -> Fit:
    """The lightest options for clips to be made. Raises UserError."""
    config: GenerateConfig = planning.config
    estimate_of = estimates_of(planning)
    return fit(
        config.execution,
        estimate_of,
        planning.place.limits,
        num_blocks=sum(planning.readings.model.depths),
        has_own_memory=not planning.place.machine.is_processor,
        has_loras=bool(config.lora),
    )


def estimates_of(planning: Planning) -> Callable[[ExecutionConfig], Estimate]:
    config: GenerateConfig = planning.config
    work = planning.estimating.work(config, planning.readings.model)

    @cache
    def estimate_of(execution: ExecutionConfig) -> Estimate:
        return estimate_generation(planning.readings, work, execution, num_clips=config.num_videos)

    return estimate_of


def _uses_encoders(config: object, model: SizedModel) -> bool:
    if isinstance(config, CacheLatentsConfig):
        return model.sees_pictures
    return not isinstance(config, TrainConfig)


def _dtype(
    name: str, device: torch.device, released: Literal["float32", "bfloat16", "float16"]
) -> torch.dtype:
    """As the run chooses it; a GPU that is not here has what models were released in."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return getattr(torch, released if name == "auto" else name)
    return choose_dtype(name, device, released)
