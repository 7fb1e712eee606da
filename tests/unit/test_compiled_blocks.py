"""Blocks that torch compiles: the same answers, one graph for each kind of block, whatever else is around."""

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from reelwright.adapters.adapted_module import set_multipliers
from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.core.errors import ConfigError
from reelwright.execution.attention import attend_with
from reelwright.execution.block_swap import swap_blocks
from reelwright.execution.compiling import check_compiling, compile_blocks
from reelwright.execution.fp8 import quantize_blocks
from reelwright.execution.modulation_tables import ModulationTables
from reelwright.execution.policy import Call, Policy, PreparedDenoiser
from reelwright.execution.prepare import prepare
from reelwright.execution.weight_homes import home_of
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.policy_configs import KernelConfig, WeightPolicyConfig
from reelwright.protocols.train_configs import AdapterConfig, TrainExecutionConfig

from .lora_networks import COGVIDEOX, SUBJECTS, Draw, save, seeded
from .training_questions import QUESTIONS, error

CPU = torch.device("cpu")
KINDS = {"cogvideox": 1, "framepack": 2}
"""Of blocks."""
BUILD = {
    "cogvideox": lambda: seeded(lambda: CogVideoXTransformer(replace(COGVIDEOX, num_layers=4))),
    "framepack": SUBJECTS["framepack"].build,
}
ATTENTIONS = {
    "cogvideox": ["transformer_blocks_0_attn1", "transformer_blocks_1_attn1"],
    "framepack": ["transformer_blocks_1_attn", "single_transformer_blocks_0_attn"],
}
WIDTHS = {"cogvideox": 16, "framepack": 32}
TRACED = KernelConfig(compile="blocks", compile_backend="counting")
GRAPHS: list[GraphModule] = []


@torch._dynamo.register_backend(name="counting")
def _counting(graph: GraphModule, _: list[Tensor], **__: object) -> Callable[..., Any]:
    """Runs what was traced as it is, as torch's backend `eager` does."""
    GRAPHS.append(graph)
    return graph.forward


@pytest.fixture(autouse=True)
def _nothing_traced() -> Iterator[None]:
    torch._dynamo.reset()
    GRAPHS.clear()
    yield
    torch._dynamo.reset()


def _lora(folder: Path, family: str) -> Path:
    draw, width = Draw(1), WIDTHS[family]
    tensors: dict[str, Tensor] = {}
    for name in (f"lora_unet_{attention}_to_q" for attention in ATTENTIONS[family]):
        tensors[f"{name}.lora_down.weight"] = draw(4, width)
        tensors[f"{name}.lora_up.weight"] = draw(width, 4)
    return save(folder / "lora.safetensors", tensors)


def _prepared(family: str, ways: Sequence[str], folder: Path) -> PreparedDenoiser:
    """The same network each time, made to run in these ways in the order of prepare.py."""
    network, policies = BUILD[family](), list[Policy]()
    if "fp8" in ways:
        quantize_blocks(network, lambda name: "modulation" not in name, torch.float32, CPU)
    if "lora" in ways:
        SUBJECTS[family].plan(_lora(folder, family), lora_mode="unmerged").apply(network)
    if "compile" in ways:
        compile_blocks(network, TRACED)
    if "tables" in ways:
        policies.append(ModulationTables(network, home_of("memory", CPU)))
    if "swap" in ways:
        swap_blocks(network, 2, CPU)
    if "flash" in ways:
        attend_with(network, "flash", device=CPU, dtype=torch.float32)
    return PreparedDenoiser(network, policies, dtype=torch.float32)


def _run(denoiser: PreparedDenoiser, family: str) -> list[Tensor]:
    """The answers of three steps on one clip."""
    question = QUESTIONS[family](0)
    calls = [
        Call(
            step=step,
            num_steps=3,
            branch="positive",
            timestep_B=torch.tensor([900.0 - 300 * step]),
            conditions=question.conditions,
        )
        for step in range(3)
    ]
    with torch.no_grad():
        denoiser.start(calls)
        return [denoiser(question.latents, call) for call in calls]


@pytest.mark.parametrize("ways", [("lora", "swap"), ("fp8", "tables", "flash")], ids="-".join)
@pytest.mark.parametrize("family", sorted(KINDS))
def test_compiled_blocks_give_the_same_bytes_from_one_graph_for_each_kind(
    family: str, ways: tuple[str, ...], tmp_path: Path
) -> None:
    expected = _run(_prepared(family, ways, tmp_path), family)
    denoiser = _prepared(family, (*ways, "compile"), tmp_path)
    assert all(map(torch.equal, _run(denoiser, family), expected))
    # Only some of the blocks have a LoRA; those are of another kind then.
    num_kinds = KINDS[family] * (2 if "lora" in ways else 1)
    assert len(GRAPHS) == num_kinds
    _run(denoiser, family)
    assert len(GRAPHS) == num_kinds


