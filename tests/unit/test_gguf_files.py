"""GGUF files are read as the library itself gives their numbers back, in any run of elements."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.errors import CheckpointError

KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1"]


def write(path: Path, values: np.ndarray) -> Path:
    writer = gguf.GGUFWriter(path, "test")
    for name in KINDS:
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_what_the_library_makes_of_them(name: str, tmp_path: Path):
    values = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType[name]
    expected = torch.from_numpy(gguf.dequantize(gguf.quantize(values, kind), kind).copy())
    with open_tensors(write(tmp_path / "a.gguf", values)) as source:
        assert source.shape(name) == (6, 64)
        assert torch.equal(source.read(name).float(), expected)
        run = torch.empty(100, dtype=source.dtype(name))
        source.read_into(name, 37, run)
    assert torch.equal(run.float(), expected.view(-1)[37:137])


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path):
    path = write(tmp_path / "a.gguf", np.ones((2, 64), np.float32))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        open_tensors(path)
