"""The packs of a run, planned before anything is loaded."""

from collections.abc import Iterator
from functools import partial

from reelwright.data.packing import PackPlan, plan_packs, tokens_of_groups
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Training, TrainingModel
from reelwright.workflows.caching.opening import OpenedData

_MUCH = 0.05
"""Of the room in packs that is worth a word."""


def plan_packing(
    config: TrainConfig, training: Training, model: TrainingModel, data: OpenedData
) -> PackPlan | None:
    """None where clips of one size make a batch. Reads one item of each size. Raises UserError."""
    capacity = config.packing.tokens
    if not capacity:
        return None
    tokens = tokens_of_groups(data.items, partial(training.num_tokens, model))
    return plan_packs(data.items.supply, tokens, capacity)


def packing_remarks(plan: PackPlan | None, data: OpenedData) -> Iterator[str]:
    """What to say of packs."""
    if plan is None:
        return
    yield (
        f"packing: packs of at most {plan.capacity:,} tokens, of which {plan.waste:.1%} are not used;"
        f" {plan.num_packs:,} make an epoch."
    )
    if plan.waste > _MUCH:
        yield (
            f"packing.tokens: items are of {plan.slots.min():,} to {plan.slots.max():,} tokens, of which few"
            " fill a pack well. Several times as many tokens as the largest item waste less."
        )
    if any(dataset.batch_size > 1 for dataset in data.data.datasets):
        yield "dataset: batch_size has no effect with packing.tokens, which says how large a batch is."
