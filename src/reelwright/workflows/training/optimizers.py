"""Optimizers by name, the rates they really take, and the two faces of those without a schedule."""

import io
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import nn

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import OptimizerConfig
from reelwright.protocols.training import ParameterGroup
from reelwright.workflows.training.classes import checked_arguments, optimizer_class

_ORIGIN = "optimizer.arguments"
_ONE_RATE = ("Prodigy", "DAdapt")
"""Beginnings of the names of optimizers that look for one rate for all parameters."""
_REFUSALS = (TypeError, ValueError, AssertionError, LookupError)
"""What optimizers raise for arguments that they cannot use."""


def make_optimizer(config: OptimizerConfig, groups: Sequence[ParameterGroup]) -> torch.optim.Optimizer:
    """The optimizer, ready for its first step; its groups keep `name` and `rate_factor`.

    Raises ConfigError for unknown names, libraries that are missing, and arguments that it does not take.
    """
    kind = optimizer_class(config.name)
    arguments = _arguments(config, kind)
    _check_rates(kind, groups, is_relative=bool(arguments.get("relative_step")))
    rate = {} if arguments.get("relative_step") else {"lr": config.learning_rate}
    described = [_described(group, config.learning_rate if rate else None, kind) for group in groups]
    try:
        # Some announce themselves where the output of a program may be.
        with redirect_stdout(io.StringIO()):
            optimizer = kind(described, **rate, **arguments)
    except (*_REFUSALS, RuntimeError) as error:
        raise _refused(kind, config, error) from error
    _set_mode(optimizer, "train")
    return optimizer


def check_optimizer(config: OptimizerConfig) -> list[str]:
    """What a user should know of the optimizer. Raises ConfigError as `make_optimizer`, without a model."""
    optimizer = make_optimizer(config, [trial_group()])
    if config.arguments:
        _try_out(optimizer, config)
    if finds_rate(optimizer):
        return [
            "optimizer: Adafactor finds its rate itself:"
            f" learning_rate {config.learning_rate:g} has no effect."
            " Give the argument relative_step=False to set it."
        ]
    if config.learning_rate == 0:
        return ["optimizer.learning_rate: is 0, with which nothing is learned."]
    if _is_one_of(type(optimizer), _ONE_RATE) and config.learning_rate < 0.1:
        return [
            f"optimizer: {type(optimizer).__name__} finds its rate itself, and learning_rate"
            f" {config.learning_rate:g} multiplies it. 1 is usual."
        ]
    return []


def trial_group() -> ParameterGroup:
    """A parameter to try an optimizer on."""
    return ParameterGroup(name="trial", parameters={"trial": nn.Parameter(torch.zeros(2, 2))})


def finds_rate(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it takes no learning rate at all, as Adafactor with relative steps."""
    return any(group.get("relative_step") for group in optimizer.param_groups)


def needs_no_schedule(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is free of schedules (Defazio et al., "The road less scheduled", 2024)."""
    return all("train_mode" in group for group in _bare(optimizer).param_groups)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Group of parameters -> the rate of the last step, times what the optimizer itself found."""
    bare = _bare(optimizer)
    return {
        group.get("name", str(number)): _rate(bare, group) for number, group in enumerate(bare.param_groups)
    }


@contextmanager
def optimizer_modes(optimizer: torch.optim.Optimizer) -> Generator[None]:
    """Within, parameters have the values that a schedule-free optimizer means to be used.

    Afterwards they are bit for bit what they were. For all other optimizers it does nothing.
    """
    bare = _bare(optimizer)
    if not needs_no_schedule(bare):
        yield
        return
    parameters = [each for group in bare.param_groups for each in group["params"]]
    kept = [each.detach().clone() for each in parameters]
    _set_mode(bare, "eval")
    try:
        yield
    finally:
        _set_mode(bare, "train")
        # There and back again rounds; what training goes on from must not depend on who looked.
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def settle(optimizer: torch.optim.Optimizer) -> None:
    """Leave parameters at the values that a schedule-free optimizer means to be used, for good."""
    _set_mode(_bare(optimizer), "eval")


def _arguments(config: OptimizerConfig, kind: type[torch.optim.Optimizer]) -> dict[str, Any]:
    given = {"params": "", "lr": "optimizer.learning_rate"}
    arguments: dict[str, Any] = checked_arguments(kind, config.arguments, _ORIGIN, given)
    if _is_transformers_adafactor(kind):
        arguments.setdefault("relative_step", True)
    if kind in (torch.optim.AdamW, torch.optim.Adam) and not {"fused", "foreach"} & set(arguments):
        # One pass over memory instead of several: faster on GPUs and processors alike.
        arguments["fused"] = not {"capturable", "differentiable"} & set(arguments)
    return arguments


def _try_out(optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> None:
    """Take a step with it: some look at what they were told only then."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    try:
        optimizer.step()
    except _REFUSALS as error:
        raise _refused(type(optimizer), config, error) from error


def _refused(kind: type[torch.optim.Optimizer], config: OptimizerConfig, error: Exception) -> ConfigError:
    said = str(error).rstrip(".") or "a value is out of its range"
    return ConfigError(
        f"{_ORIGIN}: {kind.__name__} refuses {' '.join(config.arguments) or 'them'}: {said}. Change them."
    )


def _check_rates(
    kind: type[torch.optim.Optimizer], groups: Sequence[ParameterGroup], *, is_relative: bool
) -> None:
    is_one = is_relative or _is_one_of(kind, _ONE_RATE)
    if is_one and len({group.rate_factor for group in groups}) > 1:
        raise ConfigError(
            f"optimizer.name: {kind.__name__} finds one learning rate for all parameters, so none can learn"
            " faster than others (adapter.up_rate). Set that to 1, or use adamw."
        )


def _described(
    group: ParameterGroup, rate: float | None, kind: type[torch.optim.Optimizer]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "params": list(group.parameters.values()),
        "name": group.name,
        "rate_factor": group.rate_factor,
    }
    if kind.__name__ == "MuonWithAdamW":
        described["edges"] = [group.parameters[name] for name in sorted(group.edges)]
    return described if rate is None else {**described, "lr": rate * group.rate_factor}


def _rate(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    if group.get("relative_step"):
        return _relative_rate(optimizer, group)
    if group.get("scheduled_lr"):
        return float(group["scheduled_lr"])
    return float(group["lr"]) * float(group.get("d", 1.0))


def _relative_rate(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """What Adafactor made of the number of steps and the size of the first parameter; 0 before it did."""
    stepped = [state for each in group["params"] if (state := optimizer.state.get(each))]
    read: Callable[..., float] = getattr(optimizer, "_get_lr")  # noqa: B009 - no part of the type of all
    return float(read(group, stepped[0])) if stepped else 0.0


def _set_mode(optimizer: torch.optim.Optimizer, mode: str) -> None:
    change = getattr(optimizer, mode, None)
    if callable(change):
        change()


def _bare(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer within that of Accelerate."""
    return getattr(optimizer, "optimizer", optimizer)


def _is_one_of(kind: type[torch.optim.Optimizer], beginnings: Sequence[str]) -> bool:
    return kind.__name__.startswith(tuple(beginnings))


def _is_transformers_adafactor(kind: type[torch.optim.Optimizer]) -> bool:
    return kind.__name__ == "Adafactor" and kind.__module__.startswith("transformers.")
