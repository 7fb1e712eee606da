"""Settings that would have no effect: refused where they contradict others, told where others are missing."""

from collections.abc import Iterator, Sequence

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import TrainConfig

_SWITCHES = {
    "samples": ("prompts", ("at_start", "beside", "direction")),
    "validation": ("dataset", ("at_start",)),
    "ema": ("decay", ()),
    "hub": ("repository", ("token",)),
}
"""Group -> the setting without which it does nothing, and those that nobody misses."""
_FOR_METADATA = ("comment", "title", "author", "description", "license", "tags")


def refuse_idle(config: TrainConfig) -> None:
    """Raise ConfigError with all that contradicts the method."""
    if problems := list(_contradictions(config)):
        raise ConfigError("\n".join(f"train: {problem}" for problem in problems))


def idle_remarks(config: TrainConfig) -> list[str]:
    """What to say of settings that wait for others."""
    return [*_waiting(config), *_never(config), *_saved(config)]


def _contradictions(config: TrainConfig) -> Iterator[str]:
    if config.method == "full":
        usual = type(config.adapter)()
        for name in _changed(config.adapter):
            if not name.startswith("base_weights"):
                yield (
                    f"adapter.{name}: has no effect when all weights learn (method full). Leave it out, or"
                    f" set it back to {getattr(usual, name)!r} if a recipe says it."
                )
        if config.saving.layout != "auto":
            yield "saving.layout: is of adapters; whole models are saved as diffusers has them. Leave it out."
    elif config.init != "weights":
        yield f"init: {config.init} is for training all weights. Add --method full."
    if config.init_config is not None and config.init != "random":
        yield "init_config: says how large a transformer from nothing is. Add --init random, or leave it out."
    if config.adapter.factor != -1 and config.method != "lokr":
        yield "adapter.factor: is for method lokr alone. Leave it out."
    if config.validation.dataset is not None and not config.validation.levels:
        yield "validation.levels: there is none to judge at. Name one at least, as 0.5."
    if config.adapter.up_rate != 1.0 and config.method != "lora":
        yield "adapter.up_rate: is for method lora alone. Leave it out."


def _waiting(config: TrainConfig) -> Iterator[str]:
    """Of each group that is switched off, what was set in it."""
    for group, (switch, unmissed) in _SWITCHES.items():
        settings = getattr(config, group)
        said = [name for name in _changed(settings) if name not in unmissed]
        if said and not getattr(settings, switch):
            listed = ", ".join(f"{group}.{name}" for name in said)
            yield f"{listed}: no effect without {group}.{switch}."


def _never(config: TrainConfig) -> Iterator[str]:
    for group, switch in (("samples", "prompts"), ("validation", "dataset")):
        settings = getattr(config, group)
        is_ever = settings.every_steps or settings.every_epochs or settings.at_start
        if getattr(settings, switch) and not is_ever:
            yield (
                f"{group}.{switch}: is never used. Say when, by {group}.every_steps, {group}.every_epochs or"
                f" {group}.at_start."
            )


def _saved(config: TrainConfig) -> Iterator[str]:
    saving = config.saving
    for kept, every in (("keep_steps", "every_steps"), ("keep_epochs", "every_epochs")):
        if getattr(saving, kept) and not getattr(saving, every):
            yield f"saving.{kept}: there is nothing to remove without saving.{every}."
    given = [f"saving.{name}" for name in _FOR_METADATA if getattr(saving, name)]
    if given and config.method == "full":
        yield f"{', '.join(given)}: not written: whole models hold no metadata."
    elif saving.comment and not saving.metadata:
        yield "saving.comment: not written, as saving.metadata is off."


def _changed(settings: object) -> Sequence[str]:
    usual = type(settings)()
    return [name for name in vars(settings) if getattr(settings, name) != getattr(usual, name)]
