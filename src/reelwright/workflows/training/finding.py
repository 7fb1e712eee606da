"""Everything that a run needs, found and checked, with nothing loaded."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from reelwright import families
from reelwright.adapters.learning.learning_plan import choose_layout, plan_base_weights, plan_learning
from reelwright.core.errors import ConfigError
from reelwright.data.packing import PackPlan
from reelwright.protocols.family import Family
from reelwright.protocols.train_configs import LearningConfig, TrainConfig
from reelwright.protocols.training import Training, TrainingModel
from reelwright.workflows.caching.opening import Choice, OpenedData, open_training_data, training_of
from reelwright.workflows.training.hub import check_hub
from reelwright.workflows.training.idle_settings import idle_remarks, refuse_idle
from reelwright.workflows.training.lr_schedules import check_schedule
from reelwright.workflows.training.optimizers import check_optimizer
from reelwright.workflows.training.packing import packing_remarks, plan_packing
from reelwright.workflows.training.samples import SamplePlan, plan_samples
from reelwright.workflows.training.stages import StagePlan, plan_stages
from reelwright.workflows.training.trackers import check_trackers


@dataclass(frozen=True, kw_only=True)
class Found:
    """Of one run."""

    family: Family
    training: Training
    config: TrainConfig
    data: OpenedData
    validation: OpenedData | None
    model: TrainingModel
    packing: PackPlan | None
    """Of the items that are trained on; None where clips of one size make a batch."""
    samples: SamplePlan | None
    notices: tuple[str, ...]
    stages: tuple["StageFound", ...] = ()
    """Of each stage of a curriculum; what is beside it here is that of the first."""


@dataclass(frozen=True, kw_only=True)
class StageFound(Found):
    """Of one stage of a run."""

    plan: StagePlan


@contextmanager
def find(family: str, config: TrainConfig) -> Generator[Found]:
    """Open caches, find the checkpoint, read the prompts of samples; all is closed at the end of the block.

    Raises UserError.
    """
    refuse_idle(config)
    check_outputs(config)
    plans = plan_stages(training_of(family), config)
    if not plans:
        check_schedule(config.schedule, None if config.epochs else config.steps, config.optimizer)
    for plan in plans:
        check_schedule(plan.config.schedule, plan.said.steps, plan.config.optimizer)
    remarks = (*idle_remarks(config), *check_optimizer(config.optimizer))
    with ExitStack() as opened:
        if plans:
            yield _find_stages(family, config, plans, opened, remarks)
            return
        data = _open(family, config, config.dataset, opened)
        validation = _open_validation(family, config, opened)
        found = _found(family, config, data, validation)
        yield replace(found, notices=(*remarks, *found.notices))


def _find_stages(
    family: str,
    config: TrainConfig,
    plans: Sequence[StagePlan],
    opened: ExitStack,
    remarks: Sequence[str],
) -> Found:
    """What all stages need, of which the first begins the run."""
    datas = [_open(family, plan.config, plan.config.dataset, opened, plan.choose) for plan in plans]
    validation = _open_validation(family, config, opened)
    stages: list[StageFound] = []
    for plan, data in zip(plans, datas, strict=True):
        _check_kind(training_of(family), datas[0], data, f"{plan.origin}.dataset")
        stages.append(StageFound(**vars(_found(family, plan.config, data, validation)), plan=plan))
    notices = dict.fromkeys((*remarks, *(said for stage in stages for said in stage.notices)))
    return replace(stages[0], config=config, stages=tuple(stages), notices=tuple(notices))


def _found(family: str, config: TrainConfig, data: OpenedData, validation: OpenedData | None) -> Found:
    known, training = families.load(family), training_of(family)
    _check_kind(training, data, validation, "validation.dataset")
    model = training.locate(config, data.data)
    _check_adapter(config, model)
    packing = plan_packing(config, training, model, data)
    samples = plan_samples(known, training, config, model)
    return Found(
        family=known,
        training=training,
        config=config,
        data=data,
        validation=validation,
        model=model,
        packing=packing,
        samples=samples,
        notices=(
            *data.notices,
            *model.notices,
            *packing_remarks(packing, data),
            *(samples.notices if samples is not None else ()),
        ),
    )


def check_outputs(config: LearningConfig) -> None:
    """What files are called, and where they and numbers go beside the disk. Raises ConfigError."""
    _check_name(config.name)
    check_hub(config.hub)
    check_trackers(config.tracking)


def _check_name(name: str) -> None:
    """Files are called so, in folders that other settings name. Raises ConfigError."""
    if name.strip(". ") != name or name != PureWindowsPath(name).name or name != PurePosixPath(name).name:
        raise ConfigError(
            f"name: {name!r} is no name of a file. Say it without folders, and where it goes with"
            " --saving.folder or --run."
        )
    if not name:
        raise ConfigError("name: is empty. Say how the files of weights are called.")


def _open(
    family: str, config: TrainConfig, dataset: Path | None, opened: ExitStack, choose: Choice | None = None
) -> OpenedData:
    data = open_training_data(family, config, dataset, choose)
    opened.enter_context(closing(data.items))
    return data


def _open_validation(family: str, config: TrainConfig, opened: ExitStack) -> OpenedData | None:
    dataset = config.validation.dataset
    return None if dataset is None else _open(family, config, dataset, opened)


def _check_kind(training: Training, data: OpenedData, others: OpenedData | None, origin: str) -> None:
    """A loss on data of another kind would say nothing of what is learned. Raises ConfigError."""
    learned = training.kind(data.data)
    judged = {} if others is None else training.kind(others.data)
    problems = [
        f"{origin}: its {name} is {judged[name]}, and {learned[name]} is trained. Make caches of it"
        " with the settings of those that are trained on."
        for name in learned.keys() & judged.keys()
        if learned[name] != judged[name]
    ]
    if problems:
        raise ConfigError("\n".join(sorted(problems)))


def _check_adapter(config: TrainConfig, model: TrainingModel) -> None:
    """Names, shapes and metadata of files that training starts from are read, no weights."""
    if config.method == "full":
        plan_base_weights(model.targets, config.adapter)
        return
    layout = choose_layout(config.saving.layout, model.adapter_layout, config.method)
    plan_learning(model.targets, config.adapter, config.method, layout)
