"""Adapters as what learns in a denoiser: put in beside its weights, listed, limited, saved."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.adapters.export_files import write_file, write_pair
from reelwright.adapters.exports import export
from reelwright.adapters.factors import Adapter, AdapterKind
from reelwright.adapters.learning.initial_factors import zero_factors
from reelwright.adapters.learning.learning_modules import LearningModule
from reelwright.adapters.learning.learning_plan import plan_base_weights, plan_learning
from reelwright.checkpoint.live_parameters import load_parameters, whole
from reelwright.core.events import Event
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.train_configs import AdapterConfig
from reelwright.protocols.training import ParameterGroup, Trainables


def adapter_trainables(
    denoiser: nn.Module,
    targets: AdapterTargets,
    config: AdapterConfig,
    method: AdapterKind,
    *,
    layout: str,
    dtype: torch.dtype,
    seed: int,
) -> Trainables:
    """Put adapters into a denoiser in place, after which nothing else in it learns.

    `layout` (native, diffusers or peft) and `dtype` are those of saved files. The first values follow from
    `seed` and the modules' names alone, or come from the file that the configuration names. Raises
    ConfigError and CheckpointError as `plan_learning` does, which finds them without the denoiser.
    """
    plan = plan_learning(targets, config, method, layout)
    denoiser.requires_grad_(requires_grad=False)
    modules: dict[str, LearningModule] = {}
    weights = 0.0
    for name, adapter in plan.adapters(seed).items():
        layer = denoiser.get_submodule(name)
        modules[name] = LearningModule(layer, adapter, plan.dropouts)
        weights += _norm_of_weight(modules[name].weight) ** 2
        parent, _, leaf = name.rpartition(".")
        setattr(denoiser.get_submodule(parent), leaf, modules[name])
    return _AdapterTrainables(
        modules=modules,
        targets=targets,
        config=config,
        layout=layout,
        dtype=dtype,
        norm_of_weights=math.sqrt(weights),
    )


def merge_base_weights(denoiser: nn.Module, targets: AdapterTargets, config: AdapterConfig) -> list[str]:
    """Merge the adapters that training starts on top of; what was changed, in words.

    Raises as `plan_learning` does.
    """
    plan = plan_base_weights(targets, config)
    return [*plan.notices, *plan.apply(denoiser)]


@dataclass(frozen=True, kw_only=True)
class _AdapterTrainables:
    """`Trainables` of adapters. Parameters are looked up each time: policies put others in their place."""

    modules: Mapping[str, LearningModule]
    targets: AdapterTargets
    config: AdapterConfig
    layout: str
    dtype: torch.dtype
    norm_of_weights: float

    def groups(self) -> Sequence[ParameterGroup]:
        """One, or with LoRA+ two: those that are zero at the start learn faster."""
        slow: dict[str, nn.Parameter] = {}
        fast: dict[str, nn.Parameter] = {}
        for name, module in self.modules.items():
            factors = module.factors()
            zeros = zero_factors(module.kind, factors) if self.config.up_rate != 1 else frozenset[str]()
            for factor, parameter in factors.items():
                (fast if factor in zeros else slow)[f"{name}.{factor}"] = parameter
        groups = [ParameterGroup(name="adapter", parameters=slow)]
        if fast:
            groups.append(ParameterGroup(name="adapter_up", parameters=fast, rate_factor=self.config.up_rate))
        return groups

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{factor}": parameter
            for name, module in self.modules.items()
            for factor, parameter in module.factors().items()
        }

    def load(self, tensors: Mapping[str, Tensor], /) -> None:
        load_parameters(self.tensors(), tensors)

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], /
    ) -> Iterator[Event]:
        """One file; in PEFT's layout the folder with two files that it reads."""
        made = export(self._adapters(tensors), self.targets, self.layout, metadata)
        # Rounded last, with whatever the layout multiplies.
        made = made.rounded(self.dtype)
        if self.layout == "peft":
            return write_pair(place, made)
        return write_file(place.with_name(f"{place.name}.safetensors"), made)

    def untrained(self) -> AbstractContextManager[bool]:
        return self._switched_off()

    @torch.no_grad()
    def after_step(self) -> None:
        """Limit what each module adds. All processes must call it at the same time."""
        if not self.config.max_norm:
            return
        for module in self.modules.values():
            norm = _norm_of_change(module)
            if norm > self.config.max_norm:
                factors = module.factors().values()
                for parameter in factors:
                    parameter.mul_((self.config.max_norm / norm) ** (1 / len(factors)))

    @torch.no_grad()
    def change(self) -> float:
        """As the protocol says. All processes must call it at the same time."""
        squares = sum(_norm_of_change(module) ** 2 for module in self.modules.values())
        return math.sqrt(squares) / self.norm_of_weights if self.norm_of_weights else math.nan

    @contextmanager
    def _switched_off(self) -> Generator[bool, None, None]:
        for module in self.modules.values():
            module.is_active = False
        try:
            yield True
        finally:
            for module in self.modules.values():
                module.is_active = True

    def _adapters(self, tensors: Mapping[str, Tensor]) -> dict[str, Adapter]:
        return {
            name: Adapter(
                kind=module.kind,
                factors={factor: tensors[f"{name}.{factor}"].detach().cpu() for factor in module.factors()},
                alpha=module.alpha,
            )
            for name, module in self.modules.items()
        }


def _norm_of_change(module: LearningModule) -> float:
    factors = {name: whole(parameter.detach()) for name, parameter in module.factors().items()}
    device = next(iter(factors.values())).device
    return Adapter(kind=module.kind, factors=factors, alpha=module.alpha).norm(device)


def _norm_of_weight(weight: Tensor) -> float:
    return float(torch.linalg.vector_norm(weight.detach(), dtype=torch.float32))
