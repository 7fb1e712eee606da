"""Adapters written in the layouts that other programs read, by the exact names of their modules."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from reelwright.adapters.alphas import COMPONENT, METADATA_KEYS, SETTINGS_KEY
from reelwright.adapters.combination import Adapters, concatenate_ranks
from reelwright.adapters.factors import Adapter, AdapterKind, scaled
from reelwright.adapters.module_table import ModuleTable, Target, underscored
from reelwright.core.errors import CheckpointError, ConfigError, suggestion
from reelwright.protocols.adapter_targets import AdapterLayout, AdapterTargets

_KOHYA = {"down": "lora_down.weight", "up": "lora_up.weight"}
_PEFT = {"down": "lora_A.weight", "up": "lora_B.weight"}


@dataclass(frozen=True, kw_only=True)
class ExportStyle:
    """How one kind of program names modules and factors, and where it looks for alpha."""

    rename: Callable[[str], str]
    factors: Mapping[str, str]
    has_alphas: bool
    """Whether each module has a tensor with its alpha."""
    is_folded: bool = False
    """Whether alpha is made equal to the rank, for programs that know no other."""
    settings_prefix: str = ""
    kinds: tuple[AdapterKind, ...] = ("lora",)


_NATIVE = ExportStyle(
    rename=lambda name: f"lora_unet_{underscored(name)}",
    factors=_KOHYA,
    has_alphas=True,
    kinds=("lora", "loha", "lokr"),
)
_STYLES = {
    "native": _NATIVE,
    "peft": ExportStyle(rename=lambda name: f"base_model.model.{name}", factors=_PEFT, has_alphas=False),
    "diffusers": ExportStyle(
        rename=lambda name: f"transformer.{name}",
        factors=_PEFT,
        has_alphas=False,
        is_folded=True,
        settings_prefix=COMPONENT,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Export:
    """What to write."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    settings: dict[str, Any]
    """As in PEFT's adapter_config.json."""

    def rounded(self, dtype: torch.dtype) -> "Export":
        """The same in another number format, but for alphas, which have no dimension."""
        tensors = {name: each.to(dtype) if each.ndim else each for name, each in self.tensors.items()}
        return replace(self, tensors=tensors)


def export(adapters: Adapters, targets: AdapterTargets, to: str, metadata: Mapping[str, str]) -> Export:
    """Lay adapters out as `to` says: native, peft, diffusers, or what a layout of the family is called.

    `metadata` of the file that they came from is kept, but for what is written anew. Raises ConfigError for
    an unknown layout, CheckpointError for adapters that it cannot hold.
    """
    layout, style = _find(targets, to)
    table = ModuleTable(layout, targets)
    modules = _placed(adapters, table, targets, to)
    _check_kinds(modules, style, to)
    if style.is_folded:
        modules = {name: _folded(adapter) for name, adapter in modules.items()}
    settings = _settings(modules)
    return Export(
        tensors=_tensors(modules, style),
        metadata=_metadata(settings, style, metadata),
        settings=settings,
    )


def check_layout(targets: AdapterTargets, to: str) -> None:
    """Raise ConfigError for a layout that `export` does not know."""
    _find(targets, to)


def export_names(targets: AdapterTargets) -> list[str]:
    """The layouts that a file can be converted to."""
    return [*_STYLES, *(layout.fused_export for layout in targets.layouts if layout.fused_export)]


def _find(targets: AdapterTargets, to: str) -> tuple[AdapterLayout, ExportStyle]:
    if to in _STYLES:
        return targets.layouts[0], _STYLES[to]
    for layout in targets.layouts:
        if layout.fused_export == to:
            return layout, _NATIVE
    raise ConfigError(f"to: {targets.name} has no layout {to!r}. {suggestion(to, export_names(targets))}")


