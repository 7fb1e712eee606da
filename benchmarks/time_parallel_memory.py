"""Peak memory of a training step of an autoencoder on one process, and on each of several that share a clip.

    python benchmarks/time_parallel_memory.py                # prints the table, writes results/
    python benchmarks/time_parallel_memory.py --write-docs

Memory is what a fresh process needs above the network and the clip, on a processor.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from measure import peak_growth
from torch import multiprocessing, nn

from reelwright.execution.time_parallel import OverTime, average_gradients, share_time
from reelwright.families.cogvideox import tiny as small_cogvideox
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.framepack import tiny as small_framepack
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.nn.posterior import Posterior

RESULTS = Path(__file__).parent / "results" / "time_parallel_memory.json"
DOCS = Path(__file__).parents[1] / "docs" / "explanation" / "time-parallel.md"
WORLDS = (1, 2, 4)
CLIP = (1, 3, 97, 64, 64)
START, END = "<!-- table: memory -->", "<!-- end of table -->"


def build(family: str) -> CogVideoXAutoencoder | FramePackAutoencoder:
    if family == "cogvideox":
        return CogVideoXAutoencoder(small_cogvideox.TINY_AUTOENCODER)
    return FramePackAutoencoder(small_framepack.TINY_AUTOENCODER)


def measure(rank: int, family: str, num_processes: int, folder: str) -> None:
    """Write MiB by which a training step raises the memory of this process."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=num_processes
    )
    share = share_time(num_processes)
    autoencoder, pixels = build(family), torch.zeros(CLIP)

    def step() -> None:
        if num_processes == 1:
            posterior = Posterior(next(autoencoder.encode_stream([pixels])))
            copies = next(autoencoder.decode_stream([posterior.mean]))
        else:
            shared = OverTime(autoencoder=autoencoder, share=share)
            copies = shared.decode(shared.encode(pixels).mean)
        nn.functional.mse_loss(copies, pixels).backward()
        average_gradients(autoencoder.parameters(), share)

    Path(folder, str(rank)).write_text(str(peak_growth(step)))
    dist.destroy_process_group()


def peaks(family: str, num_processes: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(measure, (family, num_processes, folder), num_processes)
        return [float(Path(folder, str(rank)).read_text()) for rank in range(num_processes)]


def main() -> None:
    found = {
        family: {str(world): peaks(family, world) for world in WORLDS}
        for family in ("cogvideox", "framepack")
    }
    lines = [
        "| a training step | one process | each of two | each of four |",
        "|---|---|---|---|",
        *(
            f"| {family} | " + " | ".join(_shown(row[str(world)], row["1"][0]) for world in WORLDS) + " |"
            for family, row in found.items()
        ),
    ]
    table = "\n".join(lines)
    print(table)
    RESULTS.write_text(json.dumps({"clip": CLIP, "torch": torch.__version__, "MiB": found}, indent=2) + "\n")
    if "--write-docs" in sys.argv:
        before, rest = DOCS.read_text().split(START)
        DOCS.write_text(f"{before}{START}\n{table}\n{END}{rest.split(END, 1)[1]}")


def _shown(values: list[float], alone: float) -> str:
    largest = max(values)
    return f"{largest:.0f} MiB" if len(values) == 1 else f"{largest:.0f} MiB ({largest / alone:.2f})"


if __name__ == "__main__":
    main()
