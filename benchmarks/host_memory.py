"""How much memory a model generates in, beyond the page cache, with its weights left in their files.

    python benchmarks/host_memory.py --size 512
    python benchmarks/host_memory.py --size 5b          # 11 GB of disk in the folder for temporary files

Writes a model folder with random weights, block by block, runs one step of a small clip from the command line
in a process of its own, and prints the most anonymous memory that the system saw it hold.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.checkpoint.settings_files import write_json
from reelwright.families.cogvideox.config import TRANSFORMERS, TransformerConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.families.cogvideox.transformer import CogVideoXTransformer

RESULTS = Path(__file__).parent / "results" / "host_memory.json"
SIZES: dict[str, TransformerConfig] = {
    "512": replace(
        TINY_TRANSFORMER, num_layers=12, num_attention_heads=8, time_embed_dim=512, text_embed_dim=512
    ),
    "5b": TRANSFORMERS["5b"],
}
_STEM = "diffusion_pytorch_model"
_TILE = 1 << 24
_SPARING = ("--execution.swap-home", "disk", "--execution.stream-encoders")
_CLIP = ("--height", "64", "--width", "64", "--num-frames", "5", "--steps", "1", "--guidance-scale", "1")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one run."""

    peak: int
    """Bytes of anonymous memory, sampled while it ran."""
    seconds: float


def main() -> None:
    """Measure one size, plain as well where that is small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="512")
    parser.add_argument("--folder", type=Path, help="where to write the model; a temporary folder without")
    arguments = parser.parse_args()
    config = SIZES[arguments.size]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = Path(folder) / "model"
        num_bytes = write_random_model(model, config)
        swapped = ("--execution.block-swap", str(config.num_layers - 2), *_SPARING)
        ways: Mapping[str, Sequence[str]] = {"left in files": swapped}
        if arguments.size != "5b":
            ways = {"all in memory": (), **ways}
        results = {name: measure(model, Path(folder) / "out", flags) for name, flags in ways.items()}
    _report(arguments.size, num_bytes, results)


def write_random_model(folder: Path, config: TransformerConfig) -> int:
    """A model with a denoiser of that size in bfloat16; the bytes of the denoiser."""
    write_model(folder, transformer=replace(config, num_layers=1))
    shutil.rmtree(folder / "transformer")
    write_json(folder / "transformer" / "config.json", config.to_json("CogVideoXTransformer3DModel"))
    shards = list(_shards(config))
    weight_map: dict[str, str] = {}
    total = 0
    for number, tensors in enumerate(shards, 1):
        name = f"{_STEM}-{number:05}-of-{len(shards):05}.safetensors"
        values = {key: _random(tensor) for key, tensor in tensors.items()}
        save_safetensors(folder / "transformer" / name, values)
        weight_map |= dict.fromkeys(tensors, name)
        total += sum(tensor.nbytes for tensor in values.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "transformer" / f"{_STEM}.safetensors.index.json").write_text(json.dumps(index))
    return total


def measure(model: Path, out: Path, flags: Sequence[str]) -> Measured:
    """Make a clip in a process of its own, and watch it."""
    command = [sys.executable, "-m", "reelwright", "generate", "cogvideox", "--model", str(model)]
    command += ["--prompt", "a red ball", "--seed", "1", "--format", "latent", "--out", str(out), *_CLIP]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous_bytes(process.pid))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: failed")
    return Measured(peak=peak, seconds=time.perf_counter() - started)


def _shards(config: TransformerConfig) -> Iterator[dict[str, Tensor]]:
    """Tensors by their released names, on the meta device: those of each block, then the others."""
    with torch.device("meta"):
        tensors = DIFFUSERS_TRANSFORMER.to_file(CogVideoXTransformer(config).bfloat16().state_dict())
    shards: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        block = re.match(r"transformer_blocks\.\d+\.", name)
        shards[block[0] if block else ""][name] = tensor
    yield from shards.values()


def _random(like: Tensor) -> Tensor:
    """Small numbers, the same ones again and again in large tensors; norms stay near to one."""
    count = min(like.numel(), _TILE)
    tile = torch.randn(count, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    values = tile.repeat(-(-like.numel() // count))[: like.numel()].view(like.shape)
    return values + 1 if like.ndim == 1 else values


def _anonymous_bytes(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0  # it ended meanwhile
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _report(size: str, num_bytes: int, results: Mapping[str, Measured]) -> None:
    sys.stdout.write(
        f"denoiser of {num_bytes / 1e9:.2f} GB in bfloat16, one step of a small clip in float32\n"
    )
    for name, result in results.items():
        sys.stdout.write(f"{name}: {result.peak / 1e9:.2f} GB of anonymous memory, {result.seconds:.0f} s\n")
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[size] = {name: vars(result) for name, result in results.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
