"""Modulations answered from tables: the same bytes, with the weights away."""

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from mmap import mmap
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from reelwright.adapters.adapted_module import set_multipliers
from reelwright.core.errors import FileError
from reelwright.execution.modulation_tables import ModulationTables
from reelwright.execution.policy import Branch, Call, PreparedDenoiser
from reelwright.execution.weight_homes import ScratchFile, home_of, keep_in_memory
from reelwright.families.cogvideox.config import TRANSFORMERS
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack.conditions import join
from reelwright.families.framepack.config import TransformerConfig
from reelwright.families.framepack.transformer import FramePackTransformer

from .lora_networks import COGVIDEOX, SUBJECTS, Draw, save, seeded
from .training_questions import QUESTIONS

CPU = torch.device("cpu")
KEEPS = {"memory": lambda: partial(keep_in_memory, device=CPU), "disk": lambda: home_of("disk", CPU)}
SECOND = replace(COGVIDEOX, ofs_embed_dim=8)
BUILD: dict[str, Callable[[], Any]] = {
    "cogvideox": SUBJECTS["cogvideox"].build,
    "second": lambda: seeded(lambda: CogVideoXTransformer(SECOND)),
    "framepack": SUBJECTS["framepack"].build,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def conditions_of(network: str, item: int) -> dict[Branch, Any]:
    """With each prompt, and with both in one batch."""
    if network == "framepack":
        one, other = (QUESTIONS["framepack"](index).conditions for index in (item, item + 2))
        return {"positive": one, "negative": other, "both": join(other, one)}
    ofs = {"ofs_B": torch.tensor([2.0 + item])} if network == "second" else {}
    known = replace(QUESTIONS["cogvideox"](item).conditions, **ofs)
    text = Draw(item + 1)(*known.text_BLD.shape)
    return {
        "positive": known,
        "negative": replace(known, text_BLD=text),
        "both": known.with_negative(text),
    }


def calls_of(network: str, item: int = 0, num_steps: int = 5) -> list[Call]:
    """Steps with both prompts in one pass, in two, and with one alone."""
    passes: Sequence[Sequence[Branch]] = (["both"], ["positive", "negative"], ["positive"])
    known = conditions_of(network, item)
    return [
        Call(
            step=step,
            num_steps=num_steps,
            branch=branch,
            timestep_B=torch.full((2 if branch == "both" else 1,), 900.0 - 150 * step),
            conditions=known[branch],
        )
        for step in range(num_steps)
        for branch in passes[step % 3]
    ]


@torch.no_grad()
def answers(denoiser: PreparedDenoiser, calls: Sequence[Call]) -> list[Tensor]:
    shape = (1, 16, 2, 4, 4)
    latents = [Draw(call.step)(*shape).repeat(len(call.timestep_B), 1, 1, 1, 1) for call in calls]
    denoiser.start(calls)
    return [denoiser(noisy, call) for noisy, call in zip(latents, calls, strict=True)]


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def plain(network: nn.Module) -> PreparedDenoiser:
    return PreparedDenoiser(network, dtype=torch.float32)


def tabled(network: nn.Module, keep: str = "disk") -> tuple[PreparedDenoiser, ModulationTables]:
    tables = ModulationTables(network, KEEPS[keep]())
    return PreparedDenoiser(network, [tables], dtype=torch.float32), tables


def num_weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def modulation_lora(folder: Path, family: str) -> Path:
    """A LoRA on the first block's modulation, and a change of another that is no product of thin matrices."""
    draw, (inputs, outputs) = Draw(1), {"cogvideox": (16, 96), "framepack": (32, 192)}[family]
    first = "lora_unet_transformer_blocks_0_norm1_linear"
    second = first.replace("_0_norm1", "_1_norm1")
    tensors = {
        f"{first}.lora_down.weight": draw(4, inputs),
        f"{first}.lora_up.weight": draw(outputs, 4),
        f"{second}.hada_w1_a": draw(outputs, 2),
        f"{second}.hada_w1_b": draw(2, inputs),
        f"{second}.hada_w2_a": draw(outputs, 2),
        f"{second}.hada_w2_b": draw(2, inputs),
    }
    return save(folder / "lora.safetensors", tensors)


def test_they_are_a_seventh_and_a_quarter_of_the_released_weights():
    """specs: CogVideoX 2.7 counts those of blocks alone, without biases: 793 M."""
    with torch.device("meta"):
        five = CogVideoXTransformer(TRANSFORMERS["5b"])
        packed = FramePackTransformer(TransformerConfig())
    counts = [
        (num_weights(network), sum(num_weights(layer) for layer in network.modulations))
        for network in (five, packed)
    ]
    assert counts == [(5_570_283_072, 797_423_616), (12_874_314_816, 3_417_372_672)]
    in_blocks = [layer for block in five.blocks for layer in (block.norm1.modulation, block.norm2.modulation)]
    assert sum(layer.weight.numel() for layer in in_blocks) == 792_723_456


@pytest.mark.parametrize("keep", sorted(KEEPS))
@pytest.mark.parametrize("network", sorted(BUILD))
def test_answers_are_the_same_to_the_last_bit_in_every_run(network: str, keep: str):
    denoiser, _ = tabled(BUILD[network](), keep)
    whole = plain(BUILD[network]())
    # Another clip, another length, the first clip again.
    for item, num_steps in ((0, 5), (1, 3), (0, 5)):
        calls = calls_of(network, item, num_steps)
        assert same(answers(denoiser, calls), answers(whole, calls))


@pytest.mark.parametrize("network", sorted(BUILD))
def test_a_call_may_come_twice_and_out_of_order(network: str):
    """Samplers of second order ask twice at a step."""
    denoiser, _ = tabled(BUILD[network]())
    calls = calls_of(network)
    expected = answers(plain(BUILD[network]()), calls)
    answers(denoiser, calls)
    with torch.no_grad():
        for index in (3, 3, 0, len(calls) - 1):
            call = calls[index]
            noisy = Draw(call.step)(1, 16, 2, 4, 4).repeat(len(call.timestep_B), 1, 1, 1, 1)
            assert torch.equal(denoiser(noisy, call), expected[index])


@pytest.mark.parametrize("network", sorted(BUILD))
def test_the_device_holds_no_weights_of_modulations_in_a_step(network: str):
    denoiser, tables = tabled(BUILD[network]())
    whole = BUILD[network]()
    weights = sum(num_weights(layer) for layer in whole.modulations)
    held: list[tuple[int, int]] = []
    for block in (block for stack in denoiser.network.stacks for block in stack):  # pyright: ignore
        block.register_forward_hook(lambda *_: held.append((num_weights(denoiser.network), tables.num_bytes)))
    answers(denoiser, calls_of(network))
    assert {count for count, _ in held} == {num_weights(whole) - weights}
    # A longer run is computed in turns, so that the tables do not take what the weights gave.
    assert 0 < max(table for _, table in held) <= 0.25 * 4 * weights


def test_a_table_holds_a_row_for_both_prompts_where_only_the_text_tells_them_apart():
    """What stands in the docs: 50 steps of CogVideoX-5B in bfloat16 take 155 MB."""
    with torch.device("meta"):
        five = CogVideoXTransformer(TRANSFORMERS["5b"])
    assert 50 * 2 * sum(layer.out_features for layer in five.modulations) == pytest.approx(155e6, rel=0.01)
    wide = replace(COGVIDEOX, time_embed_dim=64)
    network = seeded(lambda: CogVideoXTransformer(wide))
    row_bytes = 4 * sum(layer.out_features for layer in network.modulations)
    denoiser, tables = tabled(network)
    answers(denoiser, [call for call in calls_of("cogvideox") if call.branch == "both"])
    assert tables.num_bytes == 2 * row_bytes


@pytest.mark.parametrize("is_merged", [True, False], ids=["merged", "beside"])
@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_adapters_on_modulations_take_part(family: str, is_merged: bool, tmp_path: Path):
    path = modulation_lora(tmp_path, family)
    mode = "merge" if is_merged else "unmerged"
    networks = [BUILD[family](), BUILD[family]()]
    for network in networks:
        SUBJECTS[family].plan(path, lora_mode=mode).apply(network)
    whole, (denoiser, _) = plain(networks[0]), tabled(networks[1])
    calls = calls_of(family)
    adapted = answers(whole, calls)
    assert not same(adapted, answers(plain(BUILD[family]()), calls))
    assert same(answers(denoiser, calls), adapted)
    if is_merged:
        return
    # Sections may have strengths of their own.
    for network in networks:
        set_multipliers(network, [0.25])
    weaker = answers(whole, calls)
    assert not same(weaker, adapted)
    assert same(answers(denoiser, calls), weaker)


class Wide(nn.Module):
    """Modulations of 50 MB each, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(1024, 12_288, bias=False, device="meta") for _ in range(3)]
        for layer in layers:
            # Straight from the system: a large process may keep for itself what malloc is given back.
            values = torch.frombuffer(mmap(-1, 12_288 * 1024 * 4), dtype=torch.float32)
            layer.weight = nn.Parameter(values.fill_(0.5).view(12_288, 1024), requires_grad=False)
        self.modulations = nn.ModuleList(layers)

    def signal(self, timestep_B: Tensor, _: object) -> Tensor:
        return timestep_B[:, None].expand(-1, 1024) / 1000


def test_the_memory_of_a_processor_falls_and_stays_low(cache: Path):
    network, process = Wide(), psutil.Process()
    before = process.memory_info().rss
    tables = ModulationTables(network, home_of("memory", CPU))
    assert before - process.memory_info().rss > 0.9 * 3 * 50e6
    call = Call(step=0, num_steps=1, branch="positive", timestep_B=torch.tensor([500.0]), conditions=None)
    tables.start([call])
    tables.enter(call)
    assert before - process.memory_info().rss > 0.9 * 3 * 50e6 - 60e6
    assert list(cache.iterdir()) == []  # the file has no name, so nothing can be left of it


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_scratch_file_gives_back_what_it_was_given(dtype: torch.dtype):
    keep = ScratchFile(CPU).keep
    tensors = [Draw(seed)(*shape).to(dtype) for seed, shape in enumerate([(3, 5), (7,), (), (2, 0, 3)])]
    bring = [keep(tensor) for tensor in tensors]
    for index in (2, 0, 3, 1, 0):
        assert torch.equal(bring[index](), tensors[index])


def test_a_folder_that_cannot_be_written_is_named(cache: Path):
    cache.write_text("a file stands there")
    with pytest.raises(FileError, match=str(cache)):
        home_of("disk", CPU)


def test_a_network_is_gone_when_its_owner_lets_it_go():
    network = BUILD["cogvideox"]()
    denoiser, tables = tabled(network)
    answers(denoiser, calls_of("cogvideox"))
    gone = weakref.ref(network)
    gc.disable()
    try:
        del network, denoiser, tables
        assert gone() is None
    finally:
        gc.enable()
