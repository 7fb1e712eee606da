"""Everything that a run needs, found and checked, with nothing loaded."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from reelwright import families
from reelwright.adapters.learning.learning_plan import choose_layout, plan_base_weights, plan_learning
from reelwright.core.errors import ConfigError
from reelwright.data.packing import PackPlan
from reelwright.protocols.family import Family
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Training, TrainingModel
from reelwright.workflows.caching.opening import OpenedData, open_training_data, training_of
from reelwright.workflows.training.hub import check_hub
from reelwright.workflows.training.idle_settings import idle_remarks, refuse_idle
from reelwright.workflows.training.lr_schedules import check_schedule
from reelwright.workflows.training.optimizers import check_optimizer
from reelwright.workflows.training.packing import packing_remarks, plan_packing
from reelwright.workflows.training.samples import SamplePlan, plan_samples
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


@contextmanager
def find(family: str, config: TrainConfig) -> Generator[Found]:
    """Open caches, find the checkpoint, read the prompts of samples; all is closed at the end of the block.

    Raises UserError.
    """
    refuse_idle(config)
    check_name(config.name)
    check_hub(config.hub)
    check_schedule(config.schedule, None if config.epochs else config.steps, config.optimizer)
    check_trackers(config.tracking)
    known, training = families.load(family), training_of(family)
    remarks = check_optimizer(config.optimizer)
    data = open_training_data(family, config, config.dataset)
    with closing(data.items):
        validation = _open_validation(family, config, config.validation.dataset)
        try:
            _check_alike(training, data, validation)
            model = training.locate(config, data.data)
            _check_adapter(config, model)
            packing = plan_packing(config, training, model, data)
            samples = plan_samples(known, training, config, model)
            yield Found(
                family=known,
                training=training,
                config=config,
                data=data,
                validation=validation,
                model=model,
                packing=packing,
                samples=samples,
                notices=(
                    *idle_remarks(config),
                    *remarks,
                    *data.notices,
                    *model.notices,
                    *packing_remarks(packing, data),
                    *(samples.notices if samples is not None else ()),
                ),
            )
        finally:
            if validation is not None:
                validation.items.close()


def check_name(name: str) -> None:
    """Files are called so, in folders that other settings name. Raises ConfigError."""
    if name.strip(". ") != name or name != PureWindowsPath(name).name or name != PurePosixPath(name).name:
        raise ConfigError(
            f"name: {name!r} is no name of a file. Say it without folders, and where it goes with"
            " --saving.folder or --run."
        )
    if not name:
        raise ConfigError("name: is empty. Say how the files of weights are called.")


def _open_validation(family: str, config: TrainConfig, dataset: Path | None) -> OpenedData | None:
    return None if dataset is None else open_training_data(family, config, dataset)


def _check_alike(training: Training, data: OpenedData, validation: OpenedData | None) -> None:
    """A loss on data of another kind would say nothing of what is learned. Raises ConfigError."""
    learned = training.kind(data.data)
    judged = {} if validation is None else training.kind(validation.data)
    problems = [
        f"validation.dataset: its {name} is {judged[name]}, and {learned[name]} is trained. Make caches of it"
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
