"""Step caches around the networks of both families, alone and with other ways to run them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reelwright.checkpoint.lane import PlainCarrier
from reelwright.execution.facts import DenoiserFacts
from reelwright.execution.policy import Call, PreparedDenoiser
from reelwright.execution.prepare import prepare_to_generate
from reelwright.families.cogvideox.config import TRANSFORMERS
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS as COGVIDEOX_FACTS
from reelwright.families.cogvideox.step_cache_facts import step_cache_facts as cogvideox_facts
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack.config import TransformerConfig as FramePackConfig
from reelwright.families.framepack.execution_facts import EXECUTION_FACTS as FRAMEPACK_FACTS
from reelwright.families.framepack.step_cache_facts import step_cache_facts as framepack_facts
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.configs import ExecutionConfig

from .lora_networks import COGVIDEOX, FRAMEPACK, seeded
from .training_questions import QUESTIONS

NUM_STEPS = 8
NUM_BLOCKS = 5
METHODS = ("teacache", "magcache", "first_block")


@dataclass(frozen=True)
class Subject:
    build: Callable[[], nn.Module]
    facts: DenoiserFacts


SUBJECTS = {
    "cogvideox": Subject(
        lambda: seeded(lambda: CogVideoXTransformer(replace(COGVIDEOX, num_layers=NUM_BLOCKS))),
        COGVIDEOX_FACTS,
    ),
    "framepack": Subject(
        lambda: seeded(lambda: FramePackTransformer(replace(FRAMEPACK, num_layers=2, num_single_layers=3))),
        FRAMEPACK_FACTS,
    ),
}


def prepared(family: str, network: nn.Module, **options: Any) -> PreparedDenoiser:
    ratios = (1.0, 1.04, 0.97, 1.02) if options.get("step_cache") == "magcache" else ()
    config = ExecutionConfig(step_cache_ratio_list=ratios, step_cache_start=0.0, **options)
    facts = SUBJECTS[family].facts
    device = torch.device("cpu")
    return prepare_to_generate(network, config, device=device, dtype=torch.float32, facts=facts)[0]


@torch.no_grad()
def answers(family: str, denoiser: Callable[[Tensor, Call], Tensor]) -> Tensor:
    """What it predicts in the steps of a run, of latents that do not depend on it."""
    question = QUESTIONS[family](0)
    calls = [
        Call(
            step=step,
            num_steps=NUM_STEPS,
            branch="positive",
            timestep_B=torch.tensor([900.0 - 100 * step]),
            conditions=question.conditions,
        )
        for step in range(NUM_STEPS)
    ]
    if isinstance(denoiser, PreparedDenoiser):
        denoiser.start(calls)
    noise = torch.randn(question.latents.shape, generator=torch.Generator().manual_seed(7))
    return torch.stack([denoiser(question.latents + 0.1 * call.step * noise, call) for call in calls])


def same_bytes(first: Tensor, second: Tensor) -> bool:
    return first.numpy().tobytes() == second.numpy().tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", SUBJECTS)
def test_a_threshold_of_0_gives_the_bytes_of_the_network_itself(family: str, method: str):
    network = SUBJECTS[family].build()
    exact = answers(
        family, lambda latents, call: SUBJECTS[family].build()(latents, call.timestep_B, call.conditions)
    )
    cached = prepared(family, network, step_cache=method, step_cache_threshold=0.0)
    assert same_bytes(answers(family, cached), exact)
    assert cached.shortcuts == ()


SWAPPED = {"block_swap": NUM_BLOCKS - 2}
TABLES = {"modulation_tables": True}
COMPILED = {"compile": "blocks", "compile_backend": "eager"}


@pytest.mark.parametrize(
    ("family", "method", "beside"),
    [
        *(
            pytest.param(family, method, {**SWAPPED, **TABLES}, id=f"{family}-{method}")
            for family in SUBJECTS
            for method in METHODS
        ),
        # Compiling takes its time, even if it does nothing.
        pytest.param("cogvideox", "first_block", {**SWAPPED, **TABLES, **COMPILED}, id="compiled"),
    ],
)
def test_other_ways_to_run_change_no_byte_and_no_step(family: str, method: str, beside: dict[str, Any]):
    cache = {"step_cache": method, "step_cache_threshold": 1.0 if method == "teacache" else 0.3}
    alone = prepared(family, SUBJECTS[family].build(), **cache)
    expected = answers(family, alone)
    together = prepared(family, SUBJECTS[family].build(), **cache, **beside)
    assert same_bytes(answers(family, together), expected)
    (told,) = alone.shortcuts
    assert told in together.shortcuts
    assert " 0 of " not in told


@pytest.mark.parametrize("method", METHODS)
def test_steps_that_are_left_out_bring_no_weights(monkeypatch: pytest.MonkeyPatch, method: str):
    fetched: list[int] = []
    fill = PlainCarrier.fill
    monkeypatch.setattr(PlainCarrier, "fill", lambda *given: (fetched.append(1), fill(*given)))
    num_swapped = NUM_BLOCKS - 2
    options = {"step_cache": method, "step_cache_threshold": 1e9, "step_cache_max_skips": 100}
    answers(
        "cogvideox",
        prepared("cogvideox", SUBJECTS["cogvideox"].build(), block_swap=num_swapped, **options),
    )
    # The first step and the last are computed. The first block has the next one's weights come.
    num_begun = NUM_STEPS - 2 if method == "first_block" else 0
    assert len(fetched) == 2 * num_swapped + num_begun


def test_teacache_of_framepack_looks_at_what_the_first_attention_is_given():
    network = SUBJECTS["framepack"].build()
    given: list[Tensor] = []
    network.double_blocks[0].video.heads.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    signals: list[Tensor] = []
    signal = framepack_facts(network.config).signal
    trunk = network.trunk
    network.trunk = lambda *inputs: (signals.append(signal(network, *inputs)), trunk(*inputs))[1]
    question = QUESTIONS["framepack"](0)
    with torch.no_grad():
        network(question.latents, question.timestep, question.conditions)
    assert torch.equal(signals[0], given[0])


def test_teacache_of_cogvideox_looks_at_the_embedded_time():
    network = SUBJECTS["cogvideox"].build()
    signals: list[Tensor] = []
    signal = cogvideox_facts(network.config).signal
    trunk = network.trunk
    network.trunk = lambda *inputs: (signals.append(signal(network, *inputs)), trunk(*inputs))[1]
    question = QUESTIONS["cogvideox"](0)
    with torch.no_grad():
        network(question.latents, question.timestep, question.conditions)
        assert torch.equal(signals[0], network.time_embedding(question.timestep))


CONSTANTS = {
    **dict.fromkeys(("2b", "fun-2b-inp"), -3.61568434e-3),
    **dict.fromkeys(("5b", "5b-i2v", "fun-5b-inp", "fun-5b-control"), -5.23162339e-2),
    "1.5-5b": 3.58559703e-2,
    "1.5-5b-i2v": 3.71213220e-2,
}
"""The last coefficient of each polynomial."""


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_released_models_have_the_polynomials_that_were_fitted_to_them(name: str):
    polynomial = cogvideox_facts(replace(TRANSFORMERS[name], sample_frames=17)).polynomial
    assert polynomial is not None
    assert len(polynomial) == 5
    assert polynomial[-1] == CONSTANTS[name]


def test_other_models_have_no_polynomial_and_the_ratios_of_the_released_one():
    assert cogvideox_facts(COGVIDEOX).polynomial is None
    assert cogvideox_facts(TRANSFORMERS["5b"]).ratios is None
    small, released = framepack_facts(FRAMEPACK), framepack_facts(FramePackConfig())
    assert (small.polynomial, small.ratios_are_own) == (None, False)
    assert released.ratios_are_own
    assert released.polynomial is not None
    assert small.ratios == released.ratios
    assert released.ratios is not None
    assert len(released.ratios) == 50
