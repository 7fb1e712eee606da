"""Tell what a run will take, and what would make it fit, before anything is loaded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any, Literal

import torch

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.core.events import Event, Notice, Planned
from reelwright.execution.devices import choose_dtype
from reelwright.execution.estimate import Readings, encoder_stage, estimate_generation, estimate_latents
from reelwright.execution.fitting import Fit, advice, fit, problems
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.protocols.configs import DeviceConfig, ExecutionConfig, GenerateConfig
from reelwright.protocols.estimates import ClipShape, Estimate, Estimating, Stage
from reelwright.protocols.plan_config import PlanConfig
from reelwright.protocols.train_configs import TrainConfig
from reelwright.workflows.planning.machines import Place, find_place
from reelwright.workflows.planning.training import estimate_training

Command = Literal["generate", "train", "cache"]
_AXES = 3


@dataclass(frozen=True, kw_only=True)
class Planning:
    """What there is to plan, with the answer's parts at hand."""

    command: Command
    config: Any
    estimating: Estimating
    place: Place
    readings: Readings


def run(family: str, command: Command, config: Any, plan: PlanConfig | None = None) -> Iterator[Event]:  # noqa: ANN401 - of the command
    """A notice for each option that was chosen, and the plan. Raises UserError."""
    config, plan = validate(config, f"plan {command}"), plan or PlanConfig()
    _check(command, config, plan)
    import_module(f"reelwright.workflows.{command}")  # what the run imports is part of what it takes
    planning = begin(family, command, config, plan)
    found = _answer(planning, plan)
    for knob in found.chosen:
        yield Notice(f"fit: {knob.flag} ({knob.costs})")
    for text in found.problems:
        yield Notice(f"does not fit: {text}")
    yield Planned(describe(planning, family, found))


def begin(family: str, command: Command, config: Any, plan: PlanConfig) -> Planning:  # noqa: ANN401 - of the command
    """The sizes of the model, and where it is to run. Raises UserError."""
    estimating = families.load(family).estimating
    if estimating is None:
        raise ConfigError(f"{family}: its models are not known well enough to be planned.")
    execution: DeviceConfig = config.execution
    place = find_place(execution, plan.gpu, getattr(execution, "vram", 0.0), getattr(execution, "ram", 0.0))
    model = estimating.sized(config)
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
    estimate_of = _generation(planning)
    return fit(
        config.execution,
        estimate_of,
        planning.place.limits,
        num_blocks=sum(planning.readings.model.depths),
        has_own_memory=not planning.place.machine.is_processor,
    )


def describe(planning: Planning, family: str, found: Fit) -> dict[str, Any]:
    """The plan as JSON can hold it; memory in bytes, time in seconds."""
    place, estimate = planning.place, found.estimate
    stages = [_stage(stage, place) for stage in estimate.stages]
    return {
        "family": family,
        "command": planning.command,
        "model": str(planning.config.model),
        "machine": place.title,
        "limits": {"device": place.limits.device, "host": place.limits.host},
        "stages": stages,
        "device": estimate.memory("device"),
        "host": estimate.memory("host"),
        "read": estimate.on_disk("read"),
        "written": estimate.on_disk("written"),
        "disk": [{"name": use.name, "bytes": use.num_bytes, "kind": use.kind} for use in estimate.disk],
        "seconds": sum(stage["seconds"] for stage in stages) if place.flops else None,
        "chosen": {knob.field: knob.value for knob in found.chosen},
        "flags": " ".join(knob.flag for knob in found.chosen),
        "problems": list(found.problems),
    }


def _answer(planning: Planning, plan: PlanConfig) -> Fit:
    config = planning.config
    if planning.command != "generate":
        estimate = _train_or_cache(planning, plan)
        found = tuple(problems(estimate, planning.place.limits))
        return Fit(execution=ExecutionConfig(), estimate=estimate, chosen=(), problems=found)
    wanted = config.execution.fit
    if wanted == "on" or (wanted == "auto" and not planning.place.machine.is_processor):
        return fit_generation(planning)
    estimate_of = _generation(planning)
    estimate, limits = estimate_of(config.execution), planning.place.limits
    found = (*problems(estimate, limits), *advice(config.execution, estimate_of, limits))
    return Fit(execution=config.execution, estimate=estimate, chosen=(), problems=found)


def _generation(planning: Planning) -> Callable[[ExecutionConfig], Estimate]:
    config: GenerateConfig = planning.config
    work = planning.estimating.work(config, planning.readings.model)

    @cache
    def estimate_of(execution: ExecutionConfig) -> Estimate:
        return estimate_generation(planning.readings, work, execution, num_clips=config.num_videos)

    return estimate_of


def _train_or_cache(planning: Planning, plan: PlanConfig) -> Estimate:
    config, readings = planning.config, planning.readings
    height, width, frames = plan.clip or (0, 0, 0)
    shape = readings.model.shape_of(
        ClipShape(height=height, width=width, num_frames=frames, batch_size=plan.batch, count=plan.clips)
    )
    if isinstance(config, TrainConfig):
        return estimate_training(readings, config, shape, readings.released_itemsize)
    if isinstance(config, CacheTextConfig):
        texts = [each for each in readings.model.encoders if each.is_text]
        stages = (replace(encoder_stage(each, readings, ExecutionConfig()), read_bytes=0) for each in texts)
        return Estimate(stages=tuple(stages))
    assert isinstance(config, CacheLatentsConfig)
    images = [each for each in readings.model.encoders if not each.is_text]
    return estimate_latents(readings, shape, config.execution, images)


def _stage(stage: Stage, place: Place) -> dict[str, Any]:
    reading = stage.read_bytes / place.disk_rate
    return {
        "name": stage.name,
        "device": stage.memory("device"),
        "host": stage.memory("host"),
        "seconds": (stage.flops / place.flops if place.flops else 0.0) + reading,
        "terms": [{"name": each.name, "bytes": each.num_bytes, "place": each.place} for each in stage.terms],
    }


def _dtype(
    name: str, device: torch.device, released: Literal["float32", "bfloat16", "float16"]
) -> torch.dtype:
    """As the run chooses it; a GPU that is not here has what models were released in."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return getattr(torch, released if name == "auto" else name)
    return choose_dtype(name, device, released)


def _check(command: Command, config: Any, plan: PlanConfig) -> None:  # noqa: ANN401 - of the command
    said: Mapping[str, object] = vars(plan)
    if plan.clip and len(plan.clip) != _AXES:
        raise ConfigError("clip: give height, width and frames, as in --clip 480 720 49.")
    if command == "generate":
        for name in ("clip", "batch", "clips"):
            if said[name] != getattr(PlanConfig(), name):
                raise ConfigError(
                    f"{name}: is for training and caches. Say --height, --width and --num-frames."
                )
