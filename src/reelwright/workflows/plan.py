"""Tell what a run will take, and what would make it fit, before anything is loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.core.events import Event, Notice, Planned
from reelwright.execution.estimate import encoder_stage, estimate_latents
from reelwright.execution.fitting import Fit, advice, problems
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.estimates import ClipShape, Estimate, Stage
from reelwright.protocols.plan_config import PlanConfig
from reelwright.protocols.presets import filled
from reelwright.protocols.train_configs import TrainConfig
from reelwright.workflows.planning.beginning import Command, Planning, begin, estimates_of, fit_generation
from reelwright.workflows.planning.clips import PlannedClips, clips_of_plan
from reelwright.workflows.planning.machines import Place
from reelwright.workflows.planning.training import estimate_training

_AXES = 3


def run(family: str, command: Command, config: Any, plan: PlanConfig | None = None) -> Iterator[Event]:  # noqa: ANN401 - of the command
    """A notice for each option that was chosen, and the plan. Raises UserError."""
    config, plan = validate(config, f"plan {command}"), plan or PlanConfig()
    if isinstance(config, GenerateConfig):
        config = filled(config, families.configs(family).PRESETS)
    _check(command, config, plan)
    import_module(f"reelwright.workflows.{command}")  # what the run imports is part of what it takes
    planning = begin(family, command, config, plan)
    clips = None if command == "generate" else clips_of_plan(family, planning, plan)
    found = _answer(planning, clips)
    for knob in found.chosen:
        yield Notice(f"fit: {knob.flag} ({knob.costs})")
    if clips is not None:
        yield Notice(_shape_used(clips))
    for text in found.problems:
        yield Notice(f"does not fit: {text}")
    yield Planned(describe(planning, family, found))


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


def _answer(planning: Planning, clips: PlannedClips | None) -> Fit:
    config = planning.config
    if clips is not None:
        estimate = _train_or_cache(planning, clips.shape)
        found = tuple(problems(estimate, planning.place.limits))
        return Fit(execution=ExecutionConfig(), estimate=estimate, chosen=(), problems=found)
    wanted = config.execution.fit
    if wanted == "on" or (wanted == "auto" and not planning.place.machine.is_processor):
        return fit_generation(planning)
    estimate_of = estimates_of(planning)
    estimate, limits = estimate_of(config.execution), planning.place.limits
    found = (*problems(estimate, limits), *advice(config.execution, estimate_of, limits))
    return Fit(execution=config.execution, estimate=estimate, chosen=(), problems=found)


def _shape_used(clips: PlannedClips) -> str:
    shape = clips.shape
    return (
        f"planned for clips of {shape.height} x {shape.width}, {shape.num_frames} frames ({clips.said}),"
        f" {shape.batch_size} together."
    )


def _train_or_cache(planning: Planning, shape: ClipShape) -> Estimate:
    config, readings = planning.config, planning.readings
    if isinstance(config, TrainConfig):
        return estimate_training(readings, config, shape, readings.released_itemsize)
    if isinstance(config, CacheTextConfig):
        texts = [each for each in readings.model.encoders if each.is_text]
        told = config.execution
        execution = ExecutionConfig(text_weights=told.text_weights, stream_encoders=told.stream_encoders)
        stages = (replace(encoder_stage(each, readings, execution), read_bytes=0) for each in texts)
        return Estimate(stages=tuple(stages))
    assert isinstance(config, CacheLatentsConfig)
    images = (
        [each for each in readings.model.encoders if not each.is_text] if readings.model.sees_pictures else []
    )
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