def _placed(adapters: Adapters, table: ModuleTable, targets: AdapterTargets, to: str) -> dict[str, Adapter]:
    """By the layout's dotted module names; modules that it joins are joined."""
    groups: dict[str, list[tuple[Target, Adapter]]] = {}
    for module, adapter in adapters.items():
        place = table.place(module)
        if place is None:
            raise CheckpointError(f"{module}: the layout {to} has no such module. Convert to native or peft.")
        target = next(target for target in table.holders(place) if target.module == module)
        groups.setdefault(place, []).append((target, adapter))
    return {place: _joined(place, members, to) for place, members in groups.items()}


def _joined(place: str, members: Sequence[tuple[Target, Adapter]], to: str) -> Adapter:
    target, first = members[0]
    if target.of == 1:
        return first
    if any(adapter.kind != "lora" for _, adapter in members):
        raise CheckpointError(f"{place}: {first.kind} cannot be joined as {to} has it. Convert to native.")
    rows = [target.parts for target, _ in members]
    adapters = [adapter for _, adapter in members]
    if all(_shares_down(adapter, first) for adapter in adapters) and sum(map(len, rows)) == target.of:
        return _stacked(adapters, rows)
    return concatenate_ranks(adapters, rows, target.of)


def _shares_down(adapter: Adapter, other: Adapter) -> bool:
    return adapter.alpha == other.alpha and torch.equal(adapter.factors["down"], other.factors["down"])


def _stacked(adapters: Sequence[Adapter], rows: Sequence[tuple[int, ...]]) -> Adapter:
    """LoRAs that share their down matrix as one of the same rank."""
    pieces: dict[int, Tensor] = {}
    for adapter, parts in zip(adapters, rows, strict=True):
        pieces |= dict(zip(parts, adapter.factors["up"].chunk(len(parts)), strict=True))
    up = torch.cat([pieces[part] for part in sorted(pieces)])
    first = adapters[0]
    return Adapter(kind="lora", factors={"down": first.factors["down"], "up": up}, alpha=first.alpha)


def _folded(adapter: Adapter) -> Adapter:
    folded = scaled(adapter, adapter.scale)
    return Adapter(kind="lora", factors=folded.factors, alpha=float(folded.rank))


def _check_kinds(modules: Adapters, style: ExportStyle, to: str) -> None:
    for name, adapter in modules.items():
        if adapter.kind not in style.kinds:
            raise CheckpointError(
                f"{name}: is {adapter.kind}, which {to} has no form for. Convert to native."
            )
        if adapter.of != 1:
            raise CheckpointError(
                f"{name}: is some rows of a joined {adapter.kind}, which cannot be cut, only applied."
            )


def _tensors(modules: Adapters, style: ExportStyle) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, adapter in modules.items():
        module = style.rename(name)
        for factor, tensor in adapter.factors.items():
            tensors[f"{module}.{style.factors.get(factor, factor)}"] = tensor
        if style.has_alphas:
            tensors[f"{module}.alpha"] = torch.tensor(adapter.alpha)
    return tensors


def _settings(modules: Adapters) -> dict[str, Any]:
    """What PEFT wants to know of LoRA modules: the usual rank and alpha, and which modules differ."""
    loras = {name: adapter for name, adapter in modules.items() if adapter.kind == "lora"}
    if not loras:
        return {}
    ranks = {name: adapter.rank for name, adapter in loras.items()}
    alphas = {name: adapter.alpha for name, adapter in loras.items()}
    rank, alpha = (Counter(each.values()).most_common(1)[0][0] for each in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: own for name, own in ranks.items() if own != rank},
        "alpha_pattern": {name: own for name, own in alphas.items() if own != alpha},
        "target_modules": sorted(loras),
    }


def _metadata(settings: Mapping[str, Any], style: ExportStyle, kept: Mapping[str, str]) -> dict[str, str]:
    metadata = {key: text for key, text in kept.items() if key not in (*METADATA_KEYS, "format")}
    if settings:
        table = {style.settings_prefix + key: value for key, value in settings.items() if key != "peft_type"}
        metadata[SETTINGS_KEY] = json.dumps(table)
        if style.has_alphas:
            metadata |= {
                "ss_network_dim": str(settings["r"]),
                "ss_network_alpha": f"{settings['lora_alpha']:g}",
            }
    return metadata
