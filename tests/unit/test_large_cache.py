"""A cache of 100,000 files: training starts soon and in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reelwright.core.locations import join
from reelwright.data.batches import Supply, epoch_order
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import IndexRow, read_index, write_index
from reelwright.protocols.caching import CacheFile

NUM_FILES = 100_000
NUM_GROUPS = 20
BATCH = 4
START = """
import json, sys, time
from pathlib import Path
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import read_index
from reelwright.data.cached_items import CachedItems, CacheSet
from reelwright.data.loader import Loader

class Reader:
    def read(self, tensors, item, generator):
        return dict(tensors)
    def read_text(self, tensors):
        return dict(tensors)

folder = CacheFolder(sys.argv[1])
part = CacheSet(
    latents=read_index(folder, "latents"), texts=read_index(folder, "text"), reader=Reader(), batch_size=4
)
loader = Loader(CachedItems([part]), seed=1, num_ahead=1)
batch = next(iter(loader))
# Not getrusage, whose peak a process has from the one that started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
facts = {
    "seconds": time.process_time(),
    "kilobytes": int(peak.split()[1]),
    "names": batch.names,
    "batches": len(loader),
}
print(json.dumps(facts))
"""


def latents_row(number: int) -> IndexRow:
    stem = f"a clip with a name of some length {number:06}"
    file = f"{stem}_00000-037-0000_0640x0384.safetensors"
    return IndexRow(
        file=file,
        fingerprint=f"{number:064x}",
        group=f"group {number % NUM_GROUPS}",
        stem=stem,
        source=f"/{stem}.mp4",
    )


def text_row(number: int) -> IndexRow:
    stem = latents_row(number).stem
    return IndexRow(
        file=f"{stem}_te.safetensors", fingerprint=f"text {number}", stem=stem, source=f"/{stem}.txt"
    )


def write_files(folder: CacheFolder, numbers: list[int]) -> None:
    for number in numbers:
        for row, name in ((latents_row(number), "latents"), (text_row(number), "words")):
            file = CacheFile(name=row.file, tensors={name: torch.ones(4)}, metadata={})
            folder.write(file, row.fingerprint)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process")
def test_training_on_100_000_files_starts_soon_and_in_little_memory(tmp_path):
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "latents", {}, map(latents_row, range(NUM_FILES)))
    write_index(folder, "text", {}, map(text_row, range(NUM_FILES)))
    with read_index(folder, "latents") as index:
        groups, num_items = index.counts()
    one, size = np.ones(NUM_GROUPS, np.int32), np.full(NUM_GROUPS, BATCH, np.int32)
    order = epoch_order(
        Supply(groups=groups, num_items=num_items, num_repeats=one, batch_sizes=size), seed=1, epoch=0
    )
    # Names have numbers of one length: the number in the name is the number in the index.
    first, second = (order.batch(number)[0].tolist() for number in (0, 1))
    write_files(folder, first + second)
    result = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["names"] == [join(folder.location, latents_row(number).file) for number in first]
    assert facts["batches"] == NUM_FILES // BATCH
    assert facts["kilobytes"] < 300_000
    # Meant to be 5 seconds of a processor; one that others use at the same time gets four times as long.
    assert facts["seconds"] < 20
