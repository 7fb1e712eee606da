"""How learning rates change over a run: the courses that peers know."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from reelwright.core.arguments import parse_arguments
from reelwright.core.errors import ConfigError
from reelwright.encoders.quiet_networks import import_networks
from reelwright.protocols.train_configs import OptimizerConfig, ScheduleConfig
from reelwright.workflows.training.classes import checked_arguments, class_at
from reelwright.workflows.training.optimizers import (
    finds_rate,
    make_optimizer,
    needs_no_schedule,
    trial_group,
)

_USED: Mapping[str, frozenset[str]] = {
    "constant": frozenset({"warmup"}),
    "constant_with_warmup": frozenset({"warmup"}),
    "linear": frozenset({"warmup"}),
    "cosine": frozenset({"warmup", "cycles"}),
    "cosine_with_restarts": frozenset({"warmup", "cycles"}),
    "cosine_with_min_lr": frozenset({"warmup", "cycles", "min_rate"}),
    "polynomial": frozenset({"warmup", "power", "min_rate"}),
    "inverse_sqrt": frozenset({"warmup", "timescale"}),
    "warmup_stable_decay": frozenset({"warmup", "decay", "cycles", "min_rate"}),
    "piecewise_constant": frozenset({"arguments"}),
    "adafactor": frozenset(),
    "rex": frozenset({"warmup", "min_rate"}),
}
"""What each course can be told beside its name."""
_ENDLESS = 10**9
_REX = 0.9
"""How late rex falls; 0 would be a straight line."""


def make_schedule(
    config: ScheduleConfig,
    optimizer: torch.optim.Optimizer,
    num_steps: int,
    optimizer_config: OptimizerConfig,
) -> LRScheduler | None:
    """The schedule, to be stepped once after each of `num_steps` steps; None if the optimizer needs none.

    It multiplies the rate of each group alike. Raises ConfigError for what it cannot be told.
    """
    if needs_no_schedule(optimizer) or finds_rate(optimizer):
        _check_unset(config, optimizer)
        return None
    if config.path:
        return _from_path(config, optimizer, num_steps)
    if config.name == "adafactor":
        raise ConfigError(
            f"schedule.name: adafactor: {optimizer_config.name} takes a learning rate, and this is how one"
            " without goes on. Use constant, or the optimizer adafactor without relative_step=False."
        )
    _check_used(config)
    return _named(config, optimizer, num_steps)


def check_schedule(config: ScheduleConfig, num_steps: int | None, optimizer_config: OptimizerConfig) -> None:
    """Raise ConfigError as `make_schedule` will, without a model.

    num_steps: None where epochs count, and nobody knows yet how many steps they are.
    """
    optimizer = make_optimizer(optimizer_config, [trial_group()])
    make_schedule(config, optimizer, _ENDLESS if num_steps is None else num_steps, optimizer_config)


def as_steps(amount: float, num_steps: int) -> int:
    """A number of steps, or below 1 a share of all."""
    return int(amount * num_steps) if amount < 1 else int(amount)


def _named(config: ScheduleConfig, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    warmup, decay = as_steps(config.warmup, num_steps), as_steps(config.decay, num_steps)
    _check_lengths(config, warmup, decay, num_steps)
    if config.name in ("constant", "constant_with_warmup"):
        return LambdaLR(optimizer, partial(_constant, warmup=warmup))
    if config.name == "rex":
        return LambdaLR(optimizer, partial(_rex, warmup=warmup, num_steps=num_steps, end=config.min_rate))
    if config.name == "piecewise_constant":
        return LambdaLR(optimizer, partial(_piecewise, rules=_step_rules(config)))
    try:
        return _of_transformers(config.name, optimizer, warmup, num_steps, _told(config, optimizer, decay))
    except ValueError as error:
        raise ConfigError(f"schedule.name: {config.name}: {error}. Change the schedule.") from error


def _of_transformers(
    name: str, optimizer: torch.optim.Optimizer, warmup: int, num_steps: int, told: Mapping[str, Any]
) -> LRScheduler:
    # Seconds, in which it imports much that only its own trainer uses, and that most runs need not wait for.
    import_networks()
    from transformers.optimization import get_scheduler  # noqa: PLC0415

    return get_scheduler(name, optimizer, warmup, num_steps, scheduler_specific_kwargs=dict(told))


def _told(config: ScheduleConfig, optimizer: torch.optim.Optimizer, decay: int) -> dict[str, Any]:
    """What transformers' function of that name takes beside the numbers of steps."""
    # Its waves are whole ones, and the usual cosine is half of one.
    waves = config.cycles / 2
    told: dict[str, dict[str, Any]] = {
        "cosine": {"num_cycles": waves},
        "cosine_with_restarts": {"num_cycles": config.cycles},
        "cosine_with_min_lr": {"num_cycles": waves, "min_lr_rate": config.min_rate},
        "polynomial": {"power": config.power, "lr_end": config.min_rate * optimizer.defaults["lr"]},
        "inverse_sqrt": {"timescale": config.timescale or None},
        "warmup_stable_decay": {
            "num_decay_steps": decay,
            "num_cycles": waves,
            "min_lr_ratio": config.min_rate,
        },
    }
    return told.get(config.name, {})


