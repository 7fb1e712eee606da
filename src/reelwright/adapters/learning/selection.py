"""Which modules get an adapter that learns, and of what size."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from reelwright.adapters.learning.initial_factors import FactorSizes
from reelwright.adapters.module_table import ModuleTable
from reelwright.core.errors import ConfigError, nearest
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.train_configs import AdapterConfig

_PRESETS: Mapping[str, Callable[[AdapterTargets], list[str]]] = {
    "usual": AdapterTargets.usual_modules,
    "attention": AdapterTargets.attention_modules,
    "all": AdapterTargets.linear_modules,
}
_NUM_SHOWN = 3


def select_modules(targets: AdapterTargets, config: AdapterConfig) -> dict[str, FactorSizes]:
    """Our module names, in the network's order, each with the size of its adapter.

    Patterns must match a whole name: ours, or the released one with dots. Raises ConfigError for a pattern
    that matches nothing or is none, and if nothing is left.
    """
    names = _names(targets)
    included = _matching("adapter.include", config.include, names)
    excluded = _matching("adapter.exclude", config.exclude, names)
    wanted = set(_PRESETS[config.targets](targets)) - excluded | included
    chosen = {module: names[module] for module in names if module in wanted}
    if not chosen:
        raise ConfigError(
            f"adapter.targets, adapter.exclude: they leave no module of {targets.name}."
            " Exclude less, or include some."
        )
    ranks = [_Sized.parse("adapter.rank_pattern", text, chosen) for text in config.rank_pattern]
    alphas = [_Sized.parse("adapter.alpha_pattern", text, chosen) for text in config.alpha_pattern]
    return {
        module: _sizes(_first(ranks, module, config.rank), _first(alphas, module, config.alpha), config)
        for module in chosen
    }


@dataclass(frozen=True, kw_only=True)
class _Sized:
    """PATTERN=N, and the modules that it is for."""

    modules: frozenset[str]
    number: float

    @classmethod
    def parse(cls, field: str, text: str, names: Mapping[str, Sequence[str]]) -> "_Sized":
        pattern, _, number = text.rpartition("=")
        is_whole = field.endswith("rank_pattern")
        try:
            value = int(number) if is_whole else float(number)
        except ValueError:
            value = -1
        if not pattern or not (is_whole <= value < float("inf")):
            kind = "whole number from 1" if is_whole else "number from 0"
            raise ConfigError(f"{field}: {text!r} is not PATTERN=N with a {kind}.")
        return cls(modules=frozenset(_matching(field, [pattern], names)), number=value)


def _sizes(rank: float, alpha: float, config: AdapterConfig) -> FactorSizes:
    return FactorSizes(rank=int(rank), alpha=alpha or float(rank), factor=config.factor)


def _first(sized: Iterable[_Sized], module: str, otherwise: float) -> float:
    return next((each.number for each in sized if module in each.modules), otherwise)


def _names(targets: AdapterTargets) -> dict[str, list[str]]:
    """Every module under all names that patterns may use."""
    released = ModuleTable(targets.layouts[0], targets)
    return {module: [module, released.place(module) or module] for module in targets.shapes}


def _matching(field: str, patterns: Sequence[str], names: Mapping[str, Sequence[str]]) -> set[str]:
    """The modules that at least one pattern is for."""
    return set().union(*(map(partial(_matching_one, field, names=names), patterns)))


def _matching_one(field: str, text: str, *, names: Mapping[str, Sequence[str]]) -> set[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"{field}: {text!r} is no regular expression: {error}.") from error
    found = {module for module, own in names.items() if any(map(pattern.fullmatch, own))}
    if not found:
        raise ConfigError(f"{field}: {text!r} is the whole name of no module{_near(text, names)}")
    return found


def _near(text: str, names: Mapping[str, Sequence[str]]) -> str:
    """The end of a message: modules in whose names the pattern is found, or that look like it."""
    spellings = [name for own in names.values() for name in dict.fromkeys(own)]
    parts = [name for name in spellings if re.search(text, name)]
    if parts:
        return f", only a part of {', '.join(parts[:_NUM_SHOWN])}. Try '.*{text}.*'."
    plain = re.sub(r"\\[dw][+*]?", "0", text).replace("\\", "").replace(".*", "")
    close = nearest(plain, spellings)
    return f". Did you mean {close}?" if close else f". Names look like {', '.join(spellings[:_NUM_SHOWN])}."
