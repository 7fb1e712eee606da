"""From the LoRA options of a configuration to a network with them in it; the one entry for families."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from reelwright.adapters.formats import AdapterFile, read_adapter, settings_beside
from reelwright.adapters.matching import check_belongs, match_notices, select
from reelwright.adapters.merge import Change, ChosenAdapter, attach, merge
from reelwright.checkpoint.fingerprint import fingerprint
from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.errors import ConfigError
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig


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
        changes = (merge if self.is_merged else attach)(network, self.chosen)
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
        for name in ("lora_include", "lora_exclude", "save_merged_model"):
            if getattr(config, name):
                raise ConfigError(f"{name}: is given without a LoRA. Name one with --lora.")
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
