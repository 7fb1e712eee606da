"""Loading weights: exact numbers, bounded memory, and messages that tell what does not fit."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from reelwright.checkpoint.key_map import KeyMap, Rule, same_names
from reelwright.checkpoint.loading import detect_layout, expected_shapes, load_weights
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import tensors_in_memory
from reelwright.core.errors import CheckpointError

PLAIN = KeyMap(
    name="plain",
    rules=same_names(["first.*", "second.*", "table", "tied.*", "steps"]),
    dropped=("optimizer.*",),
    prefixes=("model.",),
)
FUSED = KeyMap(
    name="fused",
    rules=(
        Rule("first.*", "both.*", parts=(1,), of=2),
        Rule("second.*", "both.*", parts=(0,), of=2),
        Rule("table", "positions"),
        Rule("steps", "count"),
        Rule("tied.weight", "first_again"),
    ),
)


class Network(nn.Module):
    """One of each: linear layers, a shared parameter, a stored buffer, whole numbers, a computed buffer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.tied = nn.Linear(width, width, bias=False)
        self.tied.weight = self.first.weight
        self.register_buffer("table", torch.zeros(1, width))
        self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("frequencies", torch.zeros(3), persistent=False)

    def reset_buffers(self) -> None:
        self.frequencies = torch.arange(3.0)


def empty_network(width: int = 4) -> Network:
    with torch.device("meta"):
        return Network(width)


