"""Clips over several processes: what each comes to, and what one process comes to alone.

python -m tests.integration.process_of_time_parallel FOLDER
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.autograd.graph import saved_tensors_hooks

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.execution.time_parallel import (
    OverTime,
    TimeShare,
    agree_on_gradient,
    average_gradients,
    share_time,
)
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig as CogVideoXConfig
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.config import AutoencoderConfig as FramePackConfig
from reelwright.nn.posterior import Posterior
from reelwright.protocols.autoencoder import Autoencoder
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.workflows import train

FAMILIES = ("cogvideox", "framepack")
WORLDS = (2, 3)
NUM_FRAMES = 25
"""Three latent frames, or two, for each process beside the first frame's."""

_WIDTHS = (4, 4, 32, 32)
"""Of stages; the last two are wide enough for the convolution by tiles."""


class Truncated(TimeShare):
    """As released code has it: what came from another process is a constant."""

    def frames_before(self, frames_BCFHW: Tensor, count: int) -> Tensor:
        before = super().frames_before(frames_BCFHW.detach(), count)
        return before if self.rank else frames_BCFHW[:, :, :1].expand_as(before)


class Alone:
    """One process with whole clips, which norms see as a whole."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self._autoencoder = autoencoder

    def encode(self, pixels_BCFHW: Tensor) -> Posterior:
        return Posterior(next(self._autoencoder.encode_stream([pixels_BCFHW])))

    def decode(self, latents_BCTHW: Tensor) -> Tensor:
        return next(self._autoencoder.decode_stream([latents_BCTHW]))


Ways = Callable[[Autoencoder], Alone | OverTime]


def shared(share: TimeShare) -> Ways:
    return lambda autoencoder: OverTime(autoencoder=autoencoder, share=share)


def build(
    family: str, dtype: torch.dtype, widths: tuple[int, ...] = _WIDTHS
) -> CogVideoXAutoencoder | FramePackAutoencoder:
    torch.manual_seed(0)
    sizes = {"block_out_channels": widths, "latent_channels": 4, "layers_per_block": 1}
    if family == "cogvideox":
        return CogVideoXAutoencoder(CogVideoXConfig(norm_num_groups=2, **sizes)).to(dtype)
    return FramePackAutoencoder(FramePackConfig(norm_num_groups=2, **sizes)).to(dtype)


def come_to(family: str, ways: Ways) -> dict[str, Tensor]:
    """Moments and pixels in float32, as without gradients."""
    coder, random = ways(build(family, torch.float32)), torch.manual_seed(1)
    with torch.no_grad():
        posterior = coder.encode(torch.rand(1, 3, NUM_FRAMES, 16, 24, generator=random) * 2 - 1)
        picture = coder.encode(torch.rand(1, 3, 1, 16, 24, generator=random) * 2 - 1)
        return {
            "mean": posterior.mean,
            "log-variance": posterior.log_variance,
            "pixels": coder.decode(torch.randn(1, 4, 7, 2, 3, generator=random)),
            "picture": coder.decode(picture.mean),
        }


def learn(family: str, ways: Ways, share: TimeShare | None = None) -> dict[str, Tensor]:
    """The loss of one training step in float64, and the gradients of all weights.

    And that of the last layer as a loss asks for it before the others are known.
    """
    autoencoder, random = build(family, torch.float64), torch.manual_seed(1)
    coder, last = ways(autoencoder), autoencoder.decoder.conv_out.weight
    if share is not None:
        agree_on_gradient(last, share)
    pixels = torch.rand(2, 3, NUM_FRAMES, 16, 8, generator=random, dtype=torch.float64) * 2 - 1
    posterior = coder.encode(pixels)
    reconstruction = coder.decode(posterior.sample(random))
    error = (reconstruction - pixels).square().mean()
    (asked,) = torch.autograd.grad(error, last, retain_graph=True)
    loss = error + 1e-3 * posterior.kl_divergence().mean()
    loss.backward()
    if share is not None:
        average_gradients(autoencoder.parameters(), share)
    gradients = {name: weight.grad for name, weight in autoencoder.named_parameters()}
    found = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    return {"loss": loss.detach(), "asked": asked, **found}


def kept_bytes(family: str, ways: Ways) -> Tensor:
    """What the backward pass of a training step needs, beside weights, of a network with few of those."""
    autoencoder = build(family, torch.float32, (4, 4, 4, 4))
    coder = ways(autoencoder)
    weights = {weight.untyped_storage().data_ptr() for weight in autoencoder.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        posterior = coder.encode(torch.zeros(1, 3, 65, 16, 16))
        loss = coder.decode(posterior.mean).square().mean()
    loss.backward()
    return torch.tensor(
        sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)
    )


def refusals(share: TimeShare) -> dict[str, str]:
    """What is said of numbers of frames, and of a number of parts, that cannot be shared out."""
    found: dict[str, str] = {}
    for num_frames in (1, 23, 4 * share.num_parts + 1, 4 * share.num_parts + 5):
        with _noted(found, str(num_frames)):
            share.split(torch.zeros(1, 3, num_frames, 8, 8), stride=4)
    with _noted(found, "parts"):
        share_time(share.num_parts + 1)
    return found


@contextmanager
def _noted(found: dict[str, str], name: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        found[name] = str(error)


def _work(rank: int, num_processes: int, folder: Path) -> None:
    with _processes(rank, num_processes, folder):
        share = share_time(num_processes)
        truncated = Truncated(group=share.group)
        found: dict[str, Any] = {"refusals": refusals(share)}
        for family in FAMILIES:
            found[family] = {
                "values": come_to(family, shared(share)),
                "learned": learn(family, shared(share), share),
            }
            if num_processes == WORLDS[0]:
                found[family]["truncated"] = learn(family, shared(truncated), share)
                found[family]["kept"] = kept_bytes(family, shared(share))
        torch.save(found, folder / f"{num_processes}-{rank}.pt")


@contextmanager
def _processes(rank: int, num_processes: int, folder: Path) -> Iterator[None]:
    meeting = f"file://{folder / f'meeting-{num_processes}'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_processes)
    yield
    dist.destroy_process_group()


def train_run(clips: Path, run: Path, num_parts: int = 1) -> None:
    """A training from nothing, on clips of one chunk and on single frames, with a discriminator."""
    config = {
        "dataset": str(clips),
        "run": str(run),
        "init": "random",
        "sizes": {
            "block_out_channels": [4] * 4,
            "layers_per_block": 1,
            "norm_num_groups": 2,
            "latent_channels": 4,
        },
        "steps": 3,
        "seed": 5,
        "stages": [{"frames": 9, "width": 16, "height": 16, "batch_size": 2}],
        "image_share": 0.4,
        "discriminator": {"weight": 0.5, "start": 1, "channels": 4},
        "execution": {"time_parallel": num_parts, "device": "cpu"},
        # A large epsilon: where gradients are near zero, AdamW would make steps of their rounding.
        "optimizer": {"learning_rate": 1e-2, "arguments": ["eps=1e-4"]},
    }
    for _ in train.run("cogvideox", from_mapping(AutoencoderTrainConfig, config, "test")):
        pass


def _train(rank: int, folder: Path, port: int) -> None:
    """As torchrun starts it."""
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    os.environ.update({**place, "LOCAL_RANK": str(rank)})
    train_run(folder / "clips", folder / "run", num_parts=2)


def _free_port() -> int:
    with socket() as listening:
        listening.bind(("localhost", 0))
        port: int = listening.getsockname()[1]
        return port


def main(folder: Path) -> None:
    # Forks know the libraries already.
    for world in WORLDS:
        multiprocessing.start_processes(_work, (world, folder), world, start_method="fork")
    multiprocessing.start_processes(_train, (folder, _free_port()), 2, start_method="fork")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
