"""From a configuration to a way to leave steps out; what cannot be is refused before a model loads."""

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import nn

from reelwright.core.errors import UserError
from reelwright.execution.policy import Policy
from reelwright.execution.step_cache.calibration import Calibration
from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.execution.step_cache.policy import Method, StepCache
from reelwright.execution.step_cache.ratios import MagnitudeRatios, read_ratios
from reelwright.execution.step_cache.rules import MagnitudeRule, ResidualRule, SignalRule
from reelwright.protocols.policy_configs import PolicyConfig
from reelwright.protocols.review import Review

_IDENTITY = (1.0, 0.0)
_IDENTITY_THRESHOLD = 0.15
_MAGNITUDE_THRESHOLD = 0.24
_FIRST_BLOCK_THRESHOLD = 0.16
_OF_A_STEP_CACHE = ("threshold", "start", "max_skips", "ratios", "ratio_list")


def install_step_cache(
    network: nn.Module, config: PolicyConfig, facts: Callable[[nn.Module], StepCacheFacts]
) -> list[Policy]:
    """Put the step cache of a configuration, or what calibrates one, around the network's trunk."""
    if config.step_cache_calibrate is not None:
        return [Calibration(network, config.step_cache_calibrate)]
    if config.step_cache == "off":
        return []
    method = _METHODS[config.step_cache](network, config, facts(network))
    return [StepCache(network, method, start=config.step_cache_start, max_skips=config.step_cache_max_skips)]


def check_step_cache(review: Review[Any], facts: StepCacheFacts) -> None:
    """Refuse what the options of step caches cannot mean for a model; remark on what is not its own."""
    config: PolicyConfig = review.config.execution
    for problem in _problems(config, facts):
        review.refuse(f"execution.step_cache{problem}")
    if config.step_cache == "teacache" and facts.polynomial is None:
        review.notices.append(
            "step_cache: TeaCache's polynomial was never fitted to this model; changes of its signal are"
            f" taken as they are, with a threshold of {_threshold(config, _IDENTITY_THRESHOLD):g}."
        )
    if config.step_cache == "magcache" and not _has_given_ratios(config) and not facts.ratios_are_own:
        review.notices.append(
            "step_cache: the ratios were measured on a larger model;"
            " --execution.step-cache-calibrate measures those of this one."
        )


def _problems(config: PolicyConfig, facts: StepCacheFacts) -> Iterator[str]:
    if config.step_cache == "off":
        default = PolicyConfig()
        for name in (f"step_cache_{each}" for each in _OF_A_STEP_CACHE):
            if getattr(config, name) != getattr(default, name):
                key = name.removeprefix("step_cache")
                yield f"{key}: is for a step cache. Choose one with --execution.step-cache."
        return
    if config.step_cache_calibrate is not None:
        yield "_calibrate: measures exact steps. Leave --execution.step-cache out."
    if -1.0 < config.step_cache_threshold < 0.0:
        value = f"{config.step_cache_threshold:g}"
        yield f"_threshold: {value} is below 0. Use -1 for the method's own, or 0 or more."
    yield from _problems_of_ratios(config, facts)


def _problems_of_ratios(config: PolicyConfig, facts: StepCacheFacts) -> Iterator[str]:
    given = _has_given_ratios(config)
    if config.step_cache != "magcache":
        if given:
            yield "_ratios: are for magcache. Leave them out, or take --execution.step-cache magcache."
        return
    if config.step_cache_ratios is not None and config.step_cache_ratio_list:
        yield "_ratios: come from a file or as a list. Give one of them."
    elif config.step_cache_ratios is not None:
        try:
            read_ratios(config.step_cache_ratios)
        except UserError as error:
            yield f"_ratios: {error}"
    elif not given and facts.ratios is None:
        yield (
            ": nobody measured magcache's ratios for this model. Measure them in one exact run, the same"
            " command with --execution.step-cache-calibrate ratios.json instead of --execution.step-cache;"
            " then add --execution.step-cache-ratios ratios.json."
        )


def _has_given_ratios(config: PolicyConfig) -> bool:
    return config.step_cache_ratios is not None or bool(config.step_cache_ratio_list)


def _threshold(config: PolicyConfig, own: float) -> float:
    return own if config.step_cache_threshold < 0 else config.step_cache_threshold


def _teacache(network: nn.Module, config: PolicyConfig, facts: StepCacheFacts) -> Method:
    is_fitted = facts.polynomial is not None
    return Method(
        name="teacache",
        threshold=_threshold(config, facts.polynomial_threshold if is_fitted else _IDENTITY_THRESHOLD),
        new_rule=lambda branch, num_steps: SignalRule(facts.polynomial or _IDENTITY),
        signal=partial(facts.signal, weakref.proxy(network)),
    )


def _magcache(network: nn.Module, config: PolicyConfig, facts: StepCacheFacts) -> Method:
    if config.step_cache_ratios is not None:
        ratios = read_ratios(config.step_cache_ratios)
    else:
        listed = config.step_cache_ratio_list or facts.ratios
        assert listed, "refused before a model loads"
        ratios = MagnitudeRatios(positive=listed)
    return Method(
        name="magcache",
        threshold=_threshold(config, _MAGNITUDE_THRESHOLD),
        new_rule=lambda branch, num_steps: MagnitudeRule(ratios.at_steps(branch, num_steps)),
    )


def _first_block(network: nn.Module, config: PolicyConfig, facts: StepCacheFacts) -> Method:
    return Method(
        name="first_block",
        threshold=_threshold(config, _FIRST_BLOCK_THRESHOLD),
        new_rule=lambda branch, num_steps: ResidualRule(),
        sees_first_block=True,
    )


_METHODS = {"teacache": _teacache, "magcache": _magcache, "first_block": _first_block}
