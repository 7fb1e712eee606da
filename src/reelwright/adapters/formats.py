"""Any file of a LoRA, LoHa or LoKr as modules of ours; only names, shapes, alphas and metadata are read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reelwright.adapters.alphas import AlphaRules, alpha_notices, peft_settings, read_alpha
from reelwright.adapters.factors import Adapter, AdapterKind, Extent, measure, take_rows
from reelwright.adapters.module_table import ModuleTable, Target
from reelwright.adapters.tensor_names import module_of_alpha, name_writer, parse_factor, unsupported_kind
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.errors import CheckpointError
from reelwright.protocols.adapter_targets import AdapterTargets

_PEFT_FILE, _PEFT_SETTINGS = "adapter_model", "adapter_config.json"


@dataclass(frozen=True, kw_only=True)
class FoundModule:
    """What a file holds for one module of its layout."""

    stored_name: str
    name: str
    """The layout's own dotted one."""
    kind: AdapterKind
    tensors: Mapping[str, str]
    """Factor -> name of the tensor in the file."""
    extent: Extent
    alpha: float
    targets: Sequence[Target]


@dataclass(frozen=True, kw_only=True)
class AdapterFile:
    """A file that was understood, with no weights read."""

    path: Path
    table: ModuleTable
    writer: str
    """Whose way of naming the file follows."""
    modules: tuple[FoundModule, ...]
    unmatched: tuple[str, ...]
    """Modules that the network does not have, as they are called in the file."""
    mis_shaped: tuple[str, ...]
    """What is wrong with modules that the network has in another size."""
    unused: tuple[str, ...]
    """Tensors that are no part of an adapter."""
    metadata: Mapping[str, str]
    notices: tuple[str, ...]

    @property
    def num_stored(self) -> int:
        """How many modules the file is for, in this network or not."""
        return len(self.modules) + len(self.unmatched)

    @property
    def kinds(self) -> list[str]:
        return sorted({module.kind for module in self.modules})

    @property
    def ranks(self) -> list[int]:
        return sorted({module.extent.rank for module in self.modules})


def read_adapter(path: Path, targets: AdapterTargets, alpha: float = 0.0) -> AdapterFile:
    """Understand a file in the layout that explains most of its modules.

    `alpha` is for files that say none. Raises CheckpointError if the file is damaged or holds no adapter that
    can be applied; whether its modules are those of the network is for the caller to judge.
    """
    with open_tensors(path) as source:
        stored, alphas, unused = _sort(source)
        tables = [ModuleTable(layout, targets) for layout in targets.layouts]
        table = max(tables, key=lambda each: sum(each.resolve(item.module) is not None for item in stored))
        rules = AlphaRules(
            settings=peft_settings(source.metadata, settings_beside(path)),
            argument=alpha,
            default=table.layout.default_alpha,
        )
        reading = _Reading(source=source, table=table, rules=rules, alphas=alphas)
        modules = [module for item in stored if (module := reading.understand(item)) is not None]
    _check_once(path, modules)
    wrong = [text for module in modules if (text := _misfit(module, targets))]
    return AdapterFile(
        path=path,
        table=table,
        writer=name_writer(next(iter(stored[0].tensors.values()))),
        modules=tuple(modules),
        unmatched=tuple(dict.fromkeys(i.module for i in stored if table.resolve(i.module) is None)),
        mis_shaped=tuple(wrong),
        unused=tuple(unused),
        metadata=source.metadata,
        notices=tuple(alpha_notices(reading.origins, rules, path.name)),
    )


def settings_beside(path: Path) -> Path | None:
    """The adapter_config.json that PEFT writes beside its weights."""
    file = find_weight_files(path)[0]
    beside = file.with_name(_PEFT_SETTINGS)
    return beside if file.stem == _PEFT_FILE and beside.is_file() else None


def load_adapter(source: TensorSource, module: FoundModule, target: Target) -> Adapter:
    """The factors of one of our modules, read from the file's module that holds it."""
    factors = {factor: source.read(name) for factor, name in module.tensors.items()}
    adapter = Adapter(kind=module.kind, factors=factors, alpha=module.alpha)
    return take_rows(adapter, target.parts, target.of)


