"""Courses of the learning rate against closed formulas, and what a schedule refuses."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import OptimizerConfig, ScheduleConfig
from reelwright.protocols.training import ParameterGroup
from reelwright.workflows.training.lr_schedules import as_steps, check_schedule, make_schedule
from reelwright.workflows.training.optimizers import learning_rates, make_optimizer

STEPS = 20
RATE = 0.5


def optimizer(name: str = "sgd", *arguments: str) -> torch.optim.Optimizer:
    groups = [
        ParameterGroup(name="down", parameters={"a": nn.Parameter(torch.zeros(1))}),
        ParameterGroup(name="up", parameters={"b": nn.Parameter(torch.zeros(1))}, rate_factor=4.0),
    ]
    return make_optimizer(OptimizerConfig(name=name, learning_rate=RATE, arguments=arguments), groups)


def course(config: ScheduleConfig, steps: int = STEPS) -> list[float]:
    """Factors of the rate in each step."""
    made = optimizer()
    schedule = make_schedule(config, made, STEPS, OptimizerConfig(name="sgd", learning_rate=RATE))
    assert schedule is not None
    factors = []
    for _ in range(steps):
        rates = learning_rates(made)
        assert rates["up"] == pytest.approx(4 * rates["down"])
        factors.append(rates["down"] / RATE)
        made.step()
        schedule.step()
    return factors


def half_wave(progress: float, waves: float = 1.0) -> float:
    return (1 + math.cos(math.pi * waves * progress)) / 2


def after_warmup(step: int, warmup: int, factor: Callable[[float], float]) -> float:
    """A straight line up, then a function of the progress from 0 to 1."""
    return step / warmup if step < warmup else factor((step - warmup) / (STEPS - warmup))


def rex(progress: float) -> float:
    return (1 - progress) / (0.1 + 0.9 * (1 - progress))


CASES: dict[str, tuple[ScheduleConfig, Callable[[int], float]]] = {
    "constant": (ScheduleConfig(), lambda _: 1.0),
    "constant-warmed": (ScheduleConfig(warmup=4), lambda step: min(1.0, step / 4)),
    "constant_with_warmup-share": (
        ScheduleConfig(name="constant_with_warmup", warmup=0.25),
        lambda step: min(1.0, step / 5),
    ),
    "linear": (ScheduleConfig(name="linear"), lambda step: 1 - step / STEPS),
    "linear-warmed": (
        ScheduleConfig(name="linear", warmup=5),
        lambda step: after_warmup(step, 5, lambda progress: 1 - progress),
    ),
    "cosine": (ScheduleConfig(name="cosine"), lambda step: half_wave(step / STEPS)),
    "cosine-3-halves": (
        ScheduleConfig(name="cosine", cycles=3, warmup=4),
        lambda step: after_warmup(step, 4, lambda progress: half_wave(progress, 3)),
    ),
    "restarts": (
        ScheduleConfig(name="cosine_with_restarts", cycles=4),
        lambda step: half_wave(step % 5 / 5),
    ),
    "min_lr": (
        ScheduleConfig(name="cosine_with_min_lr", min_rate=0.1, warmup=4),
        lambda step: after_warmup(step, 4, lambda progress: 0.1 + 0.9 * half_wave(progress)),
    ),
    "polynomial": (ScheduleConfig(name="polynomial", power=2), lambda step: (1 - step / STEPS) ** 2),
    "polynomial-end": (
        ScheduleConfig(name="polynomial", min_rate=0.2),
        lambda step: 0.2 + 0.8 * (1 - step / STEPS),
    ),
    "inverse_sqrt": (
        ScheduleConfig(name="inverse_sqrt", warmup=4),
        lambda step: step / 4 if step < 4 else math.sqrt(4 / step),
    ),
    "inverse_sqrt-timescale": (
        ScheduleConfig(name="inverse_sqrt", timescale=9),
        lambda step: math.sqrt(9 / (step + 9)),
    ),
    "stable": (
        ScheduleConfig(name="warmup_stable_decay", warmup=4, decay=0.25),
        lambda step: step / 4 if step < 4 else half_wave(max(0, step - 15) / 5),
    ),
    "stable-end": (
        ScheduleConfig(name="warmup_stable_decay", decay=10, min_rate=0.5),
        lambda step: 0.5 + 0.5 * half_wave(max(0, step - 10) / 10),
    ),
    "piecewise": (
        ScheduleConfig(name="piecewise_constant", arguments=("step_rules=1:5,0.1:10,0.01",)),
        lambda step: 1.0 if step < 5 else 0.1 if step < 10 else 0.01,
    ),
    "rex": (ScheduleConfig(name="rex"), lambda step: rex(step / STEPS)),
    "rex-end": (
        ScheduleConfig(name="rex", warmup=4, min_rate=0.01),
        lambda step: after_warmup(step, 4, lambda progress: 0.01 + 0.99 * rex(progress)),
    ),
    "path": (
        ScheduleConfig(path="torch.optim.lr_scheduler.StepLR", arguments=("step_size=8", "gamma=0.5")),
        lambda step: 0.5 ** (step // 8),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_course_follows_its_formula(case):
    config, formula = CASES[case]
    assert course(config) == pytest.approx([formula(step) for step in range(STEPS)], abs=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case != "path"])
def test_a_course_can_be_asked_beyond_its_end(case):
    assert all(0 <= factor <= 1 for factor in course(CASES[case][0], STEPS + 3))


@pytest.mark.parametrize("case", ["cosine", "rex-end", "piecewise", "path"])
def test_a_saved_schedule_goes_on(case):
    config, _ = CASES[case]
    rate = OptimizerConfig(name="sgd", learning_rate=RATE)
    whole, stopped, resumed = optimizer(), optimizer(), optimizer()
    schedules = [make_schedule(config, each, STEPS, rate) for each in (whole, stopped, resumed)]
    for made, schedule, steps in zip((whole, stopped), schedules[:2], (9, 4), strict=True):
        for _ in range(steps):
            made.step()
            schedule.step()
    file = io.BytesIO()
    torch.save([stopped.state_dict(), schedules[1].state_dict()], file)
    file.seek(0)
    for part, state in zip((resumed, schedules[2]), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    for _ in range(5):
        resumed.step()
        schedules[2].step()
    assert learning_rates(resumed) == learning_rates(whole)


@pytest.mark.parametrize(
    ("amount", "steps"), [(0, 0), (0.1, 2), (0.99, 19), (1, 1), (12, 12)], ids=["0", "10%", "99%", "1", "12"]
)
def test_an_amount_below_1_is_a_share_of_all_steps(amount, steps):
    assert as_steps(amount, STEPS) == steps


@pytest.mark.parametrize("name", ["adamw_schedulefree", "adafactor"])
def test_an_optimizer_without_a_schedule_gets_none(name):
    config = OptimizerConfig(name=name)
    made = make_optimizer(config, [ParameterGroup(name="all", parameters={"a": nn.Parameter(torch.ones(2))})])
    assert make_schedule(ScheduleConfig(), made, STEPS, config) is None


def test_a_warm_up_is_not_too_long_while_nobody_knows_the_steps_of_an_epoch():
    check_schedule(ScheduleConfig(warmup=5000), None, OptimizerConfig())


def test_adafactor_may_be_told_the_schedule_it_has():
    check_schedule(ScheduleConfig(name="adafactor"), STEPS, OptimizerConfig(name="adafactor"))


@pytest.mark.parametrize(
    ("config", "name", "said"),
    [
        (ScheduleConfig(name="cosine"), "adamw_schedulefree", "takes none"),
        (ScheduleConfig(warmup=5), "adamw_schedulefree", "warmup_steps"),
        (ScheduleConfig(name="cosine"), "adafactor", "relative_step=False"),
        (ScheduleConfig(name="adafactor"), "adamw", "takes a learning rate"),
        (ScheduleConfig(name="cosine", power=2), "adamw", "schedule.power: has no effect with cosine"),
        (ScheduleConfig(name="linear", min_rate=0.1), "adamw", "cosine_with_min_lr, polynomial"),
        (ScheduleConfig(name="cosine", arguments=("a=1",)), "adamw", "schedule.arguments: has no effect"),
        (ScheduleConfig(name="warmup_stable_decay"), "adamw", "schedule.decay"),
        (ScheduleConfig(warmup=STEPS), "adamw", "and the run has 20"),
        (ScheduleConfig(name="warmup_stable_decay", warmup=11, decay=10), "adamw", "take 21 steps"),
        (ScheduleConfig(name="piecewise_constant"), "adamw", "takes step_rules"),
        (
            ScheduleConfig(name="piecewise_constant", arguments=("step_rules=1:a,2",)),
            "adamw",
            "no list of them",
        ),
        (
            ScheduleConfig(name="piecewise_constant", arguments=("step_rules=1,2",)),
            "adamw",
            "no list of them",
        ),
        (ScheduleConfig(path="torch.optim.lr_scheduler.StepRL"), "adamw", "Did you mean StepLR?"),
        (ScheduleConfig(path="torch.optim.lr_scheduler.StepLR"), "adamw", "step_size"),
        (ScheduleConfig(path="torch.optim.lr_scheduler.ReduceLROnPlateau"), "adamw", "goes by steps"),
        (ScheduleConfig(path="torch.nn.Linear"), "adamw", "goes by steps"),
        (ScheduleConfig(path="StepLR"), "adamw", "no dotted path"),
        (
            ScheduleConfig(
                path="torch.optim.lr_scheduler.OneCycleLR", arguments=("max_lr=0.1", "total_steps=19")
            ),
            "adamw",
            "Tried to step 20 times",
        ),
        (ScheduleConfig(path="torch.optim.lr_scheduler.StepLR", warmup=1), "adamw", "its own arguments"),
        (ScheduleConfig(name="polynomial", min_rate=1.0), "adamw", "polynomial: lr_end"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.name}{value.path.rpartition('.')[2]}",
)
def test_what_would_have_no_effect_or_cannot_be_is_refused(config, name, said):
    with pytest.raises(ConfigError) as caught:
        check_schedule(config, STEPS, OptimizerConfig(name=name))
    assert said in str(caught.value)
