"""The schema of how a denoiser runs: where its weights are, and what is left out or rounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le

WeightFormat = Literal["full", "fp8", "fp8_scaled", "int8", "int4"]
Fp8Products = Literal["auto", "on", "off"]
TextWeights = Literal["full", "fp8", "int8"]
AttentionKernel = Literal[
    "auto", "sdpa", "flash", "efficient", "cudnn", "math", "flash_attn", "sage", "xformers", "flex"
]
StepCacheKind = Literal["off", "teacache", "magcache", "first_block"]
Preset = Literal["exact", "balanced", "fast"]
DECIDES_NOTHING = frozenset(
    (
        *("block_swap", "swap_home", "stream_encoders", "offload", "modulation_tables", "fit", "vram", "ram"),
        *("vae_chunk", "keep_encoders", "step_cache_calibrate"),
    )
)
"""Of how a model runs, what is only about where things are, and leaves every byte of a clip as it is."""


@dataclass(frozen=True, kw_only=True)
class KernelConfig:
    """What computes a denoiser: which kernel attends, and whether torch compiles the blocks."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    attention: AttentionKernel = "auto"
    """The kernel that computes attention, tried before it is used; one that does not work here is replaced by
    torch's own, with a notice. auto takes FlashAttention where it is installed, on a GPU. sage is an
    approximation."""
    compile: Literal["off", "blocks"] = "off"
    """Have torch compile the blocks: slower to start, then faster, and rounded otherwise."""
    compile_backend: str = "inductor"
    """Who compiles them, by the name that torch knows."""
    compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = (
        "default"
    )
    """How hard the inductor tries; the first two of the others record graphs of a GPU's work, which hold
    memory."""
    compile_dynamic: Literal["auto", "on", "off"] = "auto"
    """Compile for any sizes at once; auto does so when sizes change for the first time, off compiles anew for
    each."""
    compile_fullgraph: bool = False
    """Stop with an error where a block cannot be compiled in one piece."""
    compile_cache_size_limit: Annotated[int, Ge(0)] = 0
    """How many versions of a kind of block are compiled before the rest runs as it was; 0 takes 64."""


@dataclass(frozen=True, kw_only=True)
class WeightPolicyConfig(KernelConfig):
    """Where the weights of a denoiser are while it runs; how it attends."""

    block_swap: Annotated[int, Ge(0)] = 0
    """Blocks whose weights wait in memory or on disk until they are needed; all but two can."""
    swap_home: Literal["memory", "disk"] = "memory"
    """Where they wait; on disk they need no memory, and are read again each time."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(WeightPolicyConfig):
    """All ways to run a denoiser that makes clips."""

    weights: WeightFormat = "full"
    """How the weights of the blocks are held. fp8 and fp8_scaled (block by block) need half the memory of
    bfloat16, int8 half, int4 a quarter; each rounds more than the one before."""
    fp8_matmul: Fp8Products = "auto"
    """Multiply in fp8 too, with inputs rounded row by row, where weights are in fp8 with one scale for a row
    at most; auto does so on GPUs that have units for it."""
    text_weights: TextWeights = "full"
    """How the weights of the large text encoder are held."""
    offload: bool = False
    """Only the network at work is on the device; the others wait in the computer's memory."""
    stream_encoders: bool = False
    """Bring text encoders to the device layer by layer, so that it holds only a few of them."""
    modulation_tables: bool = False
    """Compute at the start of a clip or section what only depends on the timestep, and let go of the weights
    for it: a seventh to a quarter of all. The same bytes."""
    guidance_passes: Literal["auto", "together", "apart"] = "auto"
    """Whether the prompt and the negative prompt are one batch, with twice the memory of activations; results
    are rounded otherwise. auto does as the model was released, and lets swapped blocks serve both at once,
    where there is memory for it."""

    step_cache: StepCacheKind = "off"
    """Leave out the blocks in steps that change little, and add again what they added last: as a signal of
    the timestep and the input tells (teacache), as magnitudes that were measured before tell (magcache), or
    as the first block tells (first_block). An approximation."""
    step_cache_threshold: Annotated[float, Ge(-1.0)] = -1.0
    """How much change may be left out, in the method's own measure; -1 takes its own value, 0 leaves nothing
    out."""
    step_cache_start: Annotated[float, Ge(0.0), Le(1.0)] = 0.2
    """The first part of the steps, in which nothing is left out."""
    step_cache_max_skips: Annotated[int, Ge(1)] = 6
    """How many steps in a row may be left out at most."""
    step_cache_ratios: Path | None = None
    """A file of magnitude ratios that `step_cache_calibrate` wrote for this model, for magcache."""
    step_cache_ratio_list: tuple[Annotated[float, Gt(0.0)], ...] = ()
    """The ratios themselves instead of a file: one for each step, of any number of steps."""
    step_cache_calibrate: Path | None = None
    """Measure magcache's ratios while clips are made exactly, and write them to this file."""

    preset: Preset | None = None
    """A set of these options by the loss it may cost; options given beside it win."""
    fit: Literal["auto", "on", "off"] = "auto"
    """Choose the lightest options with which the run fits into memory; auto does so on a GPU."""
    vram: Annotated[float, Ge(0.0)] = 0.0
    """GB of the device to fit into; 0 takes what is free."""
    ram: Annotated[float, Ge(0.0)] = 0.0
    """GB of the computer's memory to fit into; 0 takes what is free."""


def without_placement(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Of how a model ran, as a mapping, what may show in results."""
    return {name: value for name, value in execution.items() if name not in DECIDES_NOTHING}
