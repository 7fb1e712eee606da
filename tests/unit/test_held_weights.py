"""Weights in few bits as they stream from files: which, how exact, never whole, and back into files."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reelwright.adapters.adapted_module import AdaptedModule
from reelwright.adapters.merged_model import write_merged
from reelwright.core.errors import ConfigError
from reelwright.execution import weights as held
from reelwright.execution.fp8 import QuantizedLinear, layers_of_blocks, round_plain, round_scaled
from reelwright.execution.integers import round_int4, round_int8
from reelwright.execution.rounded_weight import restore
from reelwright.execution.weights import held_formats, tensors_to_save
from reelwright.families.cogvideox import checkpoints as cogvideox
from reelwright.families.cogvideox import execution_facts as cogvideox_facts
from reelwright.families.cogvideox.config import TRANSFORMERS, CogVideoXGenerate
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack import checkpoints as framepack
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.policy_configs import WeightFormat

NOT_ROUNDED = (
    *("patch_embed", "lora", "pos_embedding", "time_embedding", "norm_k", "norm_q"),
    *("to_k.bias", "to_q.bias", "to_v.bias"),
)
"""Of Kijai's files (specs: CogVideoX 2.7): what they keep by name."""


@dataclass(frozen=True)
class Subject:
    name: str
    family: Any
    schema: type[Any]
    key_map: Any
    layer: str
    """A layer in the released names, and in ours."""
    ours: str
    width: int
    model: Path = Path()

    def load(
        self, weights: WeightFormat = "full", dtype: torch.dtype = torch.float32, **options: Any
    ) -> nn.Module:
        execution = ExecutionConfig(device="cpu", weights=weights)
        model = self.family.locate(
            self.schema(model=str(self.model), execution=execution, offline=True, **options)
        )
        adapters = (model.adapters,) if self.family is framepack else ()
        return self.family.load_adapted(model, *adapters, execution, dtype)[0]

    def lora(self, path: Path) -> Path:
        draw = torch.Generator().manual_seed(0)
        tensors = {
            f"{self.layer}.lora_A.weight": torch.randn(4, self.width, generator=draw),
            f"{self.layer}.lora_B.weight": torch.randn(self.width, 4, generator=draw) / 8,
        }
        save_file(tensors, path)
        return path

    def save(self, network: nn.Module, path: Path) -> Path:
        model = self.family.locate(self.schema(model=str(self.model), offline=True))
        events = write_merged(tensors_to_save(network), model.adapters, self.key_map, path, {})
        assert len(list(events)) == 1
        return path


SUBJECTS = [
    Subject(
        name="cogvideox",
        family=cogvideox,
        schema=CogVideoXGenerate,
        key_map=DIFFUSERS_TRANSFORMER,
        layer="transformer_blocks.1.attn1.to_q",
        ours="blocks.1.attention.query",
        width=128,
    ),
    Subject(
        name="framepack",
        family=framepack,
        schema=FramePackGenerate,
        key_map=RELEASED_TRANSFORMER,
        layer="single_transformer_blocks.1.attn.to_q",
        ours="single_blocks.1.heads.query",
        width=64,
    ),
]
of_cogvideox = pytest.mark.parametrize("subject", SUBJECTS[:1], ids=["cogvideox"], indirect=True)


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest, small_model: Callable[[str], Path]) -> Subject:
    """With a model whose widths are those above."""
    return replace(request.param, model=small_model(request.param.name))


def rounded_to_bits(values: NDArray[np.float64], bits: int, smallest: int) -> NDArray[np.float64]:
    """The nearest numbers with so many bits of mantissa, even ones at ties; exponents end at `smallest`."""
    _, exponents = np.frexp(values)
    step = np.exp2(np.maximum(exponents - 1, smallest) - (bits - 1.0))
    return np.round(values / step) * step


