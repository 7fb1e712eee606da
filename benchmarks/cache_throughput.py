"""Caches of latents here, and a plain loop over diffusers' autoencoder: clips per second and memory.

    python benchmarks/cache_throughput.py            # all rows, prints the table, writes results/
    python benchmarks/cache_throughput.py --write-docs

Both read the same synthetic clips, bring them to the same size, encode them with the same random weights and
write a file for each. Ours also hashes, plans, fingerprints and lists what it makes; FramePack's caches hold
features of the first frame beside the latents. On a processor the autoencoders have the released topology at
reduced width; on a GPU they have their real size in bfloat16 (CogVideoX) and float16 (FramePack).
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import diffusers
import numpy as np
import torch
from measure import Row, alternate, in_fresh_process, process_peak, table, write_results, write_table
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from reelwright import families
from reelwright.core.config import from_mapping
from reelwright.data.synthetic.config import SynthConfig
from reelwright.families.cogvideox import tiny as small_cogvideox
from reelwright.families.cogvideox.config import AutoencoderConfig as CogVideoXAutoencoderConfig
from reelwright.families.framepack import tiny as small_framepack
from reelwright.families.framepack.config import AutoencoderConfig as FramePackAutoencoderConfig
from reelwright.workflows import cache, synth

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
DOCS = ROOT.parent / "docs" / "explanation" / "performance.md"
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
SOURCE_SIZE = (1280, 720) if ON_GPU else (640, 360)
NUM_CLIPS, PAIRS = (8, 3) if ON_GPU else (3, 3)
GOAL_TIME, GOAL_MEMORY = round(1 / 1.5, 2), 1.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """Clips of a family, and the autoencoder that encodes them on both sides."""

    family: str
    write_model: Callable[[Path], None]
    theirs: type[Any]
    dtype: torch.dtype
    size: tuple[int, int]
    num_frames: int
    fps: float

    @property
    def title(self) -> str:
        width, height = self.size
        return f"{self.family}, {NUM_CLIPS} clips of {self.num_frames} x {height} x {width}"


def write_cogvideox(folder: Path) -> None:
    reduced = CogVideoXAutoencoderConfig(block_out_channels=(64, 128, 128, 256))
    autoencoder = CogVideoXAutoencoderConfig() if ON_GPU else reduced
    small_cogvideox.write_model(folder, autoencoder=autoencoder)


def write_framepack(folder: Path) -> None:
    reduced = FramePackAutoencoderConfig(block_out_channels=(32, 64, 128, 128))
    autoencoder = FramePackAutoencoderConfig() if ON_GPU else reduced
    small_framepack.write_model(folder, autoencoder=autoencoder)


CASES = {
    "cogvideox": Case(
        family="cogvideox",
        write_model=write_cogvideox,
        theirs=diffusers.AutoencoderKLCogVideoX,
        dtype=torch.bfloat16 if ON_GPU else torch.float32,
        size=(720, 480) if ON_GPU else (192, 128),
        num_frames=49 if ON_GPU else 17,
        fps=8,
    ),
    "framepack": Case(
        family="framepack",
        write_model=write_framepack,
        theirs=diffusers.AutoencoderKLHunyuanVideo,
        dtype=torch.float16 if ON_GPU else torch.float32,
        size=(640, 640) if ON_GPU else (192, 192),
        num_frames=73,
        fps=30,
    ),
}


def main() -> None:
    rows: list[Row] = []
    for case in CASES.values():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(case, folder)
            rows += rows_of(case, folder)
    print(table(rows))
    write_results(RESULTS / f"cache_throughput_{DEVICE.type}.json", rows)
    if "--write-docs" in sys.argv:
        write_table(DOCS, "caches", rows)


def rows_of(case: Case, folder: Path) -> list[Row]:
    time = alternate(
        f"{case.title}: time",
        lambda: build_ours(case, folder),
        lambda: build_theirs(case, folder),
        pairs=PAIRS,
        goal=GOAL_TIME,
    )
    peaks = [in_fresh_process(__file__, "--peak", side, case.family, str(folder)) for side in BUILDERS]
    rates = [NUM_CLIPS / seconds for seconds in (time.ours, time.theirs)]
    return [
        time,
        Row(f"{case.title}: rate (more is better)", "clips/s", *rates, rates[0] / rates[1]),
        Row(f"{case.title}: peak memory", "MiB", *peaks, peaks[0] / peaks[1], GOAL_MEMORY),
    ]


def prepare(case: Case, folder: Path) -> None:
    """Write the model and the clips."""
    case.write_model(folder / "model")
    width, height = SOURCE_SIZE
    # A clip of one frame more: a rate is never quite that of the file.
    scenes = SynthConfig(
        count=NUM_CLIPS, width=width, height=height, fps=case.fps, num_frames=case.num_frames + 1
    )
    list(synth.run(folder / "clips", scenes))
    (folder / "data.toml").write_text(
        f"[[datasets]]\nresolution = [{case.size[0]}, {case.size[1]}]\ntarget_frames = [{case.num_frames}]\n"
        'video_directory = "clips"\ncache_directory = "ours"\n'
    )


def build_ours(case: Case, folder: Path) -> None:
    """From a data set that was never looked at to a cache that can be trained on."""
    ledger = folder / "ledger"
    os.environ["REELWRIGHT_CACHE"] = str(ledger)
    for path in ledger.glob("*"):
        path.unlink()
    values = {"model": str(folder / "model"), "dataset": str(folder / "data.toml"), "force": True}
    config = from_mapping(families.configs(case.family).CACHE_LATENTS, values, "benchmark")
    list(cache.run(case.family, "latents", config))


@torch.no_grad()
def build_theirs(case: Case, folder: Path) -> None:
    autoencoder = case.theirs.from_pretrained(folder / "model" / "vae", torch_dtype=case.dtype).to(DEVICE)
    # Ours encodes each clip as a whole too: the same latents.
    if hasattr(autoencoder, "use_framewise_encoding"):
        autoencoder.use_framewise_encoding = False
    (folder / "theirs").mkdir(exist_ok=True)
    for path in sorted((folder / "clips").glob("*.mp4")):
        pixels = read_plainly(path, case).to(DEVICE, case.dtype)
        latents = autoencoder.encode(pixels).latent_dist.sample() * autoencoder.config.scaling_factor
        content = {"latents": latents[0].to(torch.float16).cpu()}
        save_file(content, folder / "theirs" / f"{path.stem}.safetensors")


def read_plainly(path: Path, case: Case) -> Tensor:
    """float32 [1, 3, F, H, W] in [-1, 1], as one writes it in a few lines."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in _first(container, case.num_frames)]
    video_FCHW = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    width, height = case.size
    scale = max(height / video_FCHW.shape[2], width / video_FCHW.shape[3])
    covering = [round(side * scale) for side in video_FCHW.shape[2:]]
    video_FCHW = functional.interpolate(video_FCHW, size=covering, mode="bilinear", antialias=True)
    top, left = ((have - want) // 2 for have, want in zip(covering, (height, width), strict=True))
    video_FCHW = video_FCHW[:, :, top : top + height, left : left + width]
    return (video_FCHW * 2 - 1).permute(1, 0, 2, 3)[None]


def _first(container: av.container.InputContainer, count: int) -> Iterator[av.VideoFrame]:
    for _, frame in zip(range(count), container.decode(video=0), strict=False):
        yield frame


BUILDERS = {"ours": build_ours, "theirs": build_theirs}


def print_peak(side: str, family: str, folder: str) -> None:
    """Of the GPU where there is one, else of the whole process, in MiB."""
    BUILDERS[side](CASES[family], Path(folder))
    print(torch.cuda.max_memory_allocated() / 2**20 if ON_GPU else process_peak())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
    else:
        main()
