"""The stages of a curriculum, each as a configuration of its own. Without a curriculum a run is one stage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import CurriculumStage, LearningConfig, ScheduleConfig, TrainConfig
from reelwright.protocols.training import Training
from reelwright.workflows.caching.opening import Choice
from reelwright.workflows.training.choosing import choose_items

AnyConfig = TypeVar("AnyConfig", bound=LearningConfig)


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A stage by what is asked for."""

    number: int
    """Its place, from 0."""
    name: str
    said: CurriculumStage
    config: TrainConfig
    """That of the run, with what the stage says."""
    first: int
    """Steps done before it."""

    @property
    def last(self) -> int:
        """Steps done at its end."""
        return self.first + self.said.steps

    @property
    def origin(self) -> str:
        """Where its settings are, for messages."""
        return f"curriculum.{self.number}"

    @property
    def choose(self) -> Choice:
        """What it learns from of the caches."""
        return partial(choose_items, self.said, origin=self.origin)

    def seed(self, of_run: int) -> int:
        """Of order, noise and dropouts of its items: not those that other stages saw."""
        return (of_run + self.number) % 2**63


def with_steps_of_stages(config: AnyConfig) -> AnyConfig:
    """The run's steps are those of its stages. Raises ConfigError where the configuration says otherwise."""
    if not isinstance(config, TrainConfig) or not config.curriculum:
        return config
    total = sum(stage.steps for stage in config.curriculum)
    if config.epochs:
        raise ConfigError("epochs: stages of a curriculum count steps. Leave it out.")
    if config.steps not in (type(config)().steps, total):
        raise ConfigError(
            f"steps: is {config.steps}, and the stages of the curriculum have {total}. Leave it out."
        )
    return replace(config, steps=total)


def plan_stages(training: Training, config: TrainConfig) -> tuple[StagePlan, ...]:
    """The stages of a run in order; none without a curriculum. Raises ConfigError."""
    plans: list[StagePlan] = []
    for number, said in enumerate(config.curriculum):
        plan = StagePlan(
            number=number,
            name=said.name or str(number + 1),
            said=said,
            config=config,
            first=plans[-1].last if plans else 0,
        )
        plans.append(replace(plan, config=_config_of(plan, training)))
    return tuple(plans)


def stage_of(progress: Mapping[str, Any], plans: tuple[StagePlan, ...]) -> int:
    """The number of the stage that a state was written in. Raises ConfigError if that is another one now."""
    step = progress["step"]
    by_step = next((plan.number for plan in plans if step <= plan.last), len(plans) - 1)
    number = progress.get("stage", by_step)
    if number >= len(plans) or not plans[number].first <= step <= plans[number].last:
        raise ConfigError(
            f"curriculum: the state was written after step {step}, in stage {number + 1}, which now is of"
            " other steps. Stages that were begun stay as they were; later ones may change."
        )
    return number


def seed_of_run(progress: Mapping[str, Any]) -> int:
    """The seed that the run of a state began with."""
    return (progress["loader"]["seed"] - progress.get("stage", 0)) % 2**63


def _config_of(plan: StagePlan, training: Training) -> TrainConfig:
    config, said = plan.config, plan.said
    optimizer, rate = config.optimizer, said.learning_rate
    config = replace(
        config,
        dataset=said.dataset or config.dataset,
        accumulation=said.accumulation or config.accumulation,
        optimizer=replace(optimizer, learning_rate=rate) if rate else optimizer,
        schedule=_schedule_of(config.schedule, said),
    )
    if said.positions == "auto":
        return config
    if training.at_positions is None:
        raise ConfigError(f"{plan.origin}.positions: this model knows one way only to count. Leave it out.")
    return training.at_positions(config, said.positions)


def _schedule_of(schedule: ScheduleConfig, said: CurriculumStage) -> ScheduleConfig:
    if said.schedule != "auto":
        schedule = replace(schedule, name=said.schedule)
    return schedule if said.warmup < 0 else replace(schedule, warmup=said.warmup)