def rule_of_scaled_fp8(weight: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """specs: FramePack 6.6, in float64: bfloat16 has 8 bits of mantissa, E4M3 has 4 and exponents from -6."""
    blocks = weight.double().numpy().reshape(weight.shape[0], -1, 64)
    scale = np.maximum(np.abs(blocks).max(axis=-1, keepdims=True) / 448, 1e-8)
    scale = rounded_to_bits(scale, 8, -126)
    quantized = rounded_to_bits(np.clip(blocks / scale, -448, 448), 4, -6)
    return quantized.reshape(weight.shape), scale


def draw_weight(rows: int = 48, columns: int = 192) -> Tensor:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    weight[3, 5], weight[7, 64:128] = 40.0, 0.0
    return weight.bfloat16()


def error_of(rounding: Callable[[Tensor], Any], weight: Tensor) -> float:
    rounded = rounding(weight)
    restored = restore(rounded.values, rounded.scale, torch.float32)
    return float((restored - weight.float()).norm() / weight.float().norm())


def test_scaled_fp8_is_its_rule_in_float64_number_by_number():
    weight = draw_weight()
    rounded = round_scaled(weight)
    quantized, scale = rule_of_scaled_fp8(weight)
    assert rounded.scale is not None
    assert np.array_equal(rounded.values.double().numpy(), quantized)
    assert np.array_equal(rounded.scale.double().numpy(), scale)
    products = rounded_to_bits((quantized.reshape(48, -1, 64) * scale).reshape(48, -1), 8, -126)
    restored = restore(rounded.values, rounded.scale, torch.float64).numpy()
    assert np.array_equal(restored, products)
    # Half a step of 4 bits is 1/16 of the number at most; what is near zero loses half of 2^-9 of its scale.
    allowed = np.abs(weight.double().numpy()) / 16 + np.repeat(scale[..., 0], 64, axis=1) / 2**9
    assert (np.abs(restored - weight.double().numpy()) <= allowed * 1.01).all()


def test_fewer_bits_lose_more_and_scales_save():
    weight = draw_weight()
    ordered = [error_of(rounding, weight) for rounding in (round_int8, round_scaled, round_int4)]
    assert ordered == sorted(ordered)
    assert ordered[0] < 0.02
    assert ordered[1] < 0.04
    assert ordered[2] < 0.12
    # Without scales small weights fall below the smallest number.
    assert error_of(round_scaled, weight / 1000) < 0.04 < error_of(round_plain, weight / 1000)


def test_integers_are_the_nearest_of_their_grids():
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(1))
    rounded = round_int8(weight)
    steps = weight.abs().amax(1, keepdim=True) / 127
    restored = restore(rounded.values, rounded.scale, torch.float32)
    assert (rounded.values.dtype, rounded.values.abs().max()) == (torch.int8, 127)
    assert ((restored - weight).abs() <= steps / 2 * 1.001).all()
    rounded = round_int4(weight)
    assert (rounded.values.dtype, rounded.values.shape, rounded.shape) == (torch.uint8, (8, 64), (8, 128))
    blocks = weight.unflatten(1, (2, 64))
    steps = (blocks.amax(-1, keepdim=True).clamp_min(0) - blocks.amin(-1, keepdim=True).clamp_max(0)) / 15
    restored = restore(rounded.values, rounded.scale, torch.float32).unflatten(1, (2, 64))
    # The grid is moved so that it has a zero: a number at its end may be half a step further away.
    assert ((restored - blocks).abs() <= steps * 1.001).all()


def test_the_released_transformer_of_5b_has_252_layers_in_few_bits():
    with torch.device("meta"):
        network = CogVideoXTransformer(TRANSFORMERS["5b"])
    chosen = layers_of_blocks(network, cogvideox_facts.EXECUTION_FACTS.is_quantized)
    assert len(chosen) == 42 * 6
    assert not [name for name in chosen if "modulation" in name or not name.startswith("blocks.")]


@pytest.mark.parametrize("wanted", ["fp8_scaled", "fp8", "int8", "int4"])
def test_layers_of_blocks_are_rounded_and_all_else_is_as_it_was(subject: Subject, wanted: WeightFormat):
    full, rounded = subject.load(), subject.load(wanted)
    assert held_formats(rounded) == [wanted]
    layer, original = rounded.get_submodule(subject.ours), full.get_submodule(subject.ours)
    assert isinstance(layer, QuantizedLinear)
    expected = held.ROUNDINGS[wanted](original.weight.detach().half())
    assert torch.equal(layer.quantized.float(), expected.values.float())
    assert (layer.weight - original.weight).norm() / original.weight.norm() < 0.13
    assert torch.equal(layer.bias, original.bias)
    others = {name: tensor for name, tensor in rounded.state_dict().items() if name in full.state_dict()}
    assert all(torch.equal(tensor, full.state_dict()[name]) for name, tensor in others.items())
    assert {"output_projection.weight", f"{subject.ours}.bias"} <= others.keys()


def test_only_one_weight_is_ever_there_in_full(subject: Subject, monkeypatch: pytest.MonkeyPatch):
    weights: list[weakref.ref[Tensor]] = []

    def round_and_watch(weight: Tensor) -> Any:
        assert not [each for each in weights if each() is not None]
        weights.append(weakref.ref(weight))
        return round_scaled(weight)

    monkeypatch.setitem(held.ROUNDINGS, "fp8_scaled", round_and_watch)
    network = subject.load("fp8_scaled")
    count = sum(isinstance(module, QuantizedLinear) for module in network.modules())
    assert len(weights) == count > 10


