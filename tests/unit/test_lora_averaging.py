"""Averages of what one training saved, beside the recursions of which they are the closed form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelwright.adapters.averaging import WIDEST, average, averaged_metadata, power_shares, ramp_shares
from reelwright.core.errors import CheckpointError

from .lora_networks import Draw

NAME = "lora_unet_transformer_blocks_0_attn1_to_q"


def along(folder: Path, count: int, dtype: torch.dtype = torch.float32, alpha: float = 4.0) -> list[Path]:
    """Files as one training saves them."""
    draw = Draw(count)
    paths = [folder / f"lora-{index:06d}.safetensors" for index in range(count)]
    for path in paths:
        tensors = {
            f"{NAME}.lora_down.weight": draw(2, 8).to(dtype),
            f"{NAME}.lora_up.weight": draw(8, 2).to(dtype),
            f"{NAME}.alpha": torch.tensor(alpha),
        }
        save_file(tensors, path, {"ss_steps": path.stem, "sshs_model_hash": "x"})
    return paths


def by_recursion(paths: list[Path], betas: list[float]) -> dict[str, Tensor]:
    """`betas`: how much stays when the second file comes, the third, ..."""
    running = {name: tensor.double() for name, tensor in load_file(paths[0]).items()}
    for path, beta in zip(paths[1:], betas, strict=True):
        for name, tensor in load_file(path).items():
            running[name] = beta * running[name] + (1 - beta) * tensor.double()
    return running


def check_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].double() - tensor).abs().max() < 1e-6


def test_one_beta(tmp_path: Path):
    paths = along(tmp_path, 5)
    check_same(average(paths, ramp_shares(5, 0.9, 0.9)), by_recursion(paths, [0.9] * 4))


def test_a_beta_that_rises_in_equal_steps(tmp_path: Path):
    paths = along(tmp_path, 4)
    check_same(average(paths, ramp_shares(4, 0.5, 0.9)), by_recursion(paths, [0.5, 0.7, 0.9]))
    two = along(tmp_path, 2)
    check_same(average(two, ramp_shares(2, 0.5, 0.9)), by_recursion(two, [0.5]))


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2, WIDEST])
def test_a_power_function_of_a_given_width(sigma: float, tmp_path: Path):
    """The exponent by the roots of the cubic of arXiv 2312.02696, algorithm 2."""
    exponent = float(np.roots([1, 7, 16 - sigma**-2, 12 - sigma**-2]).real.max())
    paths = along(tmp_path, 6)
    betas = [(1 - 1 / number) ** (exponent + 1) for number in range(2, 7)]
    check_same(average(paths, power_shares(6, sigma)), by_recursion(paths, betas))


def test_the_width_is_that_of_the_shares():
    """Standard deviation over place, as a share of the training, for many files."""
    shares = np.array(power_shares(4000, 0.15))
    places = np.arange(1, 4001) / 4000
    mean = (shares * places).sum()
    assert shares.sum() == pytest.approx(1.0)
    assert ((shares * (places - mean) ** 2).sum()) ** 0.5 == pytest.approx(0.15, rel=0.01)


def test_the_number_format_stays_and_alphas_too(tmp_path: Path):
    paths = along(tmp_path, 3, torch.bfloat16)
    averaged = average(paths, [0.25, 0.25, 0.5])
    assert averaged[f"{NAME}.lora_up.weight"].dtype == torch.bfloat16
    assert averaged[f"{NAME}.alpha"] == 4.0


def test_metadata_is_that_of_the_last_file_without_hashes(tmp_path: Path):
    paths = along(tmp_path, 2)
    told = averaged_metadata(paths[-1], {"a": 0.25, "b": 0.75})
    assert told == {"ss_steps": "lora-000001", "averaged_loras": "a 0.25, b 0.75"}


def test_files_of_different_trainings_are_refused(tmp_path: Path):
    paths = along(tmp_path, 2)
    (tmp_path / "other").mkdir()
    (other,) = along(tmp_path / "other", 1, alpha=1.0)
    with pytest.raises(CheckpointError, match="alpha is another than"):
        average([*paths, other], [0.3, 0.3, 0.4])
    save_file({f"{NAME}.lora_down.weight": torch.zeros(3, 8)}, other)
    with pytest.raises(CheckpointError, match=r"is not as in .*Only files of one training"):
        average([*paths, other], [0.3, 0.3, 0.4])