@dataclass(kw_only=True)
class _Stored:
    """The factors of one module as they stand in the file."""

    module: str
    chunk: int | None
    kind: AdapterKind
    tensors: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class _Reading:
    source: TensorSource
    table: ModuleTable
    rules: AlphaRules
    alphas: Mapping[str, str]
    """Stored module name -> its alpha tensor."""
    origins: Counter[str] = field(default_factory=Counter[str])
    """How often each kind of alpha was taken, for LoRA."""

    def understand(self, stored: _Stored) -> FoundModule | None:
        """The module of ours that this is; None if the layout has none of that name."""
        name = self.table.resolve(stored.module)
        if name is None:
            return None
        shapes = {factor: self.source.shape(tensor) for factor, tensor in stored.tensors.items()}
        try:
            extent = measure(stored.kind, shapes)
        except ValueError as error:
            raise CheckpointError(
                f"{self.source.origin}: {stored.module}: {error}. The file is not complete; fetch it again."
            ) from error
        targets = self.table.holders(name, stored.chunk)
        if not targets:
            raise CheckpointError(
                f"{self.source.origin}: {stored.module} has a part {stored.chunk}, the model's has none such."
            )
        return FoundModule(
            stored_name=stored.module,
            name=name,
            kind=stored.kind,
            tensors=stored.tensors,
            extent=extent,
            alpha=self._alpha(stored, name, extent.rank),
            targets=targets,
        )

    def _alpha(self, stored: _Stored, name: str, rank: int) -> float:
        tensor = self.alphas.get(stored.module)
        own = read_alpha(self.source, tensor) if tensor else 0.0
        # PEFT's settings and layouts without alphas are of LoRA alone.
        rules = self.rules if stored.kind == "lora" else replace(self.rules, settings={}, default=None)
        alpha, origin = rules.choose(name, own, rank)
        if rank:
            self.origins[origin] += 1
        return alpha


def _sort(source: TensorSource) -> tuple[list[_Stored], dict[str, str], list[str]]:
    """The tensors of a file by module; the alphas; and what belongs to no adapter."""
    stored: dict[tuple[str, int | None, AdapterKind], _Stored] = {}
    alphas: dict[str, str] = {}
    unused: list[str] = []
    for name in source.names():
        if kind := unsupported_kind(name):
            raise CheckpointError(
                f"{source.origin}: {name}: this is {kind}. Only LoRA, LoHa and LoKr can be applied."
            )
        if part := parse_factor(name):
            key = (part.module, part.chunk, part.kind)
            item = stored.setdefault(key, _Stored(module=part.module, chunk=part.chunk, kind=part.kind))
            item.tensors[part.factor] = name
        elif module := module_of_alpha(name):
            alphas[module] = name
        else:
            unused.append(name)
    if not stored:
        raise CheckpointError(
            f"{source.origin}: this is no LoRA, LoHa or LoKr: its {len(unused)} tensors begin with"
            f" {', '.join(unused[:3]) or 'nothing'}. A whole transformer is given with --dit."
        )
    return list(stored.values()), alphas, unused


def _check_once(path: Path, modules: Sequence[FoundModule]) -> None:
    """Raise CheckpointError if a file changes a module twice, under two names."""
    claims = Counter((target, module.kind) for module in modules for target in module.targets)
    twice = [target.module for (target, _), count in claims.items() if count > 1]
    if twice:
        raise CheckpointError(
            f"{path}: {len(twice)} modules are there under two names, the first is {twice[0]}."
            " Two programs' files were joined; use one of them."
        )


def _misfit(module: FoundModule, targets: AdapterTargets) -> str:
    """What is wrong with the size of a module; empty if it fits."""
    for target in module.targets:
        shape = targets.shapes[target.module]
        rows, columns = shape[0] // len(target.parts) * target.of, math.prod(shape[1:])
        if (module.extent.rows, module.extent.columns) != (rows, columns):
            return (
                f"{module.stored_name} changes a weight of {module.extent.rows} x {module.extent.columns},"
                f" that of the model is {rows} x {columns}"
            )
    return ""
