"""Work shared out to threads, in each of which torch keeps to one."""

from collections.abc import Iterator, Sequence

import pytest
import torch

from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.nn.threads import share_out

HERE = torch.zeros(1)


@pytest.fixture(params=[1, 2, 3], autouse=True)
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_part_is_done_once_and_torch_is_left_as_it_was(num_threads):
    for total in (0, 1, 2, 7):
        done: list[int] = []
        settings: list[int] = []

        def work(parts: Sequence[int], done=done, settings=settings) -> None:
            settings.append(torch.get_num_threads())
            done.extend(parts)

        share_out(work, range(total), HERE)
        assert sorted(done) == list(range(total))
        assert set(settings) <= {1}
        assert torch.get_num_threads() == num_threads


def test_what_goes_wrong_is_raised_here(num_threads):
    def work(parts: Sequence[int]) -> None:
        if 2 in parts:
            raise ValueError("the second")

    with pytest.raises(ValueError, match="the second"):
        share_out(work, range(4), HERE)
    assert torch.get_num_threads() == num_threads


def test_gradients_are_recorded_where_they_are_needed():
    squares: dict[int, torch.Tensor] = {}

    def work(parts: Sequence[int]) -> None:
        for part in parts:
            squares[part] = leaf[part].square()

    leaf = torch.arange(4.0, requires_grad=True)
    share_out(work, range(4), leaf)
    torch.stack([squares[part] for part in range(4)]).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [0, 2, 4, 6]
    with torch.no_grad():
        share_out(work, range(4), leaf)
    assert not any(square.requires_grad for square in squares.values())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__)
def test_the_autoencoder_gives_the_same_bytes_with_any_number_of_threads(mode, num_threads):
    torch.manual_seed(0)
    config = AutoencoderConfig(block_out_channels=(32, 32), layers_per_block=1, norm_num_groups=8)
    autoencoder = CogVideoXAutoencoder(config)
    clip = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    with mode():
        found = autoencoder.encode(clip).mean.clone()
        torch.set_num_threads(1)
        assert torch.equal(found, autoencoder.encode(clip).mean)