@pytest.mark.parametrize("wanted", ["fp8_scaled", "fp8"])
def test_a_file_with_a_lora_in_it_loads_without_a_flag_to_the_same_bits(
    subject: Subject, wanted: WeightFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = subject.load(wanted, torch.float16, lora=(subject.lora(tmp_path / "lora.safetensors"),))
    (tmp_path / "saved").mkdir()
    path = subject.save(first, _beside_settings(subject, tmp_path / "saved"))
    stored = load_file(path)
    assert stored[f"{subject.layer}.weight"].dtype == torch.float8_e4m3fn
    if wanted == "fp8_scaled":
        assert stored[f"{subject.layer}.scale_weight"].shape == (subject.width, subject.width // 64, 1)
    for name in held.ROUNDINGS:  # nothing is rounded a second time
        monkeypatch.setitem(held.ROUNDINGS, name, None)
    again = subject.load(dtype=torch.float16, dit=path.parent)
    assert held_formats(again) == [wanted]
    expected = first.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_loras_are_added_before_weights_are_rounded_or_run_beside_them(subject: Subject, tmp_path: Path):
    options: dict[str, Any] = {"lora": (subject.lora(tmp_path / "lora.safetensors"),)}
    full, merged = subject.load(**options), subject.load("fp8_scaled", **options)
    expected = round_scaled(full.get_submodule(subject.ours).weight.detach().half())
    assert torch.equal(merged.get_submodule(subject.ours).quantized.float(), expected.values.float())
    beside = subject.load("fp8_scaled", **options, lora_mode="unmerged").get_submodule(subject.ours)
    plain = subject.load("fp8_scaled").get_submodule(subject.ours)
    assert isinstance(beside, AdaptedModule)
    assert isinstance(beside.wrapped, QuantizedLinear)
    tensors = load_file(tmp_path / "lora.safetensors")
    inputs = torch.randn(3, subject.width, generator=torch.Generator().manual_seed(2))
    change = (
        inputs @ tensors[f"{subject.layer}.lora_A.weight"].T @ tensors[f"{subject.layer}.lora_B.weight"].T
    )
    assert torch.allclose(beside(inputs), plain(inputs) + change, atol=1e-5)


@of_cogvideox
def test_a_file_in_plain_fp8_of_another_program_is_held_as_it_is(subject: Subject, tmp_path: Path):
    released = load_file(subject.model / "transformer" / "diffusion_pytorch_model.safetensors")
    stored = {
        name: tensor if any(part in name for part in NOT_ROUNDED) else tensor.to(torch.float8_e4m3fn)
        for name, tensor in released.items()
    }
    save_file(stored, _beside_settings(subject, tmp_path))
    network = subject.load(dit=tmp_path)
    layer = network.get_submodule(subject.ours)
    assert isinstance(layer, QuantizedLinear)
    assert torch.equal(layer.quantized.float(), stored[f"{subject.layer}.weight"].float())
    assert network.get_submodule("blocks.1.norm1.norm").weight.dtype == torch.float32
    modulation = network.get_submodule("blocks.1.norm1.modulation")
    assert isinstance(modulation, QuantizedLinear)


def test_a_gguf_file_is_read_and_rounded_as_wanted(subject: Subject, tmp_path: Path):
    full = subject.load()
    path = _beside_settings(subject, tmp_path).with_suffix(".gguf")
    writer = gguf.GGUFWriter(path, "test")
    for name, tensor in subject.key_map.to_file(full.state_dict()).items():
        kind = gguf.GGMLQuantizationType.Q8_0 if tensor.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(tensor.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    network = subject.load("fp8_scaled", dit=path)
    layer, original = network.get_submodule(subject.ours), full.get_submodule(subject.ours)
    assert isinstance(layer, QuantizedLinear)
    assert (layer.weight - original.weight).norm() / original.weight.norm() < 0.04
    read = subject.load(dit=path).get_submodule(subject.ours).weight
    assert (read - original.weight).norm() / original.weight.norm() < 0.01


@of_cogvideox
def test_formats_that_no_other_program_reads_are_not_written(subject: Subject, tmp_path: Path):
    execution = ExecutionConfig(device="cpu", weights="int8")
    config = CogVideoXGenerate(execution=execution, offline=True, save_merged_model=tmp_path / "a")
    with pytest.raises(ConfigError, match="no other program reads files in int8"):
        subject.family.locate(config)
    nothing_to_do = replace(config, execution=ExecutionConfig(device="cpu"))
    with pytest.raises(ConfigError, match="save_merged_model: is given without a LoRA"):
        subject.family.locate(nothing_to_do)


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    from reelwright.execution import integers

    integers._rules.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization.quant_primitives", None)
    with pytest.raises(ConfigError, match=r"pip install 'reelwright\[quant\]'"):
        held.check_weights("int4")


def _beside_settings(subject: Subject, folder: Path) -> Path:
    """Where a file of weights goes so that its folder tells sizes that its tensors do not."""
    settings = subject.model / "transformer" / "config.json"
    (folder / "config.json").write_bytes(settings.read_bytes())
    return folder / "diffusion_pytorch_model.safetensors"
