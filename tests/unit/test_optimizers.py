"""Optimizers by name: each learns, goes on bit for bit from its saved state, and says what is wrong."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest
import torch
from torch import nn

from reelwright.core.arguments import parse_arguments
from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import OptimizerConfig
from reelwright.protocols.training import ParameterGroup
from reelwright.workflows.training.optimizers import (
    check_optimizer,
    learning_rates,
    make_optimizer,
    optimizer_modes,
)

# A rate at which each gets nearer to the answer of the toy within twenty steps.
RATES = {
    "adamw": 3e-2,
    "AdamW8bit": 3e-2,
    "PagedAdamW8bit": 3e-2,
    "Adafactor": 1e-4,
    "Prodigy": 1.0,
    "adamw_schedulefree": 3e-2,
    "RAdamScheduleFree": 3e-2,
    "SGDScheduleFree": 1.0,
    "CAME": 3e-3,
    "Muon": 3e-2,
    "lion": 1e-2,
    "lion8bit": 1e-2,
    "ademamix8bit": 1e-2,
    "sgd": 1.0,
    "NAdam": 3e-2,
    "rmsprop": 1e-2,
    "torch.optim.Adamax": 3e-2,
}
ARGUMENTS = {"Prodigy": ("d0=1e-2",), "RAdamScheduleFree": ("betas=0.9,0.99",)}
# Both a matrix that 8-bit optimizers really hold in 8 bits (4096 numbers or more) and a vector.
WIDTH = 64


class Toy:
    """A linear regression, with its optimizer."""

    def __init__(self, name: str, **changes: object) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randn(32, WIDTH, generator=generator)
        self.answers = self.inputs @ torch.randn(WIDTH, WIDTH, generator=generator) / 8 + 1
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator) / 8)
        self.bias = nn.Parameter(torch.zeros(WIDTH))
        config = OptimizerConfig(
            name=name, learning_rate=RATES.get(name, 1e-2), arguments=ARGUMENTS.get(name, ()), **changes
        )
        groups = [
            ParameterGroup(name="matrix", parameters={"weight": self.weight}),
            ParameterGroup(name="vector", parameters={"bias": self.bias}),
        ]
        self.optimizer = make_optimizer(config, groups)

    def loss(self) -> torch.Tensor:
        return ((self.inputs @ self.weight + self.bias - self.answers) ** 2).mean()

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()

    def values(self) -> list[torch.Tensor]:
        return [self.weight.detach().clone(), self.bias.detach().clone()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize("name", RATES)
def test_each_optimizer_learns(name):
    toy = Toy(name)
    before = toy.loss().item()
    toy.step(20)
    assert toy.loss().item() < 0.95 * before


@pytest.mark.parametrize("name", RATES)
def test_a_saved_optimizer_goes_on_bit_for_bit(name):
    whole = Toy(name)
    whole.step(5)

    stopped = Toy(name)
    stopped.step(3)
    file = io.BytesIO()
    torch.save(stopped.optimizer.state_dict(), file)
    file.seek(0)
    resumed = Toy(name)
    with torch.no_grad():
        resumed.weight.copy_(stopped.weight)
        resumed.bias.copy_(stopped.bias)
    resumed.optimizer.load_state_dict(torch.load(file, weights_only=True))
    resumed.step(2)

    assert same(whole.values(), resumed.values())
    assert learning_rates(whole.optimizer) == learning_rates(resumed.optimizer)


def test_8_bit_states_are_a_quarter_of_the_size():
    toy = Toy("adamw8bit")
    toy.step()
    assert toy.optimizer.state[toy.weight]["state1"].dtype == torch.uint8


def test_groups_keep_their_names_and_learn_at_their_own_rates():
    parameters = [nn.Parameter(torch.zeros(2, 2)) for _ in range(2)]
    groups = [
        ParameterGroup(name="down", parameters={"a": parameters[0]}),
        ParameterGroup(name="up", parameters={"b": parameters[1]}, rate_factor=16.0),
    ]
    optimizer = make_optimizer(OptimizerConfig(name="SGD", learning_rate=0.5), groups)
    for parameter in parameters:
        parameter.grad = torch.ones(2, 2)
    optimizer.step()
    assert learning_rates(optimizer) == {"down": 0.5, "up": 8.0}
    assert [parameter[0, 0].item() for parameter in parameters] == [-0.5, -8.0]
    assert [group["rate_factor"] for group in optimizer.param_groups] == [1.0, 16.0]


def test_adamw_takes_the_step_that_its_paper_describes():
    parameter = nn.Parameter(torch.tensor([[2.0]]))
    config = OptimizerConfig(name="AdamW", learning_rate=0.1, arguments=("weight_decay=0.5", "betas=0.8,0.9"))
    optimizer = make_optimizer(config, [ParameterGroup(name="all", parameters={"a": parameter})])
    parameter.grad = torch.tensor([[3.0]])
    optimizer.step()
    # After one step both corrected moments are the gradient and its square: the step is the rate itself.
    assert parameter.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, rel=1e-6)


def test_the_rate_that_prodigy_found_is_told():
    toy = Toy("Prodigy")
    assert learning_rates(toy.optimizer) == {"matrix": 1e-2, "vector": 1e-2}
    toy.step(10)
    assert learning_rates(toy.optimizer)["matrix"] > 1.5e-2


def test_the_rate_that_adafactor_found_is_told():
    toy = Toy("adafactor")
    assert learning_rates(toy.optimizer)["matrix"] == 0.0
    toy.step(2)
    # Its steps are at most 1e-2 of the size of the parameter (Shazeer and Stern 2018, section 8).
    size = toy.weight.detach().square().mean().sqrt().item()
    assert learning_rates(toy.optimizer)["matrix"] == pytest.approx(1e-2 * size, rel=0.05)


def test_adafactor_with_a_rate_of_its_own_takes_it():
    config = OptimizerConfig(name="Adafactor", learning_rate=0.25, arguments=("relative_step=False",))
    optimizer = make_optimizer(
        config, [ParameterGroup(name="all", parameters={"a": nn.Parameter(torch.ones(2))})]
    )
    assert learning_rates(optimizer) == {"all": 0.25}
    assert check_optimizer(config) == []


def test_muon_makes_orthogonal_steps_of_matrices_and_leaves_vectors_to_adamw():
    toy = Toy("Muon")
    before = toy.values()
    toy.step()
    step = (toy.weight.detach() - before[0] * (1 - 3e-2 * 0.1)) / 3e-2
    # 32 examples make gradients of rank 32: so many singular values of the step are nearly equal, at about
    # 0.2 times the square root of the longer side, and the others are small.
    singular = torch.linalg.svdvals(step) / (0.2 * WIDTH**0.5)
    assert all(0.6 < value < 1.3 for value in singular[:32].tolist())
    assert singular[32:].max() < 0.3
    assert toy.bias.detach().abs().max().item() == pytest.approx(3e-2, rel=1e-3)
    assert list(learning_rates(toy.optimizer)) == ["matrix", "vector, not matrices"]


# Schedule-free optimizers have two faces.


@pytest.mark.parametrize("name", ["adamw_schedulefree", "sgdschedulefree"])
def test_a_schedule_free_optimizer_shows_its_average_and_takes_it_back_exactly(name):
    whole, shown = Toy(name), Toy(name)
    # The first step is the average's too.
    whole.step()
    shown.step()
    for _ in range(4):
        whole.step()
        shown.step()
        before = shown.values()
        with optimizer_modes(shown.optimizer):
            assert not same(before, shown.values())
        assert same(before, shown.values())
    assert same(whole.values(), shown.values())


def test_looking_at_any_other_optimizer_changes_nothing():
    toy = Toy("adamw")
    toy.step()
    before = toy.values()
    with optimizer_modes(toy.optimizer):
        assert same(before, toy.values())


# What is wrong is said.


def refused(name: str, *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_optimizer(OptimizerConfig(name=name, arguments=arguments))
    return str(caught.value)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: refused("adamww"), "Did you mean adamw?"),
        (lambda: refused("lbfgs"), "asks for the loss again"),
        (lambda: refused("torch.optim.AdamX"), "torch.optim has no class AdamX. Did you mean Adam"),
        (lambda: refused("torch.nn.Linear"), "is no torch.optim.Optimizer"),
        (lambda: refused("nowhere.Fast"), "pip install nowhere"),
        (lambda: refused("adamw", "weight_decya=1"), "has no weight_decya. Did you mean weight_decay?"),
        (lambda: refused("adamw", "lr=1"), "lr is set by optimizer.learning_rate"),
        (lambda: refused("adamw", "params=1"), "has no params"),
        (lambda: refused("adamw", "betas=2,3"), "AdamW refuses betas=2,3: Invalid beta"),
        (lambda: refused("adamw", "fused=true", "foreach=true"), "AdamW refuses fused=true foreach=true"),
        (lambda: refused("came", "betas=0.9,0.99"), "CAME refuses betas=0.9,0.99: tuple index out of range"),
        (lambda: refused("muon", "nestrov=true"), "nestrov"),
        (lambda: refused("adamw", "weight_decay"), "is not NAME=VALUE"),
    ],
    ids=[
        "near",
        "unfit",
        "path",
        "kind",
        "missing",
        "name",
        "rate",
        "own",
        "value",
        "both",
        "late",
        "muon",
        "form",
    ],
)
def test_what_is_wrong_is_named_without_a_model(ask: Callable[[], str], said: str):
    assert said in ask()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("adamw8bit", "bitsandbytes", "'reelwright[train-8bit]'"),
        ("prodigy", "prodigyopt", "'reelwright[train]'"),
        ("adamw_schedulefree", "schedulefree", "'reelwright[train]'"),
        ("came", "came_pytorch", "'reelwright[train]'"),
        ("lion", "lion_pytorch", "'reelwright[train]'"),
    ],
)
def test_a_missing_library_is_told_with_what_installs_it(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.optim", None)
    assert f"pip install {extra}" in refused(name)


@pytest.mark.parametrize("name", ["prodigy", "adafactor"])
def test_an_optimizer_that_finds_one_rate_refuses_two(name):
    groups = [
        ParameterGroup(name=str(factor), parameters={"a": nn.Parameter(torch.ones(2))}, rate_factor=factor)
        for factor in (1.0, 4.0)
    ]
    with pytest.raises(ConfigError, match=r"adapter\.up_rate"):
        make_optimizer(OptimizerConfig(name=name), groups)


def test_what_a_user_should_know_is_told():
    assert "has no effect" in check_optimizer(OptimizerConfig(name="adafactor"))[0]
    assert "1 is usual" in check_optimizer(OptimizerConfig(name="prodigy"))[0]
    assert check_optimizer(OptimizerConfig(name="prodigy", learning_rate=1.0)) == []
    assert check_optimizer(OptimizerConfig(name="adamw")) == []


def test_no_optimizer_writes_where_output_may_be():
    written = io.StringIO()
    with redirect_stdout(written):
        check_optimizer(OptimizerConfig(name="prodigy", arguments=("weight_decay=0.1",)))
    assert written.getvalue() == ""


# NAME=VALUE.


def test_values_of_arguments_are_what_they_look_like():
    words = (
        "a=1e-2",
        "b=(0.9,0.99)",
        "c=0.9,0.95",
        "d=True",
        "e=false",
        "f=match_rms",
        "g='1'",
        "h=None",
        "i= 2",
    )
    assert parse_arguments(words, "here") == {
        **{"a": 0.01, "b": (0.9, 0.99), "c": (0.9, 0.95), "d": True, "e": False},
        **{"f": "match_rms", "g": "1", "h": None, "i": 2},
    }


def test_all_problems_of_arguments_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_arguments(("a", "b=1", "b=2", "=3"), "optimizer.arguments")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("optimizer.arguments: ") for line in lines)
