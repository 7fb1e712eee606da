"""From the LoRA options of a configuration to a network with them in it; the one entry for families."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from reelwright.adapters.formats import AdapterFile, read_adapter, settings_beside
from reelwright.adapters.matching import check_belongs, match_notices, select
from reelwright.adapters.merge import Change, ChosenAdapter, Merging, attach, merge
from reelwright.checkpoint.fingerprint import fingerprint
from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.errors import ConfigError
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig

N = TypeVar("N", bound=nn.Module)
AddTo = Callable[[str], Callable[[Tensor], None] | None]
"""What adds LoRAs to the weight of a module, in place; None if none changes it."""


@dataclass(frozen=True, kw_only=True)
class AdapterPlan:
    """LoRAs that were found to fit, with no weights read. Without any, it changes nothing."""

    chosen: tuple[ChosenAdapter, ...] = ()
    is_merged: bool = True
    notices: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each file, by its place on the command line."""
        return {f"lora {number}": _fingerprint(each.file) for number, each in enumerate(self.chosen, start=1)}

    @property
    def multipliers(self) -> tuple[float, ...]:
        """How strongly each file is applied, in the order of the files."""
        return tuple(each.multiplier for each in self.chosen)

    def apply(self, network: nn.Module) -> list[str]:
        """Merge into the network's weights, or run beside them; what was changed, in words.

        Raises CheckpointError for files that turn out to be damaged.
        """
        return self._report((merge if self.is_merged else attach)(network, self.chosen))

    def load_with(self, load: Callable[[AddTo], N]) -> tuple[N, list[str]]:
        """Load a network with these LoRAs merged, or beside its weights; what was changed, in words.

        `load` is given what adds them to the weight of a module, and may use it on weights that it puts where
        nothing can be added any more. Raises CheckpointError for files that turn out to be damaged.
        """
        if not self.is_merged:
            network = load(lambda module: None)
            return network, self.apply(network)
        with Merging(self.chosen) as merging:
            network = load(merging.on)
            merging.finish(network)
            return network, self._report(merging.changes)

    def _report(self, changes: Sequence[Change]) -> list[str]:
        return [_report(each, change) for each, change in zip(self.chosen, changes, strict=True)]


def plan_adapters(config: GenerateConfig, find_targets: Callable[[], AdapterTargets]) -> AdapterPlan:
    """Check the LoRAs of a configuration against a network; only names, shapes and metadata are read.

    `find_targets` is called only if there are LoRAs.
    Raises CheckpointError for a file that is damaged or of another model, ConfigError for options that do not
    fit the files.
    """
    _check_options(config)
    if not config.lora:
        return AdapterPlan()
    targets = find_targets()
    alphas = _extended(config.lora_alpha, len(config.lora), 0.0)
    files = [read_adapter(path, targets, alpha) for path, alpha in zip(config.lora, alphas, strict=True)]
    for file in files:
        check_belongs(file, targets)
    selected = select(files, targets, config.lora_include, config.lora_exclude)
    multipliers = _extended(config.lora_multiplier, len(files), 1.0)
    return AdapterPlan(
        chosen=tuple(
            ChosenAdapter(file=file, modules=modules, multiplier=multiplier)
            for file, modules, multiplier in zip(files, selected, multipliers, strict=True)
        ),
        is_merged=config.lora_mode == "merge",
        notices=tuple(notice for file in files for notice in match_notices(file)),
    )


def _check_options(config: GenerateConfig) -> None:
    count = len(config.lora)
    for name in ("lora_multiplier", "lora_alpha"):
        if len(given := getattr(config, name)) > count:
            raise ConfigError(f"{name}: {len(given)} values for {count} LoRAs. Give at most one for each.")
    if count == 0:
        for name in ("lora_include", "lora_exclude"):
            if getattr(config, name):
                raise ConfigError(f"{name}: is given without a LoRA. Name one with --lora.")
        if config.save_merged_model and config.execution.weights == "full":
            raise ConfigError(
                "save_merged_model: is given without a LoRA. Name one with --lora, or a number format to"
                " write with --execution.weights."
            )
    if config.save_merged_model and config.execution.weights in ("int8", "int4"):
        raise ConfigError(
            f"execution.weights: no other program reads files in {config.execution.weights}. Save fp8 or"
            f" fp8_scaled; {config.execution.weights} is made when a model is loaded."
        )
    if config.save_merged_model and config.lora_mode != "merge":
        raise ConfigError("lora_mode: save_merged_model needs the LoRAs merged. Leave out --lora-mode.")
    if config.dit and config.save_merged_model and config.dit.resolve() == config.save_merged_model.resolve():
        raise ConfigError(f"save_merged_model: {config.dit} is what is read. Name another file or folder.")


def _extended(values: Sequence[float], count: int, default: float) -> list[float]:
    """One value for each file; the last one holds for those that follow."""
    known = list(values) or [default]
    return (known + known[-1:] * count)[:count]


def _fingerprint(file: AdapterFile) -> str:
    settings = settings_beside(file.path)
    return fingerprint([*find_weight_files(file.path), *([settings] if settings else [])])


def _report(chosen: ChosenAdapter, change: Change) -> str:
    file = chosen.file
    ranks = "-".join(str(rank) for rank in sorted({min(file.ranks), max(file.ranks)}))
    return (
        f"{file.path.name}: {', '.join(file.kinds)} of rank {ranks}, {file.table.layout.key_map.name} names;"
        f" {len(file.modules)} of {file.num_stored} modules match, {len(change.modules)} weights change at"
        f" multiplier {chosen.multiplier:g}, by {change.ratio:.2%} of their norm."
    )
