"""What the name of one tensor in a LoRA file says: which module, and which factor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reelwright.adapters.factors import AdapterKind

_FACTORS: tuple[tuple[str, AdapterKind, str], ...] = (
    # PEFT keeps the adapter's own name between the factor and `weight` in memory, and some programs save it.
    (r"\.(?:lora_A|lora_down|lora\.down|lora_linear_layer\.down)(?:\.[A-Za-z]\w*)?\.weight", "lora", "down"),
    (r"\.(?:lora_B|lora_up|lora\.up|lora_linear_layer\.up)(?:\.[A-Za-z]\w*)?\.weight", "lora", "up"),
    (r"\.matrix_A\.(?P<chunk>\d+)", "lora", "down"),
    (r"\.matrix_B\.(?P<chunk>\d+)", "lora", "up"),
    (r"\.(?P<factor>hada_(?:w[12]_[ab]|t[12]))", "loha", ""),
    (r"\.(?P<factor>lokr_(?:w[12]|w[12]_[ab]|t2))", "lokr", ""),
)
_COMPILED: tuple[tuple[re.Pattern[str], AdapterKind, str], ...] = tuple(
    (re.compile("(?P<module>.+)" + rest), kind, name) for rest, kind, name in _FACTORS
)
_ALPHA = re.compile(r"(?P<module>.+)\.alpha")
_UNSUPPORTED: Mapping[str, str] = {
    r"\.(dora_scale|lora_magnitude_vector)\b": "DoRA, which also rescales weights",
    r"\.lora_mid\.": "LoRA with a middle kernel (LoCon with Tucker decomposition)",
    r"\.(oft_blocks|oft_diag|boft_)": "OFT, which rotates weights",
    r"\.(on_input|ia3_l)\b": "IA3",
}

_PREFIXES = (
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "module.",
    "model.",
    "unet.",
    "_",
)
"""What programs put before module names, alone or after each other."""
_WRITERS = (
    (r"\.matrix_A\.\d", "SAT"),
    (r"^lora_unet_|^lora_transformer_", "kohya"),
    (r"^lycoris_", "LyCORIS"),
    (r"^base_model\.model\.", "PEFT"),
    (r"^(model\.)?diffusion_model\.", "diffusion-pipe or ComfyUI"),
    (r"^transformer\.", "diffusers"),
)


@dataclass(frozen=True, kw_only=True)
class FactorName:
    """The parts of a tensor's name; the module as it stands in the file."""

    module: str
    kind: AdapterKind
    factor: str
    chunk: int | None = None
    """Which of several small adapters that share a module (SAT: of query, key and value)."""


def parse_factor(name: str) -> FactorName | None:
    """What a tensor is, if it is a factor of an adapter."""
    for pattern, kind, factor in _COMPILED:
        if match := pattern.fullmatch(name):
            groups = match.groupdict()
            chunk = groups.get("chunk")
            return FactorName(
                module=match["module"],
                kind=kind,
                factor=groups.get("factor") or factor,
                chunk=None if chunk is None else int(chunk),
            )
    return None


def module_of_alpha(name: str) -> str | None:
    """The module whose alpha a tensor is, if it is one."""
    match = _ALPHA.fullmatch(name)
    return match["module"] if match else None


def unsupported_kind(name: str) -> str | None:
    """What kind of adapter a tensor belongs to, if it is one that cannot be applied."""
    return next((kind for pattern, kind in _UNSUPPORTED.items() if re.search(pattern, name)), None)


def shorter_names(module: str) -> list[str]:
    """The name as it stands, and without one, two, ... of the prefixes that programs use."""
    names = [module]
    while prefix := next((prefix for prefix in _PREFIXES if names[-1].startswith(prefix)), None):
        names.append(names[-1].removeprefix(prefix))
    return names


def name_writer(name: str) -> str:
    """Whose way of naming this is."""
    return next((writer for pattern, writer in _WRITERS if re.search(pattern, name)), "plain names")
