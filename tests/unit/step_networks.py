"""A denoiser small enough to know by heart what each of its steps comes to, and runs of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from reelwright.execution.policy import Branch, Call, Policy, PreparedDenoiser

WIDTH, NUM_TOKENS = 5, 3


class AddingBlock(nn.Module):
    """Adds to each token of the video what the signal tells, and counts how often it runs."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0 + place))
        self.num_runs = 0

    def forward(self, video_BLD: Tensor, text_BLD: Tensor, signal_BD: Tensor) -> tuple[Tensor, Tensor]:
        self.num_runs += 1
        return video_BLD + torch.tanh(self.factor * signal_BD)[:, None], text_BLD


class AddingDenoiser(nn.Module):
    """Latents are the tokens; conditions are the signal."""

    def __init__(self, num_blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AddingBlock(place) for place in range(num_blocks))

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        return (self.blocks,)

    def forward(self, tokens_BLD: Tensor, timestep_B: Tensor, signal_BD: Tensor) -> Tensor:
        return self.trunk(tokens_BLD, tokens_BLD[:, :1], signal_BD)

    def trunk(self, video_BLD: Tensor, text_BLD: Tensor, signal_BD: Tensor) -> Tensor:
        for block in self.blocks:
            video_BLD, text_BLD = block(video_BLD, text_BLD, signal_BD)
        return video_BLD

    @property
    def num_runs(self) -> list[int]:
        return [block.num_runs for block in self.blocks]


@dataclass(frozen=True)
class Told:
    """What came of a run: of each call what it gave, and whether its last block was left out."""

    results: np.ndarray
    left_out: list[bool]


def walk(num_steps: int, seed: int, *, pace: float = 0.15) -> np.ndarray:
    """A signal [steps, D] that moves at random."""
    steps = np.random.default_rng(seed).normal(size=(num_steps, WIDTH))
    return (np.cumsum(pace * steps, axis=0) + 1.0).astype(np.float32)


def tokens(num_steps: int, seed: int) -> np.ndarray:
    """What the denoiser is given: [steps, L, D]."""
    return np.random.default_rng(seed).normal(size=(num_steps, NUM_TOKENS, WIDTH)).astype(np.float32)


def calls_of(signals: np.ndarray, branch: Branch = "positive") -> list[Call]:
    """One branch's calls in a run that crosses all steps."""
    num_samples = 2 if branch == "both" else 1
    return [
        Call(
            step=step,
            num_steps=len(signals),
            branch=branch,
            timestep_B=torch.tensor([float(step)]),
            conditions=torch.from_numpy(signal)[None].repeat(num_samples, 1),
        )
        for step, signal in enumerate(signals)
    ]


@torch.no_grad()
def run(network: AddingDenoiser, policy: Policy, calls: Sequence[Call], given: np.ndarray) -> Told:
    """Make the calls, each with the tokens of its step."""
    prepared = PreparedDenoiser(network, [policy], dtype=torch.float32)
    prepared.start(calls)
    results, left_out = [], []
    for call in calls:
        before = network.num_runs[-1]
        inputs = torch.from_numpy(given[call.step])[None].repeat(len(call.conditions), 1, 1)
        results.append(prepared(inputs, call).numpy()[0])
        left_out.append(network.num_runs[-1] == before)
    return Told(np.stack(results), left_out)
