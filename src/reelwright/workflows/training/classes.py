"""Classes of optimizers and schedulers by name, from torch and from libraries that may be missing."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch

from reelwright.core.arguments import parse_arguments
from reelwright.core.errors import ConfigError, suggestion

_EXTRAS = {
    "bitsandbytes": "'reelwright[train-8bit]'",
    "prodigyopt": "'reelwright[train]'",
    "schedulefree": "'reelwright[train]'",
    "came_pytorch": "'reelwright[train]'",
    "lion_pytorch": "'reelwright[train]'",
}
"""Package -> what brings it."""
_BY_NAME = {
    "adafactor": "transformers.optimization.Adafactor",
    "adamw8bit": "bitsandbytes.optim.AdamW8bit",
    "pagedadamw8bit": "bitsandbytes.optim.PagedAdamW8bit",
    "adam8bit": "bitsandbytes.optim.Adam8bit",
    "lion8bit": "bitsandbytes.optim.Lion8bit",
    "pagedlion8bit": "bitsandbytes.optim.PagedLion8bit",
    "ademamix8bit": "bitsandbytes.optim.AdEMAMix8bit",
    "prodigy": "prodigyopt.Prodigy",
    "adamwschedulefree": "schedulefree.AdamWScheduleFree",
    "radamschedulefree": "schedulefree.RAdamScheduleFree",
    "sgdschedulefree": "schedulefree.SGDScheduleFree",
    "came": "came_pytorch.CAME",
    "lion": "lion_pytorch.Lion",
    "muon": "reelwright.workflows.training.muon.MuonWithAdamW",
}
"""What is taken by these names rather than a class of torch."""
_UNFIT = {
    "lbfgs": "asks for the loss again within a step",
    "sparseadam": "takes sparse gradients, which no denoiser has",
}


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class of that name, in any case and with any dashes, or at that dotted path. Raises ConfigError."""
    origin = "optimizer.name"
    plain = _plain(name)
    ours = {_plain(each): each for each in _torch_names()}
    if plain in _UNFIT:
        raise ConfigError(f"{origin}: {name} {_UNFIT[plain]}. Use adamw.")
    if plain in _BY_NAME:
        path = _BY_NAME[plain]
    elif plain in ours:
        path = f"torch.optim.{ours[plain]}"
    elif "." in name:
        path = name
    else:
        known = [*_BY_NAME, *(each for each in ours if each not in _UNFIT)]
        raise ConfigError(
            f"{origin}: {name}: no optimizer is called so. {suggestion(name, sorted(set(known)))}"
        )
    found = class_at(path, origin)
    if not issubclass(found, torch.optim.Optimizer):
        raise ConfigError(f"{origin}: {name} is no torch.optim.Optimizer. Name a class that is one.")
    return found


def class_at(path: str, origin: str) -> type[Any]:
    """The class at a dotted path. Raises ConfigError that tells what to install."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ConfigError(f"{origin}: {path!r} is no dotted path. Write module.Class, as torch.optim.RAdam.")
    try:
        module = import_module(module_name)
    except (ImportError, ValueError) as error:
        top = path.partition(".")[0]
        install = _EXTRAS.get(top, top)
        raise ConfigError(
            f"{origin}: {path} cannot be imported ({error}). If it is not installed: pip install {install}"
        ) from error
    found: object = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [each for each, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{origin}: {module_name} has no class {name}. {suggestion(name, classes)}")
    return found


def checked_arguments(
    kind: type[Any], words: tuple[str, ...], origin: str, given: Mapping[str, str]
) -> dict[str, Any]:
    """What NAME=VALUE words say to a class.

    given: parameter -> the field that says it, or nothing for those that are not the user's. Raises
    ConfigError that names each parameter that the class does not have.
    """
    values = parse_arguments(words, origin)
    parameters = inspect.signature(kind).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    free = [name for name in parameters if name not in given]
    problems = [f"{name} is set by {given[name]}." for name in values if given.get(name)]
    problems += [
        f"{kind.__name__} has no {name}. {suggestion(name, free)}"
        for name in values
        if not given.get(name) and (name in given or (name not in parameters and not takes_any))
    ]
    if problems:
        raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))
    return values


def _torch_names() -> list[str]:
    return [
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name != "Optimizer"
    ]


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
