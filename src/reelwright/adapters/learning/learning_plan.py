"""What is to learn, checked before a model is loaded: modules, sizes, and a file to start from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reelwright.adapters.combination import Adapters, load_adapters
from reelwright.adapters.factors import Adapter, AdapterKind, measure, scaled
from reelwright.adapters.formats import AdapterFile, read_adapter
from reelwright.adapters.learning.initial_factors import FactorSizes, factor_shapes, initial_adapter
from reelwright.adapters.learning.learning_modules import Dropouts
from reelwright.adapters.learning.selection import select_modules
from reelwright.adapters.matching import check_belongs
from reelwright.adapters.plan import AdapterPlan, plan_adapters
from reelwright.core.errors import ConfigError, suggestion
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.train_configs import AdapterConfig

_OF_WEIGHTS = ("rank", "alpha", "targets", "include", "exclude", "rank_pattern", "alpha_pattern", "factor")
"""Fields that `rank_from_weights` decides."""


@dataclass(frozen=True, kw_only=True)
class LearningPlan:
    """The modules that get an adapter. Only names and shapes were read."""

    kind: AdapterKind
    targets: AdapterTargets
    layout: str
    sizes: Mapping[str, FactorSizes] = field(default_factory=dict[str, FactorSizes])
    """Our module -> size; empty where the file decides."""
    file: AdapterFile | None = None
    dropouts: Dropouts

    def adapters(self, seed: int) -> dict[str, Adapter]:
        """Where learning starts, float32, by our module name. Raises ConfigError for sizes that differ."""
        stored: Adapters = load_adapters(self.file) if self.file else {}
        if not self.sizes:
            return dict(stored)
        fresh = {
            name: initial_adapter(self.kind, self.targets.shapes[name], sizes, seed=seed, name=name)
            for name, sizes in self.sizes.items()
        }
        return fresh | {name: _resized(name, stored[name], fresh[name]) for name in fresh if name in stored}


def plan_learning(
    targets: AdapterTargets, config: AdapterConfig, kind: AdapterKind, layout: str
) -> LearningPlan:
    """Check all that is said of adapters against a network.

    Raises ConfigError for options that do not fit it, each other or the file to start from, and
    CheckpointError for a file that is damaged or of another model.
    """
    _check_options(config, kind, layout)
    file = _read_start(targets, config, kind)
    plan = LearningPlan(
        kind=kind,
        targets=targets,
        layout=layout,
        sizes={} if config.rank_from_weights else select_modules(targets, config),
        file=file,
        dropouts=Dropouts(values=config.dropout, ranks=config.rank_dropout, modules=config.module_dropout),
    )
    if file is not None and plan.sizes:
        _check_ranks(file, plan.sizes)
    if config.rank_dropout and not any(_ranks(plan)):
        raise ConfigError(
            "adapter.rank_dropout: at this rank LoKr holds whole matrices. Lower the rank, or leave it out."
        )
    plan_base_weights(targets, config)
    return plan


def choose_layout(asked: str, expected: str, kind: AdapterKind) -> str:
    """The layout of saved files: what is asked for; for auto what users expect, if it can hold this kind."""
    if asked != "auto":
        return asked
    return expected if kind == "lora" else "native"


def plan_base_weights(targets: AdapterTargets, config: AdapterConfig) -> AdapterPlan:
    """The adapters that training starts on top of. Raises as `plan_learning` does."""
    files, multipliers = config.base_weights, config.base_weights_multiplier
    if len(multipliers) > len(files):
        raise ConfigError(
            f"adapter.base_weights_multiplier: {len(multipliers)} values for {len(files)} files."
            " Give at most one for each."
        )
    return plan_adapters(GenerateConfig(lora=files, lora_multiplier=multipliers), lambda: targets)


def _ranks(plan: LearningPlan) -> list[int]:
    """Of all modules; 0 where nothing is of low rank."""
    if plan.file is not None and not plan.sizes:
        return plan.file.ranks
    shapes = plan.targets.shapes
    return [
        measure(plan.kind, factor_shapes(plan.kind, shapes[name], sizes)).rank
        for name, sizes in plan.sizes.items()
    ]


def _check_options(config: AdapterConfig, kind: AdapterKind, layout: str) -> None:
    if layout not in (known := ("native", "diffusers", "peft")):
        raise ConfigError(f"saving.layout: {layout!r} is none. {suggestion(layout, known)}")
    if kind != "lora" and layout != "native":
        raise ConfigError(f"saving.layout: {kind} is written as native only, not as {layout}.")
    if kind != "lora" and config.dropout:
        raise ConfigError(f"adapter.dropout: {kind} has no values between two matrices. Use rank_dropout.")
    if kind != "lokr" and config.factor != -1:
        raise ConfigError(f"adapter.factor: is for the method lokr, not for {kind}. Leave it out.")
    if config.factor == 0:
        raise ConfigError("adapter.factor: 0 is no side of a matrix. Give 1 or more, or -1.")
    for name in ("dropout", "rank_dropout", "module_dropout"):
        if getattr(config, name) == 1:
            raise ConfigError(f"adapter.{name}: at 1 nothing is left to learn. Give less.")
    if config.rank_from_weights:
        _check_rank_from_weights(config)


def _check_rank_from_weights(config: AdapterConfig) -> None:
    if config.weights is None:
        raise ConfigError("adapter.rank_from_weights: there is no file to take it from. Name it as weights.")
    defaults = AdapterConfig()
    for name in _OF_WEIGHTS:
        if getattr(config, name) != getattr(defaults, name):
            raise ConfigError(
                f"adapter.{name}: comes from weights, as rank_from_weights says. Leave one of them out."
            )


def _read_start(targets: AdapterTargets, config: AdapterConfig, kind: AdapterKind) -> AdapterFile | None:
    if config.weights is None:
        return None
    file = read_adapter(config.weights, targets)
    check_belongs(file, targets)
    if file.kinds != [kind]:
        raise ConfigError(
            f"adapter.weights: {file.path} holds {' and '.join(file.kinds)}, the method is {kind}."
            " Choose its method, or start from nothing."
        )
    for module in file.modules:
        is_one = kind == "lokr" or "hada_t1" in module.tensors
        if is_one and any(target.of != 1 for target in module.targets):
            raise ConfigError(
                f"adapter.weights: {file.path} joins in {module.stored_name} what is apart here, and"
                " cannot be cut. Start from another file."
            )
    return file


def _check_ranks(file: AdapterFile, sizes: Mapping[str, FactorSizes]) -> None:
    for module in file.modules:
        for target in module.targets:
            sized = sizes.get(target.module)
            if sized is None:
                raise ConfigError(
                    f"adapter.weights: {file.path} has {target.module}, not trained here; it would be lost."
                    " Include it, or set rank_from_weights."
                )
            if module.extent.rank not in (0, sized.rank):
                raise ConfigError(
                    f"adapter.weights: {target.module} has rank {module.extent.rank} in {file.path}, rank"
                    f" {sized.rank} is asked for. Set rank_from_weights, or that rank."
                )


def _resized(name: str, stored: Adapter, fresh: Adapter) -> Adapter:
    """What a file holds, at the scale that is asked for, with the same effect."""
    shapes, needed = (
        {factor: tuple(tensor.shape) for factor, tensor in adapter.factors.items()}
        for adapter in (stored, fresh)
    )
    if shapes != needed:
        raise ConfigError(
            f"adapter.weights: {name} has factors {shapes} there, {needed} are asked for."
            " Set rank_from_weights."
        )
    exact = Adapter(
        kind=stored.kind,
        factors={factor: tensor.float() for factor, tensor in stored.factors.items()},
        alpha=stored.alpha,
    )
    if not fresh.scale:
        return exact
    return Adapter(
        kind=fresh.kind, factors=scaled(exact, stored.scale / fresh.scale).factors, alpha=fresh.alpha
    )
