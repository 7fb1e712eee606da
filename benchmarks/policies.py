"""What each way to run a denoiser saves and costs, here and in diffusers: same weights, same loop, one run.

    python benchmarks/policies.py             # both sizes, prints a table, writes results/
    python benchmarks/policies.py tiny        # one of them
    python benchmarks/policies.py --compile   # with compiled blocks too, which takes minutes

Each measurement has a process of its own, forked when all is imported. Memory is what the process holds at
most above that, weights and pages of their files included; time is what the processor worked in one thread,
so that it does not depend on what else it does; the error is that of the last latents against the plain run
of the same side.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from measure import peak_growth, write_results
from torch import Tensor

from reelwright.families.cogvideox.config import CogVideoXGenerate, TransformerConfig
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.protocols.configs import ExecutionConfig

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"
WIDE = replace(TINY_TRANSFORMER, num_layers=8, num_attention_heads=8, attention_head_dim=64)
SIZES: dict[str, TransformerConfig] = {"tiny": TINY_TRANSFORMER, "width 512": WIDE}
STEPS, REPEATS = {"tiny": 10, "width 512": 6}, 2
RATIOS = (1.0, *[1.02] * 5)
"""Given to both sides' MagCache: random weights have none that mean anything, and time follows the skips."""
LATENTS, LARGE_LATENTS = (1, 16, 3, 16, 16), (1, 16, 3, 32, 32)
TILE = 128
COMPILED = "compiled blocks"

OURS: dict[str, dict[str, Any]] = {
    "plain": {},
    "blocks on disk": {"block_swap": -2, "swap_home": "disk"},
    "modulation tables": {"modulation_tables": True},
    "weights in fp8": {"weights": "fp8"},
    "weights in fp8, scaled": {"weights": "fp8_scaled"},
    "first-block cache": {"step_cache": "first_block", "step_cache_threshold": 0.2},
    "MagCache": {"step_cache": "magcache", "step_cache_threshold": 0.24, "step_cache_ratio_list": RATIOS},
    "TeaCache": {"step_cache": "teacache", "step_cache_threshold": 0.2},
    COMPILED: {"compile": "blocks"},
    "decode, plain": {},
    "decode, tiles": {"tiling": True, "tile_size": TILE},
}
THEIRS = (
    *("plain", "blocks on disk", "weights in fp8", "first-block cache", "MagCache", COMPILED),
    *("decode, plain", "decode, tiles"),
)

MODULES = (
    ("reelwright.families.cogvideox.generate", "CogVideoXSession"),
    ("diffusers", "CogVideoXTransformer3DModel"),
    ("diffusers", "AutoencoderKLCogVideoX"),
    ("diffusers.hooks", "apply_group_offloading"),
)


@dataclass(frozen=True)
class Measured:
    """Of one process."""

    mib: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One policy on one side; shares are of the plain run of that side."""

    size: str
    policy: str
    side: str
    mib: float
    memory_share: float
    seconds: float
    time_share: float
    error: float | None
    """None where the result has another size: diffusers' tiles of 128 make 270 pixels of 256."""


def main() -> None:
    torch.set_num_threads(1)
    for module, name in MODULES:  # so that importing is no part of what is measured
        getattr(import_module(module), name)
    chosen = [size for size in SIZES if size in sys.argv] or list(SIZES)
    for size, transformer in SIZES.items():
        if size in chosen:
            with tempfile.TemporaryDirectory() as folder:
                forked(write_random_model, Path(folder) / "model", transformer)
                rows = rows_of(size, Path(folder))
                print(table(rows), flush=True)
                write_results(RESULTS / f"policies_{size.replace(' ', '_')}_cpu.json", rows)


def rows_of(size: str, folder: Path) -> list[Row]:
    rows: list[Row] = []
    for side, policies in (("ours", tuple(OURS)), ("diffusers", THEIRS)):
        plain: dict[bool, tuple[Measured, Tensor]] = {}
        for policy in policies:
            if is_left_out(size, policy):
                continue
            found = in_own_process(side, policy, folder, STEPS[size])
            if found is None:
                continue
            known = plain.setdefault(policy.startswith("decode"), found)
            rows.append(row_of(size, policy, side, found, known))
            print(cells_of(rows[-1]), flush=True)
    return rows


def is_left_out(size: str, policy: str) -> bool:
    """Both sizes have the same autoencoder."""
    if policy == COMPILED:
        return "--compile" not in sys.argv
    return policy.startswith("decode") and size != "tiny"


def row_of(
    size: str, policy: str, side: str, found: tuple[Measured, Tensor], plain: tuple[Measured, Tensor]
) -> Row:
    (measured, result), (before, exact) = found, plain
    return Row(
        size,
        policy,
        side,
        mib=measured.mib,
        memory_share=measured.mib / before.mib,
        seconds=measured.seconds,
        time_share=measured.seconds / before.seconds,
        error=float((result - exact).norm() / exact.norm()) if result.shape == exact.shape else None,
    )


def in_own_process(side: str, policy: str, folder: Path, steps: int) -> tuple[Measured, Tensor] | None:
    try:
        measured, result = forked(measure, side, policy, folder / "model", steps)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        print(f"{side}, {policy}: {error}", file=sys.stderr)
        return None
    return measured, torch.from_numpy(result)


def forked(work: Callable[..., T], *inputs: object) -> T:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, inputs)


def write_random_model(folder: Path, transformer: TransformerConfig) -> None:
    write_model(folder, transformer=transformer)


