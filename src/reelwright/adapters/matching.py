"""Whether a file of LoRA belongs to a network, and which of its modules the user wants."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from reelwright.adapters.formats import AdapterFile, FoundModule
from reelwright.adapters.module_table import ModuleTable, Target, underscored
from reelwright.core.errors import CheckpointError, ConfigError, nearest
from reelwright.protocols.adapter_targets import AdapterTargets

_NUM_SHOWN = 3
_OF_TEXT_ENCODER = re.compile(r"^(lora_te\d?_|text_encoder|te\d?\.)")
_SIGNATURES = (
    (r"(?<!transformer_)(double|single)_blocks", "HunyuanVideo or FLUX"),
    (r"single_transformer_blocks|add_q_proj", "the HunyuanVideo or FLUX kind"),
    (r"attention[._]query_key_value", "SAT"),
    (r"(^|[._])(down|up|mid|input|output|middle)_blocks?[._]", "Stable Diffusion"),
    (r"joint_blocks", "Stable Diffusion 3"),
    (r"transformer_blocks.*attn2", "LTX-Video or PixArt"),
    (r"blocks.*(self_attn|cross_attn)", "Wan"),
)
"""What module names of well-known models look like; the first that fits is named."""


class ForeignAdapterError(CheckpointError):
    """A LoRA of another model; `path` is its file."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


def check_belongs(file: AdapterFile, targets: AdapterTargets) -> None:
    """Raise CheckpointError unless the file was made for this network.

    Sizes count too, as for `check_known` only names do.
    """
    check_known(file, targets)
    if file.mis_shaped:
        raise CheckpointError(
            f"{file.path}: {len(file.mis_shaped)} of {len(file.modules)} modules are of another size than in"
            f" {targets.name}: {'; '.join(file.mis_shaped[:_NUM_SHOWN])}."
            " The LoRA was made for another size of this model."
        )


def check_known(file: AdapterFile, targets: AdapterTargets) -> None:
    """Raise ForeignAdapterError unless most of the file's modules are the network's, by name.

    A few unknown modules are no harm. But where most are unknown the rest only happen to be called alike.
    """
    strangers = [name for name in file.unmatched if not _OF_TEXT_ENCODER.search(name)]
    if not file.modules or len(strangers) > len(file.modules):
        raise ForeignAdapterError(_not_of_this_model(file, targets, strangers), file.path)


def match_notices(file: AdapterFile) -> list[str]:
    """What of the file is not used."""
    notices = list(file.notices)
    # Those of a text encoder come last: they are no surprise.
    unmatched = sorted(file.unmatched, key=lambda name: bool(_OF_TEXT_ENCODER.search(name)))
    if unmatched:
        notices.append(
            f"{file.path.name}: {len(unmatched)} of {file.num_stored} modules are"
            f" not in this model and are left out: {_some(unmatched)}."
        )
    if file.unused:
        notices.append(
            f"{file.path.name}: {len(file.unused)} other tensors are left out: {_some(file.unused)}."
        )
    return notices


def select(
    files: Sequence[AdapterFile], targets: AdapterTargets, include: Sequence[str], exclude: Sequence[str]
) -> list[tuple[FoundModule, ...]]:
    """The modules of each file that `include` finds (all, if it is empty) and `exclude` does not.

    Patterns are searched in every name of a module: ours, the released one with dots or as kohya writes it,
    and the file's own. Raises ConfigError for a pattern that finds nothing or is none, or if nothing is left.
    """
    released = ModuleTable(targets.layouts[0], targets)
    names = {
        id(target): _names(module, target, released)
        for file in files
        for module in file.modules
        for target in module.targets
    }
    including = [_compile("lora_include", text, names.values()) for text in include]
    excluding = [_compile("lora_exclude", text, names.values()) for text in exclude]

    def is_wanted(target: Target) -> bool:
        found = names[id(target)]
        return (not including or _finds(including, found)) and not _finds(excluding, found)

    chosen = [tuple(_narrowed(module, is_wanted) for module in file.modules) for file in files]
    chosen = [tuple(module for module in modules if module.targets) for modules in chosen]
    for file, modules in zip(files, chosen, strict=True):
        if not modules:
            raise ConfigError(f"lora_include, lora_exclude: they leave no module of {file.path}.")
    return chosen


def _names(module: FoundModule, target: Target, released: ModuleTable) -> list[str]:
    place = released.place(target.module) or module.name
    dotted = [target.module, place, module.name]
    return [module.stored_name, *dotted, *(f"lora_unet_{underscored(name)}" for name in dotted)]


def _narrowed(module: FoundModule, is_wanted: Callable[[Target], bool]) -> FoundModule:
    return replace(module, targets=[target for target in module.targets if is_wanted(target)])


def _compile(field: str, text: str, names: Iterable[Sequence[str]]) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"{field}: {text!r} is no regular expression: {error}.") from error
    if not any(_finds([pattern], each) for each in names):
        example = next(iter(names), ["none"])
        raise ConfigError(
            f"{field}: {text!r} finds no module of the LoRAs. Names look like {', '.join(example[:3])}."
        )
    return pattern


def _finds(patterns: Sequence[re.Pattern[str]], names: Sequence[str]) -> bool:
    return any(pattern.search(name) for pattern in patterns for name in names)


def _not_of_this_model(file: AdapterFile, targets: AdapterTargets, strangers: Sequence[str]) -> str:
    kind = next((kind for pattern, kind in _SIGNATURES if any(re.search(pattern, s) for s in strangers)), "")
    number = f"only {len(file.modules)}" if file.modules else "none"
    lines = [
        f"{file.path}: {number} of its {file.num_stored} modules are in {targets.name}.",
        f"Not there: {_some(strangers or file.unmatched)}.",
    ]
    if kind:
        lines.append(f"By its names it is a LoRA for {kind}.")
    elif strangers and (close := nearest(strangers[0], file.table.names())):
        lines.append(f"The nearest module is called {close}.")
    lines.append("Use a LoRA that was made for this model.")
    return " ".join(lines)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NUM_SHOWN]) + (", …" if len(names) > _NUM_SHOWN else "")