def plain_file(width: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    file = {
        f"{layer}.{leaf}": torch.randn(shape, generator=generator)
        for layer in ("first", "second")
        for leaf, shape in (("weight", (width, width)), ("bias", (width,)))
    }
    return {**file, "table": torch.randn(1, width, generator=generator), "steps": torch.tensor([3, 70000])}


def fused_file() -> dict[str, torch.Tensor]:
    plain = plain_file()
    joined = {
        f"both.{leaf}": torch.cat([plain[f"second.{leaf}"], plain[f"first.{leaf}"]])
        for leaf in ("weight", "bias")
    }
    return {**joined, "positions": plain["table"], "count": plain["steps"]}


def source_of(file):
    return tensors_in_memory(file, Path("weights.safetensors"))


def load(file, layout=PLAIN, **options) -> Network:
    network = empty_network()
    load_weights(network, source_of(file), layout, **{"dtype": torch.float32, **options})
    return network


def message_of(file, layouts=(PLAIN,)) -> str:
    with pytest.raises(CheckpointError) as caught:
        detect_layout(source_of(file), layouts, expected_shapes(empty_network()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "layout"), [(plain_file(), PLAIN), (fused_file(), FUSED)], ids=["plain", "fused"]
)
def test_every_tensor_arrives_and_shared_ones_stay_shared(file, layout):
    network = load(file, layout)
    expected = plain_file()
    assert all(torch.equal(network.state_dict()[name], expected[name]) for name in expected)
    assert network.tied.weight is network.first.weight
    assert network.first.weight.requires_grad
    assert network.frequencies.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    "stored", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_numbers_are_converted_as_torch_converts_them(stored, dtype, tmp_path):
    file = {name: t.to(stored) if t.is_floating_point() else t for name, t in plain_file().items()}
    safetensors.torch.save_file(file, tmp_path / "a.safetensors")
    network = empty_network()
    with open_tensors(tmp_path / "a.safetensors") as source:
        load_weights(network, source, PLAIN, dtype=dtype, keep_float32=lambda name: name == "second.weight")
    loaded = network.state_dict()
    for name, tensor in file.items():
        kept = torch.float32 if name == "second.weight" else dtype
        wanted = tensor.to(kept) if tensor.is_floating_point() else tensor
        assert loaded[name].dtype == wanted.dtype
        assert torch.equal(loaded[name], wanted)


def test_a_tensor_larger_than_a_block_is_whole():
    width = 1100  # 1.2 million elements, read in two blocks
    network = empty_network(width)
    file = plain_file(width)
    load_weights(network, source_of(file), PLAIN, dtype=torch.float32)
    assert torch.equal(network.first.weight, file["first.weight"])


def test_the_layout_is_recognized():
    expected = expected_shapes(empty_network())
    for file, layout in ((plain_file(), PLAIN), (fused_file(), FUSED)):
        assert detect_layout(source_of(file), (PLAIN, FUSED), expected) is layout


def test_prefixes_are_taken_off_and_dropped_tensors_left_alone():
    file = {f"model.{name}": tensor for name, tensor in plain_file().items()}
    network = load({**file, "model.optimizer.state": torch.zeros(1)})
    assert torch.equal(network.first.weight, file["model.first.weight"])


def test_nothing_is_changed_when_a_tensor_does_not_fit():
    network = empty_network()
    with pytest.raises(CheckpointError):
        load_weights(
            network, source_of({**plain_file(), "table": torch.zeros(9)}), PLAIN, dtype=torch.float32
        )
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def test_missing_tensors_are_counted_and_named():
    file = plain_file()
    del file["first.bias"], file["table"]
    message = message_of(file, (FUSED, PLAIN))
    assert "weights.safetensors" in message
    assert "closest known layout is plain: 4 of 6 tensors match" in message
    assert "2 missing: table; first.bias" in message
    assert "unexpected" not in message


def test_only_the_first_five_names_are_shown():
    extra = {f"extra.{number}": torch.zeros(1) for number in range(9)}
    message = message_of({**plain_file(), **extra})
    assert "9 unexpected: extra.0; extra.1; extra.2; extra.3; extra.4; …" in message
    assert "extra.5" not in message


def test_another_shape_is_shown_beside_the_one_needed():
    fused = {**fused_file(), "both.bias": torch.zeros(10)}
    message = message_of(fused, (PLAIN, FUSED))
    assert "closest known layout is fused" in message
    assert "both.bias is [10], needed is [8]" in message
    assert "both.bias is [7], needed is [8]" in message_of({**fused, "both.bias": torch.zeros(7)}, (FUSED,))
    assert "Choose the variant" in message


def test_a_file_of_something_else_is_called_so():
    message = message_of({"shared.weight": torch.zeros(3, 4)}, (PLAIN, FUSED))
    assert "0 of 6 tensors match" in message
    assert "another part or another model" in message


@pytest.mark.parametrize("suffix", ["lora_A.weight", "lora_down.weight", "lora.up.weight"])
def test_a_lora_is_told_from_a_model(suffix):
    message = message_of({f"first.{n}.{suffix}": torch.zeros(2, 2) for n in range(3)})
    assert "this is a LoRA, not a whole model" in message


@pytest.mark.parametrize("shape", [(), (1,), (64, 1), (64, 2, 1)], ids=["scalar", "one", "rows", "blocks"])
def test_weights_with_scales_are_multiplied_with_them(shape):
    file = plain_file(64)
    weight = file["first.weight"].to(torch.float8_e4m3fn)
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
    file |= {"first.weight": weight, "first.scale_weight": scale, "scaled_fp8": torch.zeros(2)}
    network = empty_network(64)
    load_weights(network, source_of(file), PLAIN, dtype=torch.float32)
    spread = (
        scale.reshape(64, -1).repeat_interleave(64 // scale.reshape(64, -1).shape[1], 1)
        if shape[:1] == (64,)
        else scale
    )
    assert torch.equal(network.first.weight, weight.float() * spread)


def test_a_scale_that_does_not_fit_its_weight_is_refused():
    file = plain_file()
    file |= {
        "first.weight": file["first.weight"].to(torch.float8_e4m3fn),
        "first.scale_weight": torch.ones(3),
    }
    with pytest.raises(CheckpointError, match=r"first\.scale_weight: a scale of \[3\] does not fit"):
        load(file)


def test_weights_that_are_quantized_to_integers_are_refused():
    network = empty_network()
    file = {**plain_file(), "first.weight": torch.zeros(4, 4, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"1 quantized to integers: first\.weight"):
        load_weights(network, source_of(file), PLAIN, dtype=torch.float32)


def test_a_buffer_without_values_is_misuse():
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("lost", torch.zeros(1), persistent=False)

    with torch.device("meta"):
        network = Forgetful()
    with pytest.raises(ValueError, match="lost; define reset_buffers"):
        load_weights(network, source_of({}), PLAIN, dtype=torch.float32)


MEASURE = """
    import sys
    from pathlib import Path
    import safetensors.torch, torch
    from torch import nn
    from reelwright.checkpoint.key_map import KeyMap, same_names
    from reelwright.checkpoint.loading import load_weights
    from reelwright.checkpoint.safetensors_io import open_tensors

    path, dtype, way = Path(sys.argv[1]), getattr(torch, sys.argv[2]), sys.argv[3]

    def memory(kind):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(kind))

    def network(sizes):
        with torch.device("meta"):
            return nn.ModuleList(nn.Linear(*size, bias=False) for size in sizes)

    def load(path, sizes, way):
        model = network(sizes)
        if way == "ours":
            with open_tensors(path) as source:
                load_weights(model, source, KeyMap(name="plain", rules=same_names(["{n}.*"])), dtype=dtype)
        else:
            state = safetensors.torch.load_file(path)
            model.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, assign=True)
        return model

    # What is imported and allocated at a first use, whatever its size, is not the price of the weights.
    load(path.with_name("small-" + path.name), [(2, 2)], "ours")
    sizes = [tuple(int(n) for n in size.split("x")) for size in sys.argv[4].split(",")]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = memory("VmRSS")
    model = load(path, sizes, way)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    print((memory("VmHWM") - before) / weights)
"""


def peak_over_weights(path: Path, dtype: str, sizes: str, way: str = "ours") -> float:
    """The growth of a fresh process's peak resident memory, in units of the weights it then holds."""
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), str(path), dtype, way, sizes]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read where Linux keeps it"
)