@torch.no_grad()
def measure(side: str, policy: str, model: Path, steps: int) -> tuple[Measured, Any]:
    """Load, run once to warm up, then a few times for the clock. Returns an array, which any pipe takes."""
    open_it = {"ours": open_ours, "diffusers": open_theirs}[side]
    times: list[float] = []
    results: list[Tensor] = []

    def work() -> None:
        run = open_it(policy, model, steps)
        run()
        for _ in range(REPEATS):
            started = time.process_time()
            results[:] = [run()]
            times.append(time.process_time() - started)

    mib = peak_growth(work)
    return Measured(mib=mib, seconds=median(times)), results[0].numpy()


def open_ours(policy: str, folder: Path, steps: int) -> Callable[[], Tensor]:
    from reelwright.execution.policy import Call
    from reelwright.execution.prepare import prepare_to_generate
    from reelwright.families.cogvideox.checkpoints import load_adapted, load_autoencoder, locate
    from reelwright.families.cogvideox.conditions import Conditions, position_conditions
    from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
    from reelwright.families.cogvideox.latent_space import LatentSpace, chosen_tiling

    options = dict(OURS[policy])
    device, dtype = torch.device("cpu"), torch.float32
    model = locate(CogVideoXGenerate(model=str(folder)))
    if "block_swap" in options:
        options["block_swap"] += model.transformer.num_layers
    execution = ExecutionConfig(device="cpu", dtype="float32", **options)
    if policy.startswith("decode"):
        autoencoder = load_autoencoder(model, device, dtype)
        tiling = chosen_tiling(model.autoencoder, execution)
        space = LatentSpace(autoencoder=autoencoder, tiling=tiling, whole_clip=False)
        return lambda: torch.cat(list(space.decode(drawn(LARGE_LATENTS)))).float()
    transformer, _ = load_adapted(model, execution, dtype)
    denoiser, _ = prepare_to_generate(
        transformer, execution, device=device, dtype=dtype, facts=EXECUTION_FACTS
    )
    frames, height, width = LATENTS[2:]
    conditions = Conditions(
        text_BLD=drawn((1, model.transformer.max_text_seq_length, model.transformer.text_embed_dim)),
        **position_conditions(model.transformer, (frames, height, width)),
    )
    calls = [
        Call(step=step, num_steps=steps, branch="positive", timestep_B=timestep, conditions=conditions)
        for step, timestep in enumerate(timesteps(steps))
    ]

    def run() -> Tensor:
        denoiser.start(calls)
        latents = drawn(LATENTS)
        for call in calls:
            latents = latents - denoiser(latents, call) / steps
        return latents

    return run


def open_theirs(policy: str, folder: Path, steps: int) -> Callable[[], Tensor]:
    import diffusers

    if policy.startswith("decode"):
        autoencoder = diffusers.AutoencoderKLCogVideoX.from_pretrained(
            folder / "vae", torch_dtype=torch.float32
        )
        if policy.endswith("tiles"):
            autoencoder.enable_tiling(tile_sample_min_height=TILE, tile_sample_min_width=TILE)
        return lambda: autoencoder.decode(drawn(LARGE_LATENTS)).sample
    transformer = diffusers.CogVideoXTransformer3DModel.from_pretrained(
        folder / "transformer", torch_dtype=torch.float32
    )
    context = apply_theirs(policy, transformer, folder, steps)
    config = transformer.config
    text = drawn((1, config.max_text_seq_length, config.text_embed_dim))

    def run() -> Tensor:
        latents = drawn(LATENTS)
        if policy in ("first-block cache", "MagCache"):
            transformer._reset_stateful_cache()
        for timestep in timesteps(steps):
            with context():
                made = transformer(latents.transpose(1, 2), text, timestep, return_dict=False)[0]
            latents = latents - made.transpose(1, 2) / steps
        return latents

    return run


def apply_theirs(policy: str, transformer: torch.nn.Module, folder: Path, steps: int) -> Callable[[], Any]:
    import diffusers
    from diffusers.hooks import apply_group_offloading

    if policy == "blocks on disk":
        apply_group_offloading(
            transformer,
            onload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            offload_to_disk_path=str(folder / "offloaded"),
        )
    elif policy == "weights in fp8":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    elif policy == "first-block cache":
        transformer.enable_cache(diffusers.FirstBlockCacheConfig(threshold=0.2))
        return partial(transformer.cache_context, "cond")
    elif policy == "MagCache":
        transformer.enable_cache(
            diffusers.MagCacheConfig(
                threshold=0.24, max_skip_steps=6, num_inference_steps=steps, mag_ratios=list(RATIOS)
            )
        )
        return partial(transformer.cache_context, "cond")
    elif policy == COMPILED:
        transformer.compile_repeated_blocks()
    return nullcontext


def drawn(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def timesteps(steps: int) -> list[Tensor]:
    return [torch.tensor([999 - 1000 // steps * step]) for step in range(steps)]


def table(rows: list[Row]) -> str:
    head = ("size", "policy", "side", "memory", "of plain", "time", "of plain", "error")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(cells_of(row) for row in rows)])


def cells_of(row: Row) -> str:
    error = "another size" if row.error is None else f"{row.error:.2g}"
    memory = (f"{row.mib:.0f} MiB", f"{row.memory_share:.2f}")
    cells = (row.size, row.policy, row.side, *memory, f"{row.seconds:.2f} s", f"{row.time_share:.2f}", error)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
