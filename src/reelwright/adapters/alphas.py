"""Alpha of each module: from the file's metadata, its alpha tensors, the user, or what its layout implies."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read

SETTINGS_KEY = "lora_adapter_metadata"
METADATA_KEYS = (SETTINGS_KEY, "lora_config")
"""Where diffusers and finetrainers keep PEFT's settings as JSON."""
COMPONENT = "transformer."
"""Before the settings of the denoiser, where those of a text encoder are in the same table."""


@dataclass(frozen=True, kw_only=True)
class AlphaRules:
    """All that is said of a file's alphas. What is said first in the order below holds."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of PEFT: lora_alpha, alpha_pattern, use_rslora."""
    argument: float = 0.0
    """What the user says; 0 is nothing."""
    default: float | None = None
    """What programs that write this layout mean when they write none; None: the rank."""

    def choose(self, module: str, stored: float, rank: int) -> tuple[float, str]:
        """Alpha of a LoRA module and who says so; `stored` is its own tensor, 0 where there is none."""
        if (told := self._of_settings(module)) is not None:
            # Rank-stabilized scale is alpha / sqrt(rank): the same as alpha * sqrt(rank) over the rank.
            return told * (math.sqrt(rank) if self.settings.get("use_rslora") else 1.0), "metadata"
        if stored:
            return stored, "tensors"
        if self.argument:
            return self.argument, "argument"
        return (float(rank or 1), "rank") if self.default is None else (self.default, "layout")

    def _of_settings(self, module: str) -> float | None:
        patterns = self.settings.get("alpha_pattern") or {}
        told = next(
            (alpha for name, alpha in patterns.items() if re.match(rf"(.*\.)?({name})$", module)), None
        )
        told = self.settings.get("lora_alpha") if told is None else told
        return float(told) if isinstance(told, int | float) else None


def peft_settings(metadata: Mapping[str, str], beside: Path | None) -> dict[str, Any]:
    """PEFT's settings of a file, from its metadata or from the adapter_config.json beside it."""
    for key in METADATA_KEYS:
        if key in metadata:
            return _of_denoiser(_decode(metadata[key], f"the metadata {key}"))
    if beside is None:
        return {}
    try:
        return _of_denoiser(_decode(beside.read_text(encoding="utf-8"), str(beside)))
    except OSError as error:
        raise cannot_read(beside, error) from error


def read_alpha(source: TensorSource, name: str) -> float:
    """The value of an alpha tensor. Raises CheckpointError if it is not one number."""
    value = source.read(name).flatten().float()
    if value.numel() != 1 or not math.isfinite(value.item()) or value.item() < 0:
        raise CheckpointError(f"{source.origin}: {name} is not one positive number. Fetch the file again.")
    return value.item()


def alpha_notices(origins: Counter[str], rules: AlphaRules, name: str) -> list[str]:
    """What the user should know of where alphas came from."""
    if origins["rank"]:
        return [f"{name}: says no alpha; that of its rank is taken (scale 1). Another: --lora-alpha."]
    if origins["layout"]:
        return [
            f"{name}: says no alpha; {rules.default:g} is taken, as its trainer does. Another: --lora-alpha."
        ]
    if rules.argument and not origins["argument"]:
        return [f"{name}: says its alpha itself; that of --lora-alpha is not used."]
    return []


def _decode(text: str, origin: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{origin}: is damaged ({error}). Fetch the file again.") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{origin}: is no table of settings. Fetch the file again.")
    return settings


def _of_denoiser(settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {key.removeprefix(COMPONENT): value for key, value in settings.items() if key.startswith(COMPONENT)}
    return own or dict(settings)