def test_new_strengths_of_loras_are_compiled_once_more_and_no_oftener(tmp_path: Path) -> None:
    plain = _prepared("cogvideox", ("lora",), tmp_path)
    denoiser = _prepared("cogvideox", ("lora", "compile"), tmp_path)
    for strength in (1.0, 0.5, 0.25, 0.125):
        for network in (denoiser.network, plain.network):
            set_multipliers(network, [strength])
        assert all(map(torch.equal, _run(denoiser, "cogvideox"), _run(plain, "cogvideox")))
    assert len(GRAPHS) == 3


def _gradients(family: str, execution: TrainExecutionConfig) -> list[dict[str, Tensor]]:
    """Of LoRAs, in two steps."""
    network = SUBJECTS[family].build().train()
    prepare(network, execution, lambda name: "modulation" not in name, dtype=torch.float32, device=CPU)
    targets, adapter = SUBJECTS[family].targets, AdapterConfig(rank=2)
    adapter_trainables(network, targets, adapter, "lora", layout="native", dtype=torch.float32, seed=1)
    made: list[dict[str, Tensor]] = []
    for _ in range(2):
        network.zero_grad()
        error(network, QUESTIONS[family](0)).backward()
        made.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    return made


@pytest.mark.parametrize("family", sorted(KINDS))
def test_adapters_learn_the_same_through_compiled_blocks_with_checkpoints_in_8_bits(family: str) -> None:
    plain = TrainExecutionConfig(activation_checkpoint=True, fp8=True)
    expected = _gradients(family, plain)
    made = _gradients(family, replace(plain, compile="blocks", compile_backend="counting"))
    for ours, theirs in zip(made, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # Nothing before the first block learns, so that it sees inputs without gradients.
    assert len(GRAPHS) == KINDS[family] + 1


def test_names_of_parameters_stay_as_they_are() -> None:
    network = BUILD["cogvideox"]()
    names = list(network.state_dict())
    compile_blocks(network, TRACED)
    assert list(network.state_dict()) == names


def test_the_record_tells_of_a_compiler_that_rounds_otherwise() -> None:
    def shortcut(backend: str) -> str:
        config = KernelConfig(compile="blocks", compile_backend=backend)
        return compile_blocks(BUILD["cogvideox"](), config).shortcut

    assert shortcut("eager") == ""
    assert "aot_eager" in shortcut("aot_eager")


def test_what_was_compiled_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    compile_blocks(BUILD["cogvideox"](), KernelConfig(compile="blocks"))
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(tmp_path)
    chosen = str(tmp_path / "chosen by the user")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", chosen)
    compile_blocks(BUILD["cogvideox"](), KernelConfig(compile="blocks"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == chosen


def _compiled(**settings: Any) -> WeightPolicyConfig:
    return WeightPolicyConfig(**{"compile": "blocks", **settings})


@pytest.mark.parametrize(
    ("config", "device", "complaint"),
    [
        (_compiled(compile_backend="inducto"), "cpu", "Did you mean inductor"),
        (_compiled(compile_backend="eager", compile_mode="max-autotune"), "cpu", "leave out"),
        (_compiled(compile_mode="reduce-overhead", block_swap=2), "cpu", "max-autotune-no-cudagraphs"),
        (_compiled(compile_fullgraph=True, attention="sage"), "cpu", "another --execution.attention"),
        (_compiled(), "cuda", "pip install triton"),
        (_compiled(compile="off", compile_mode="max-autotune"), "cpu", "Add --execution.compile blocks"),
        (_compiled(compile="off", compile_cache_size_limit=8), "cpu", "Add --execution.compile blocks"),
    ],
    ids=["backend", "mode-of-another", "swap", "sage", "triton", "mode-of-none", "limit-of-none"],
)
def test_what_cannot_be_compiled_is_refused_with_the_way_out(
    config: WeightPolicyConfig, device: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find(name))
    with pytest.raises(ConfigError, match=complaint):
        check_compiling(config, torch.device(device))


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ConfigError, match=r"C\+\+ compiler no-such-compiler.*or leave out --execution.compile"
    ):
        check_compiling(_compiled(), CPU)
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: "/nowhere")
    with pytest.raises(ConfigError, match="python3-dev"):
        check_compiling(_compiled(), CPU)
    check_compiling(_compiled(compile_backend="eager"), CPU)


def test_so_many_versions_of_a_block_are_compiled_as_are_allowed() -> None:
    compile_blocks(BUILD["cogvideox"](), replace(TRACED, compile_cache_size_limit=7))
    assert torch._dynamo.config.recompile_limit == 7
    compile_blocks(BUILD["cogvideox"](), TRACED)
    assert torch._dynamo.config.recompile_limit == 64
