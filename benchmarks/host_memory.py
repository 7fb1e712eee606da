"""How much memory a model generates in, beyond the page cache, with its weights left in their files.

    python benchmarks/host_memory.py --size 512
    python benchmarks/host_memory.py --size 5b --holes

Writes a model folder with random weights, block by block, runs one step of a small clip from the command line
in a process of its own, and prints the most anonymous memory that the system saw it hold, and when.
The size 5b has CogVideoX-5B's denoiser and T5-XXL, 20 GB of bfloat16 in the folder for temporary files; with
`--holes` all large matrices are zeros that take no disk: as many bytes are read and converted as ever, but
no disk is waited for. Linux alone tells the figures.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from reelwright.checkpoint.safetensors_format import stream_safetensors
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
_T5_XXL: dict[str, Any] = {
    **{"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
    **{"feed_forward_proj": "gated-gelu", "dropout_rate": 0.0},
}
_TILE = 1 << 24
_LARGE = 1 << 20
_PERIOD = 0.2
"""Seconds between looks at the process."""
_SPARING = (
    *("--execution.swap-home", "disk", "--execution.stream-encoders", "--execution.modulation-tables"),
)
_CLIP = ("--height", "64", "--width", "64", "--num-frames", "5", "--steps", "1", "--guidance-scale", "1")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one run."""

    peak: int
    """Bytes of anonymous memory, sampled while it ran."""
    stage: str
    """In which that was."""
    resident: int
    """Most bytes that were resident, with the pages of files and libraries (VmHWM)."""
    seconds: float


class Watcher:
    """Looks at a process until it ends; it says on its output what it does, as JSON lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.peak = self.resident = 0
        self.peak_stage = self._stage = "start"
        self._process = process

    def watch(self) -> None:
        listener = threading.Thread(target=self._listen)
        listener.start()
        while self._process.poll() is None:
            self._look()
            time.sleep(_PERIOD)
        listener.join()

    def _look(self) -> None:
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return  # it ended meanwhile
        anonymous = _bytes_in(status, "RssAnon")
        self.resident = max(self.resident, _bytes_in(status, "VmHWM"))
        if anonymous > self.peak:
            self.peak, self.peak_stage = anonymous, self._stage

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it is piped"
        for line in self._process.stdout:
            sys.stderr.write(f"{time.strftime('%X')} {self.peak / 1e9:.2f} GB {line}")
            self._stage = json.loads(line).get("stage", self._stage)


def main() -> None:
    """Measure one size, plain as well where that is small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="512")
    parser.add_argument("--holes", action="store_true", help="large matrices are zeros that take no disk")
    parser.add_argument("--folder", type=Path, help="where to write the model; a temporary folder without")
    arguments = parser.parse_args()
    config = SIZES[arguments.size]
    make = _holes if arguments.holes else _random
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = Path(folder) / "model"
        num_bytes = write_large_model(model, config, make, has_large_encoder=arguments.size == "5b")
        swapped = ("--execution.block-swap", str(config.num_layers - 2), *_SPARING)
        ways: Mapping[str, Sequence[str]] = {"left in files": swapped}
        if arguments.size != "5b":
            ways = {"all in memory": (), **ways}
        results = {name: measure(model, Path(folder) / "out", flags) for name, flags in ways.items()}
    _report(arguments.size, num_bytes, results)


def write_large_model(
    folder: Path,
    config: TransformerConfig,
    make: Callable[[Tensor], Tensor],
    *,
    has_large_encoder: bool,
) -> int:
    """A model with a denoiser of that size in bfloat16, of values that `make` gives; the bytes of weights.

    With the text encoder that the released ones have, or a small one.
    """
    width = TINY_TRANSFORMER.text_embed_dim if has_large_encoder else config.text_embed_dim
    write_model(
        folder, transformer=replace(config, num_layers=1, num_attention_heads=2, text_embed_dim=width)
    )
    with torch.device("meta"):
        tensors = DIFFUSERS_TRANSFORMER.to_file(CogVideoXTransformer(config).state_dict())
    settings = config.to_json("CogVideoXTransformer3DModel")
    total = _write_part(folder / "transformer", "diffusion_pytorch_model", settings, tensors, make)
    if has_large_encoder:
        with torch.device("meta"):
            encoder = T5EncoderModel(T5Config(**_T5_XXL))
        tensors = {name: value for name, value in encoder.state_dict().items() if "embed_tokens" not in name}
        total += _write_part(folder / "text_encoder", "model", encoder.config.to_diff_dict(), tensors, make)
    return total


def measure(model: Path, out: Path, flags: Sequence[str]) -> Measured:
    """Make a clip in a process of its own, and watch it."""
    command = [sys.executable, "-m", "reelwright", "generate", "cogvideox", "--model", str(model), "--json"]
    command += ["--prompt", "a red ball", "--seed", "1", "--format", "latent", "--out", str(out), *_CLIP]
    started = time.perf_counter()
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        watcher = Watcher(process)
        watcher.watch()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: failed")
    seconds = time.perf_counter() - started
    return Measured(peak=watcher.peak, stage=watcher.peak_stage, resident=watcher.resident, seconds=seconds)


def _write_part(
    folder: Path,
    stem: str,
    settings: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    make: Callable[[Tensor], Tensor],
) -> int:
    """A network in a folder, in place of what is there: a shard for each block, and one for the others."""
    shutil.rmtree(folder)
    write_json(folder / "config.json", settings)
    shards: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        block = re.match(r"(transformer_blocks|encoder\.block)\.\d+\.", name)
        shards[block[0] if block else ""][name] = tensor
    weight_map: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards.values(), 1):
        file_name = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        values = {name: make(tensor) for name, tensor in shard.items()}
        with (folder / file_name).open("wb", buffering=0) as file:
            stream_safetensors(_SkipsZeros(file), values)
            file.truncate(file.tell())
        weight_map |= dict.fromkeys(shard, file_name)
        total += sum(tensor.nbytes for tensor in values.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return total


@dataclass(frozen=True)
class _SkipsZeros:
    """A file with holes where much of nothing is written."""

    file: FileIO

    def write(self, data: bytes | memoryview, /) -> int:
        if len(data) > _LARGE and not torch.frombuffer(data, dtype=torch.uint8).any():
            return self.file.seek(len(data), 1)
        return self.file.write(data)


def _holes(like: Tensor) -> Tensor:
    """Zeros in large matrices; else small numbers."""
    if like.numel() < _LARGE:
        return _random(like)
    return torch.zeros((), dtype=torch.bfloat16).expand(like.shape)


def _random(like: Tensor) -> Tensor:
    """Small numbers, the same ones again and again in large tensors; norms stay near to one."""
    count = min(like.numel(), _TILE)
    tile = torch.randn(count, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    values = tile.repeat(-(-like.numel() // count))[: like.numel()].view(like.shape)
    return values + 1 if like.ndim == 1 else values


def _bytes_in(status: str, key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _report(size: str, num_bytes: int, results: Mapping[str, Measured]) -> None:
    sys.stdout.write(
        f"weights of {num_bytes / 1e9:.2f} GB in bfloat16, one step of a small clip in float32\n"
    )
    for name, result in results.items():
        sys.stdout.write(
            f"{name}: {result.peak / 1e9:.2f} GB of anonymous memory ({result.stage}),"
            f" {result.resident / 1e9:.2f} GB resident, {result.seconds:.0f} s\n"
        )
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[size] = {name: asdict(result) for name, result in results.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
