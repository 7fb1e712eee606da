"""Averages of weights against the sum that defines them."""

import pytest
import torch

from reelwright.core.errors import CheckpointError
from reelwright.protocols.train_configs import EmaConfig
from reelwright.workflows.training.ema import Averages


def run(config: EmaConfig, values: list[float]) -> float:
    """The average after the weight was each of the values in turn; the first is the one it starts from."""
    live = {"a": torch.tensor([values[0]], dtype=torch.float64)}
    averages = Averages(config, lambda: live)
    for step, value in enumerate(values[1:], start=1):
        live["a"].fill_(value)
        averages.update(step)
    return averages.tensors()["a"].item()


def test_an_average_is_the_weighted_sum_of_all_weights():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    shares = [0.9**4, *(0.1 * 0.9**age for age in (3, 2, 1, 0))]
    assert run(EmaConfig(decay=0.9, warmup=False), values) == pytest.approx(
        sum(share * value for share, value in zip(shares, values, strict=True))
    )


def test_memory_is_short_at_first():
    # After step 1 at most 2/11 stay, after step 2 at most 3/12, after step 3 at most 4/13.
    average = run(EmaConfig(decay=0.99), [1.0, 0.0, 0.0, 0.0])
    assert average == pytest.approx(2 / 11 * 3 / 12 * 4 / 13)
    assert run(EmaConfig(decay=0.1), [1.0, 0.0, 0.0]) == pytest.approx(0.01)


def test_updates_that_are_rare_remember_no_longer():
    config = EmaConfig(decay=0.9, warmup=False, every=2)
    # Steps 1 and 3 are not looked at; steps 2 and 4 each count for two.
    assert run(config, [1.0, 9.0, 0.0, 9.0, 0.0]) == pytest.approx(0.9**4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_averages_are_shown_and_taken_back_bit_for_bit(dtype):
    generator = torch.Generator().manual_seed(3)
    live = {"a": torch.randn(64, generator=generator).to(dtype), "count": torch.tensor([3])}
    averages = Averages(EmaConfig(decay=0.9), lambda: live)
    live["a"].add_(torch.randn(64, generator=generator).to(dtype))
    live["count"].add_(1)
    averages.update(1)
    kept = {name: tensor.clone() for name, tensor in averages.tensors().items()}
    before = {name: tensor.clone() for name, tensor in live.items()}
    with averages.shown():
        assert torch.equal(live["a"], kept["a"].to(dtype))
        assert not torch.equal(live["a"], before["a"])
    assert all(torch.equal(live[name], before[name]) for name in live)
    assert all(torch.equal(averages.tensors()[name], kept[name]) for name in kept)
    assert averages.tensors()["count"].item() == 4


def test_weights_are_taken_back_after_a_failure():
    live = {"a": torch.zeros(2)}
    averages = Averages(EmaConfig(decay=0.5), lambda: live)
    live["a"].fill_(1.0)
    with pytest.raises(RuntimeError), averages.shown():
        raise RuntimeError
    assert live["a"].tolist() == [1.0, 1.0]


def test_small_changes_of_short_numbers_add_up():
    live = {"a": torch.ones(1, dtype=torch.bfloat16)}
    averages = Averages(EmaConfig(decay=0.999, warmup=False), lambda: live)
    live["a"].zero_()
    for step in range(1, 101):
        averages.update(step)
    assert averages.tensors()["a"].item() == pytest.approx(0.999**100, rel=1e-4)


def test_averages_of_parameters_that_learn_are_kept_without_gradients():
    parameter = torch.nn.Parameter(torch.ones(2))
    averages = Averages(EmaConfig(decay=0.5, warmup=False), lambda: {"a": parameter})
    with torch.no_grad():
        parameter.zero_()
    averages.update(1)
    assert not averages.tensors()["a"].requires_grad
    with averages.shown():
        assert parameter.tolist() == [0.5, 0.5]
    assert parameter.tolist() == [0.0, 0.0]


def test_averages_go_on_from_saved_ones():
    live = {"a": torch.zeros(2)}
    averages = Averages(EmaConfig(decay=0.5, warmup=False), lambda: live)
    averages.load({"a": torch.tensor([4.0, 8.0])})
    averages.update(1)
    assert averages.tensors()["a"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    "tensors",
    [{}, {"a": torch.zeros(3)}, {"a": torch.zeros(2), "b": torch.zeros(2)}],
    ids=["missing", "shape", "more"],
)
def test_averages_of_something_else_are_refused(tensors):
    averages = Averages(EmaConfig(decay=0.5), lambda: {"a": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="trained the same"):
        averages.load(tensors)