@needs_proc
@pytest.mark.parametrize(
    ("stored", "dtype", "sizes", "suffix"),
    [
        ("float32", "bfloat16", "5000x5000,5000x5000,5000x5000", "safetensors"),
        ("bfloat16", "bfloat16", "1000x1000,149000x1000", "safetensors"),
        ("float8_e4m3fn", "float32", "1000x1000,40000x1000", "safetensors"),
        ("float32", "bfloat16", "1000x1000,40000x1000", "pt"),
    ],
    ids=["float32", "one-large", "fp8", "pickle"],
)
def test_memory_peaks_barely_above_the_weights(tmp_path, stored, dtype, sizes, suffix):
    def save(name, state):
        if suffix == "pt":
            torch.save(state, tmp_path / name)
        else:
            safetensors.torch.save_file(state, tmp_path / name)

    shapes = [tuple(int(n) for n in reversed(size.split("x"))) for size in sizes.split(",")]
    path = tmp_path / f"model.{suffix}"
    save(path.name, {f"{n}.weight": torch.zeros(s).to(getattr(torch, stored)) for n, s in enumerate(shapes)})
    save(f"small-{path.name}", {"0.weight": torch.zeros(2, 2)})
    assert peak_over_weights(path, dtype, sizes) <= 1.15


@needs_proc
def test_the_measure_of_memory_sees_a_plain_load_double_it(tmp_path):
    state = {"0.weight": torch.zeros(7000, 7000)}
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    safetensors.torch.save_file({"0.weight": torch.zeros(2, 2)}, tmp_path / "small-model.safetensors")
    assert peak_over_weights(tmp_path / "model.safetensors", "bfloat16", "7000x7000", way="plain") > 2.5
