"""What plans are made of: counts of parameters, readings of imagined runs, and the choice of options."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reelwright import families
from reelwright.core.errors import ConfigError
from reelwright.execution.fitting import Limits, advice, fit
from reelwright.execution.metering import Meter, Reading, imagine, imagining, metered_at
from reelwright.execution.throughput import known_gpu
from reelwright.execution.weight_counts import BlockCount, WeightCounts, count_weights, held_weights
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.estimates import ClipShape, Estimate, Stage, Term
from reelwright.protocols.policy_configs import PolicyConfig

GB = 10**9
_SMALL = ClipShape(height=64, width=64, num_frames=9)


@cache
def counts_of(family: str, model: str) -> WeightCounts:
    estimating = families.load(family).estimating
    assert estimating is not None
    sized = estimating.sized(families.configs(family).GENERATE(model=model))
    with torch.device("meta"):
        return count_weights(sized.denoiser(sized.depths), sized.is_quantized)


@pytest.mark.parametrize(
    ("family", "model", "billions"),
    [
        ("cogvideox", "2b", 1.693_783_872),
        ("cogvideox", "5b", 5.570_283_072),
        ("cogvideox", "1.5-5b", 5.570_676_352),
        ("framepack", "base", 12.874),
        ("framepack", "f1", 12.874),
    ],
)
def test_released_sizes_are_known_without_their_files(family: str, model: str, billions: float) -> None:
    """The published numbers of parameters (specs: CogVideoX 2, FramePack 1)."""
    assert counts_of(family, model).total / 1e9 == pytest.approx(billions, abs=0.000_5)


def test_a_seventh_of_a_model_answers_to_the_timestep_alone() -> None:
    """793 M of 5.57 B parameters, and a table of 155 MB for 50 steps in bfloat16 (specs: CogVideoX 2.7)."""
    counts = counts_of("cogvideox", "5b")
    assert counts.modulations / 1e6 == pytest.approx(793, rel=0.01)
    held = held_weights(
        counts, PolicyConfig(modulation_tables=True), itemsize=2, num_signals=50, has_host=True
    )
    assert held.tables / 1e6 == pytest.approx(155, rel=0.02)


COUNTS = WeightCounts(
    blocks=(BlockCount(total=100, quantized=80, modulations=10),) * 8,
    total=900,
    outer_modulations=20,
    modulation_rows=5,
)


def held_by(**policy: object) -> int:
    config = PolicyConfig(**policy)  # type: ignore[arg-type]
    return held_weights(COUNTS, config, itemsize=2, num_signals=1, has_host=True).on_device


def test_each_policy_takes_weights_off_the_device() -> None:
    assert held_by() == 1800
    assert held_by(modulation_tables=True) == 1800 - 2 * (8 * 10 + 20)
    assert held_by(weights="fp8") == 1800 - 8 * 80
    assert held_by(weights="int4") < held_by(weights="fp8") < held_by(weights="fp8_scaled") < held_by()


def test_more_swapped_blocks_take_less_down_to_two_on_their_way() -> None:
    sizes = [held_by(block_swap=count) for count in range(9)]
    assert sizes[0] == sizes[2] == 1800, "two blocks on their way take as much as two that stay"
    assert sizes[6] == 1800 - 4 * 200
    assert sizes[6] == sizes[8], "two stay whatever is asked for"
    assert all(more >= fewer for more, fewer in pairwise(sizes))


def test_swapped_blocks_wait_in_memory_or_on_disk() -> None:
    def waiting(home: str) -> int:
        config = PolicyConfig(block_swap=5, swap_home=home)  # type: ignore[arg-type]
        return held_weights(COUNTS, config, itemsize=2, num_signals=1, has_host=True).waiting

    assert waiting("memory") == 5 * 200
    assert waiting("disk") == 0


def test_a_meter_sees_the_largest_moment_of_a_computation() -> None:
    with imagining(torch.device("cpu")) as device, torch.no_grad(), Meter() as meter:
        left = torch.empty(256, 512, device=device)
        doubled = left * 2
        del left
        tripled = doubled * 3
        del doubled, tripled
        torch.empty(16, device=device)
    assert meter.reading.peak == 2 * 256 * 512 * 4


def test_a_meter_counts_products() -> None:
    with imagining(torch.device("cuda")) as device, torch.no_grad(), Meter() as meter:
        torch.empty(8, 16, device=device) @ torch.empty(16, 32, device=device)
    assert meter.reading.flops == 2 * 8 * 16 * 32


def test_what_backward_passes_keep_is_seen() -> None:
    def peak(*, learns: bool) -> int:
        with imagining(torch.device("cpu")) as device:
            network = imagine(
                lambda: nn.Sequential(*(nn.Linear(64, 64) for _ in range(6))), device, torch.float32
            )
            network.requires_grad_(learns)
            with Meter([network]) as meter, torch.set_grad_enabled(learns):
                answer = F.silu(network(torch.empty(1024, 64, device=device)))
                if learns:
                    answer.sum().backward()
            return meter.reading.peak

    kept = 1024 * 64 * 4
    assert peak(learns=False) <= 3 * kept
    assert peak(learns=True) >= 7 * kept


def test_deep_networks_are_read_from_shallow_ones() -> None:
    asked: list[tuple[int, ...]] = []

    def measure(depths: tuple[int, ...]) -> Reading:
        asked.append(depths)
        return Reading(peak=1000 + 30 * depths[0] + 7 * depths[1], flops=5.0 + depths[0] + 2 * depths[1])

    reading = metered_at(measure, (20, 40))
    assert reading == Reading(peak=1000 + 600 + 280, flops=5.0 + 20 + 80)
    assert max(map(max, asked)) == 3


def test_a_network_that_takes_no_memory_takes_a_device_of_any_kind() -> None:
    with imagining(torch.device("cuda")) as device:
        network = imagine(lambda: nn.Linear(4, 4), device, torch.bfloat16)
    assert network.weight.dtype == torch.bfloat16
    assert network.weight.is_meta


def plain_estimate(execution: ExecutionConfig) -> Estimate:
    """A run whose stages answer to one option each."""
    text = 2 * GB if execution.stream_encoders else 9 * GB
    weights = (12 if execution.weights == "full" else 7) * GB * (40 - execution.block_swap) // 40
    tables = 1 * GB if execution.modulation_tables else 2 * GB
    decoding = 3 * GB if execution.tiling else 9 * GB
    sizes = {"text": text, "denoise": weights + tables, "decode": decoding}
    return Estimate(
        stages=tuple(
            Stage(name=name, terms=(Term(name=name, num_bytes=size, place="device"),))
            for name, size in sizes.items()
        )
    )


def chosen_for(gigabytes: int, execution: ExecutionConfig | None = None) -> dict[str, object]:
    found = fit(
        execution or ExecutionConfig(),
        plain_estimate,
        Limits(device=gigabytes * GB),
        num_blocks=40,
        has_own_memory=True,
        has_loras=False,
    )
    if not found.problems:
        assert found.estimate.memory("device") <= gigabytes * GB
    return {knob.field: knob.value for knob in found.chosen} | ({"problems": True} if found.problems else {})


def test_the_lightest_options_that_are_enough_are_chosen() -> None:
    assert chosen_for(20) == {}
    assert chosen_for(13) == {"modulation_tables": True}
    assert chosen_for(9) == {"modulation_tables": True, "block_swap": 14}
    assert chosen_for(8) == {
        "modulation_tables": True,
        "stream_encoders": True,
        "tiling": True,
        "block_swap": 17,
    }


def test_options_of_the_user_stay() -> None:
    chosen = chosen_for(9, ExecutionConfig(weights="fp8"))
    assert chosen == {"modulation_tables": True} or "weights" not in chosen
    assert "block_swap" not in chosen_for(8, ExecutionConfig(block_swap=20))


def test_what_cannot_fit_is_told_with_its_largest_part() -> None:
    found = fit(
        ExecutionConfig(),
        plain_estimate,
        Limits(device=2 * GB),
        num_blocks=40,
        has_own_memory=True,
        has_loras=False,
    )
    assert any("decode needs 3.0 GB of GPU memory" in text for text in found.problems)


def test_advice_names_the_option_and_what_it_brings() -> None:
    told = list(advice(ExecutionConfig(), plain_estimate, Limits(device=8 * GB)))
    assert any(text.startswith("decode needs 9.0 GB: --execution.tiling makes it 3.0 GB") for text in told)


def test_blocks_stay_in_files_only_where_files_hold_them_as_they_are_needed() -> None:
    def estimate(execution: ExecutionConfig) -> Estimate:
        host = 40 if execution.swap_home == "memory" else 4
        device = 12 if execution.block_swap < 20 else 5
        terms = (
            Term(name="blocks that wait", num_bytes=host * GB, place="host"),
            Term(name="blocks", num_bytes=device * GB, place="device"),
        )
        return Estimate(stages=(Stage(name="denoise", terms=terms),))

    limits = Limits(device=8 * GB, host=16 * GB)
    asked = {"num_blocks": 40, "has_own_memory": True}
    assert not fit(ExecutionConfig(), estimate, limits, **asked, has_loras=False).problems  # type: ignore[arg-type]
    assert fit(ExecutionConfig(), estimate, limits, **asked, has_loras=True).problems  # type: ignore[arg-type]


def test_cards_are_known_by_their_usual_names() -> None:
    assert known_gpu("NVIDIA GeForce RTX 4090").memory == 24 * GB
    assert known_gpu("h100").flops > known_gpu("A100").flops
    with pytest.raises(ConfigError, match="Did you mean 4090"):
        known_gpu("409")


def test_a_longer_clip_never_takes_less() -> None:
    estimating = families.load("cogvideox").estimating
    assert estimating is not None
    sized = estimating.sized(families.configs("cogvideox").GENERATE())
    sizes = []
    for frames in (9, 17):
        with imagining(torch.device("cuda")) as device, torch.no_grad():
            network = imagine(lambda: sized.denoiser(sized.depths), device, torch.bfloat16)
            shape = replace(sized.shape_of(_SMALL), num_frames=frames)
            with Meter([network]) as meter:
                sized.ask(network, shape, device, torch.bfloat16)
            sizes.append(meter.reading)
    assert sizes[0].peak < sizes[1].peak
    assert sizes[0].flops < sizes[1].flops


def test_what_checkpointed_blocks_free_below_what_they_keep_counts_as_holes() -> None:
    class Block(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1) * 2 + 3  # two of three results are let go

    blocks = nn.Sequential(*(Block() for _ in range(3)))
    meter = Meter()
    meter.watch_holes(blocks[0])
    meter.watch_holes(blocks[1])
    inputs = torch.zeros(1000)
    with meter:
        kept = blocks(inputs)
    # At most two results of 4000 bytes are there at once, and one is left, in each of the two blocks.
    assert (meter.reading.holes, kept.nbytes) == (2 * 4000, 4000)
    twice = meter.reading.plus(meter.reading, 1)
    assert twice.holes == 4 * 4000