def _constant(step: int, *, warmup: int) -> float:
    return step / warmup if step < warmup else 1.0


def _rex(step: int, *, warmup: int, num_steps: int, end: float) -> float:
    """Reflected exponential: falls slowly, and fast at the end (Chen et al., "REX", 2021)."""
    if step < warmup:
        return step / warmup
    left = max(0.0, 1 - (step - warmup) / (num_steps - warmup))
    return end + (1 - end) * left / (1 - _REX + _REX * left)


def _piecewise(step: int, *, rules: tuple[tuple[int, float], ...]) -> float:
    """rules: (first step from which it no longer holds, factor); the last factor holds for good."""
    return next((factor for until, factor in rules[:-1] if step < until), rules[-1][1])


def _step_rules(config: ScheduleConfig) -> tuple[tuple[int, float], ...]:
    """step_rules=1:10,0.1:20,0.01 -> 1 up to step 10, a tenth up to step 20, then a hundredth."""
    origin = "schedule.arguments"
    advice = "Write step_rules=1:10,0.1:20,0.01: factors up to steps, and one for the rest."
    said = parse_arguments(config.arguments, origin)
    if set(said) != {"step_rules"}:
        raise ConfigError(f"{origin}: piecewise_constant takes step_rules and nothing else. {advice}")
    *pieces, last = str(said["step_rules"]).split(",")
    try:
        rules = [(int(until), float(factor)) for factor, until in (each.split(":") for each in pieces)]
        return (*rules, (0, float(last)))
    except ValueError as error:
        raise ConfigError(
            f"{origin}: step_rules: {said['step_rules']!r} is no list of them. {advice}"
        ) from error


def _from_path(config: ScheduleConfig, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    kind = class_at(config.path, "schedule.path")
    if not issubclass(kind, LRScheduler) or issubclass(kind, ReduceLROnPlateau):
        raise ConfigError(
            f"schedule.path: {config.path} is no scheduler that goes by steps. Name a class of"
            " torch.optim.lr_scheduler, as torch.optim.lr_scheduler.OneCycleLR."
        )
    if config.name != "constant" or _set_fields(config):
        raise ConfigError(
            "schedule.path: a class takes its own arguments. Set name and the other settings of the schedule"
            " back, and use schedule.arguments."
        )
    arguments = checked_arguments(kind, config.arguments, "schedule.arguments", {"optimizer": ""})
    try:
        if num_steps < _ENDLESS:
            _try_out(kind, arguments, num_steps)
        return kind(optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"schedule.arguments: {kind.__name__} refuses them: {error}.") from error


def _try_out(kind: type[LRScheduler], arguments: Mapping[str, Any], num_steps: int) -> None:
    """Go through all steps with nothing to learn: some classes refuse one that comes late."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    schedule = kind(optimizer, **arguments)
    for _ in range(num_steps):
        optimizer.step()
        schedule.step()


def _check_lengths(config: ScheduleConfig, warmup: int, decay: int, num_steps: int) -> None:
    if config.name == "warmup_stable_decay" and not decay:
        raise ConfigError(
            "schedule.decay: warmup_stable_decay needs it. Set the steps of decay, or 0.2 of all."
        )
    if (warmup and warmup >= num_steps) or warmup + decay > num_steps:
        raise ConfigError(
            f"schedule.warmup: warm-up and decay take {warmup + decay} steps, and the run has {num_steps}."
            " Shorten them, or train longer."
        )


def _check_used(config: ScheduleConfig) -> None:
    told = _set_fields(config) | ({"arguments"} if config.arguments else set())
    unused = sorted(told - _USED[config.name])
    if unused:
        raise ConfigError(
            "\n".join(
                f"schedule.{name}: has no effect with {config.name}. Leave it out, or choose a schedule that"
                f" takes it: {', '.join(each for each in _USED if name in _USED[each]) or 'that of a path'}."
                for name in unused
            )
        )


def _check_unset(config: ScheduleConfig, optimizer: torch.optim.Optimizer) -> None:
    """An optimizer without a schedule must not be asked for one."""
    names = {"constant", "adafactor"} if finds_rate(optimizer) else {"constant"}
    if config.name not in names or config.path or config.arguments or _set_fields(config):
        advice = "set relative_step=False" if finds_rate(optimizer) else "give it warmup_steps for a warm-up"
        raise ConfigError(
            f"schedule: {type(optimizer).__name__} takes none. Leave the schedule out, and {advice} in"
            " optimizer.arguments."
        )


def _set_fields(config: ScheduleConfig) -> set[str]:
    """Names of the settings that some courses take, and that are not at their defaults."""
    usual = ScheduleConfig()
    return {
        field.name
        for field in fields(config)
        if field.name not in ("name", "path", "arguments")
        and getattr(config, field.name) != getattr(usual, field.name)
    }
