"""Every layout of LoRA files does to the weights what its formula says, worked out apart in each test."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from .lora_networks import SUBJECTS, Draw, largest_difference, save

WIDTHS = {"cogvideox": 16, "framepack": 32}
QUERY = {
    "cogvideox": "transformer_blocks.1.attn1.to_q",
    "framepack": "single_transformer_blocks.1.attn.to_q",
}
UNDERSCORED = {
    "cogvideox": "transformer_blocks_1_attn1_to_q",
    "framepack": "single_transformer_blocks_1_attn_to_q",
}
TOLERANCE = 1e-6


def low_rank(draw: Draw, rows: int, columns: int, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Down, up and their product."""
    down, up = draw(rank, columns), draw(rows, rank) / 8
    return down, up, (up.double() @ down.double())


@pytest.mark.parametrize("family", SUBJECTS)
@pytest.mark.parametrize(
    "prefix",
    ["lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_"],
    ids=["kohya", "VideoX-Fun", "OneTrainer", "LyCORIS"],
)
def test_underscored_names_with_alpha(family: str, prefix: str, tmp_path: Path):
    width = WIDTHS[family]
    down, up, product = low_rank(Draw(), width, width, 4)
    name = prefix + UNDERSCORED[family]
    tensors = {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": torch.tensor(2.0),
    }
    changes = SUBJECTS[family].changes(save(tmp_path / "lora.safetensors", tensors), lora_multiplier=(0.5,))
    assert largest_difference(changes, {QUERY[family]: 0.5 * 2 / 4 * product}) < TOLERANCE


@pytest.mark.parametrize("family", SUBJECTS)
@pytest.mark.parametrize(
    "prefix", ["transformer.", "base_model.model.", "base_model.model.transformer.", "diffusion_model.", ""]
)
@pytest.mark.parametrize("adapter", ["", ".default"])
def test_dotted_names_of_peft(family: str, prefix: str, adapter: str, tmp_path: Path):
    width = WIDTHS[family]
    down, up, product = low_rank(Draw(), width, width, 4)
    name = prefix + QUERY[family]
    tensors = {f"{name}.lora_A{adapter}.weight": down, f"{name}.lora_B{adapter}.weight": up}
    path = save(tmp_path / "lora.safetensors", tensors)
    assert largest_difference(SUBJECTS[family].changes(path), {QUERY[family]: product}) < TOLERANCE
    assert "says no alpha; that of its rank is taken" in " ".join(SUBJECTS[family].plan(path).notices)


def test_alphas_beside_diffusion_pipe_names_are_kept(tmp_path: Path):
    down, up, product = low_rank(Draw(), 32, 32, 4)
    name = f"diffusion_model.{QUERY['framepack']}"
    tensors = {
        f"{name}.lora_A.weight": down,
        f"{name}.lora_B.weight": up,
        f"{name}.alpha": torch.tensor(1.0),
    }
    changes = SUBJECTS["framepack"].changes(save(tmp_path / "lora.safetensors", tensors))
    assert largest_difference(changes, {QUERY["framepack"]: product / 4}) < TOLERANCE


PEFT_SETTINGS = {
    "one alpha": ({"r": 4, "lora_alpha": 12}, 3.0),
    "a pattern": ({"r": 4, "lora_alpha": 12, "alpha_pattern": {"attn1.to_q": 2}}, 0.5),
    "another module's pattern": ({"r": 4, "lora_alpha": 12, "alpha_pattern": {"attn1.to_k": 2}}, 3.0),
    "rank-stabilized": ({"r": 4, "lora_alpha": 12, "use_rslora": True}, 6.0),
}


@pytest.mark.parametrize(("settings", "scale"), PEFT_SETTINGS.values(), ids=PEFT_SETTINGS)
@pytest.mark.parametrize("place", ["lora_adapter_metadata", "prefixed", "lora_config", "adapter_config.json"])
def test_alpha_in_settings_of_peft(settings: dict[str, object], scale: float, place: str, tmp_path: Path):
    down, up, product = low_rank(Draw(), 16, 16, 4)
    name = f"transformer.{QUERY['cogvideox']}"
    # An alpha tensor, too: what the metadata says comes first.
    tensors = {
        f"{name}.lora_A.weight": down,
        f"{name}.lora_B.weight": up,
        f"{name}.alpha": torch.tensor(100.0),
    }
    metadata = {}
    if place == "adapter_config.json":
        (tmp_path / place).write_text(json.dumps(settings))
    elif place == "prefixed":
        table = {f"transformer.{key}": value for key, value in settings.items()}
        metadata["lora_adapter_metadata"] = json.dumps({**table, "text_encoder.lora_alpha": 77})
    else:
        metadata[place] = json.dumps(settings)
    path = save(tmp_path / "adapter_model.safetensors", tensors, metadata)
    changes = SUBJECTS["cogvideox"].changes(path)
    assert largest_difference(changes, {QUERY["cogvideox"]: scale * product}) < TOLERANCE


def test_a_folder_of_peft_is_a_lora_too(tmp_path: Path):
    down, up, product = low_rank(Draw(), 16, 16, 4)
    name = f"base_model.model.{QUERY['cogvideox']}"
    save(tmp_path / "adapter_model.safetensors", {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up})
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    changes = SUBJECTS["cogvideox"].changes(tmp_path)
    assert largest_difference(changes, {QUERY["cogvideox"]: 2 * product}) < TOLERANCE


def test_alpha_from_the_user_for_files_that_say_none(tmp_path: Path):
    down, up, product = low_rank(Draw(), 16, 16, 4)
    name = f"transformer.{QUERY['cogvideox']}"
    path = save(tmp_path / "lora.safetensors", {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up})
    changes = SUBJECTS["cogvideox"].changes(path, lora_alpha=(1.0,))
    assert largest_difference(changes, {QUERY["cogvideox"]: product / 4}) < TOLERANCE
    with_own = {
        f"{name}.lora_A.weight": down,
        f"{name}.lora_B.weight": up,
        f"{name}.alpha": torch.tensor(4.0),
    }
    path = save(tmp_path / "lora.safetensors", with_own)
    assert "--lora-alpha is not used" in " ".join(SUBJECTS["cogvideox"].plan(path, lora_alpha=(1.0,)).notices)
    with_own[f"{name}.alpha"] = torch.tensor(0.0)  # kohya's trainers mean the rank by it
    path = save(tmp_path / "lora.safetensors", with_own)
    changes = SUBJECTS["cogvideox"].changes(path)
    assert largest_difference(changes, {QUERY["cogvideox"]: product}) < TOLERANCE


def test_sat_files_hold_query_key_and_value_apart_and_scale_by_one_over_rank(tmp_path: Path):
    draw, rank, layer = Draw(), 4, "model.diffusion_model.transformer.layers.1.attention"
    tensors = {f"{layer}.query_key_value.original.weight": draw(48, 16)}
    expected = {}
    for index, part in enumerate(("q", "k", "v")):
        down, up, product = low_rank(draw, 16, 16, rank)
        tensors[f"{layer}.query_key_value.matrix_A.{index}"] = down
        tensors[f"{layer}.query_key_value.matrix_B.{index}"] = up
        expected[f"transformer_blocks.1.attn1.to_{part}"] = product / rank
    down, up, product = low_rank(draw, 16, 16, rank)
    tensors |= {f"{layer}.dense.matrix_A.0": down, f"{layer}.dense.matrix_B.0": up}
    expected["transformer_blocks.1.attn1.to_out.0"] = product / rank
    path = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": tensors}, path)
    subject = SUBJECTS["cogvideox"]
    assert largest_difference(subject.changes(path), expected) < TOLERANCE
    notices = " ".join(subject.plan(path).notices)
    assert "1 is taken, as its trainer does" in notices
    assert "1 other tensors are left out" in notices
    twice = {name: 2 * delta for name, delta in expected.items()}
    assert largest_difference(subject.changes(path, lora_alpha=(2.0,)), twice) < TOLERANCE


HUNYUAN_NAMES = {
    "original": "diffusion_model.{}.lora_{}.weight",
    "ComfyUI": "diffusion_model.{}.lora_{}.weight",
    "kohya": "lora_unet_{}.lora_{}.weight",
}
COMFY_WORDS = {"_attn_": "_attn.", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2", "mod.linear": "mod.lin"}
COMFY_WORDS["modulation.linear"] = "modulation.lin"


@pytest.mark.parametrize("form", HUNYUAN_NAMES)
def test_hunyuan_files_split_joined_matrices_by_rows(form: str, tmp_path: Path):
    """specs: FramePack 7.4; rows of query, key and value, then those of the feed-forward's entrance."""
    draw, rank, width = Draw(), 2, 32
    plain = {
        "double_blocks.1.img_attn_proj": ("transformer_blocks.1.attn.to_out.0", width, width),
        "double_blocks.1.img_mlp.fc1": ("transformer_blocks.1.ff.net.0.proj", 4 * width, width),
        "double_blocks.1.img_mlp.fc2": ("transformer_blocks.1.ff.net.2", width, 4 * width),
        "double_blocks.1.img_mod.linear": ("transformer_blocks.1.norm1.linear", 6 * width, width),
        "double_blocks.1.txt_attn_proj": ("transformer_blocks.1.attn.to_add_out", width, width),
        "double_blocks.1.txt_mlp.fc1": ("transformer_blocks.1.ff_context.net.0.proj", 4 * width, width),
        "double_blocks.1.txt_mlp.fc2": ("transformer_blocks.1.ff_context.net.2", width, 4 * width),
        "double_blocks.1.txt_mod.linear": ("transformer_blocks.1.norm1_context.linear", 6 * width, width),
        "single_blocks.0.linear2": ("single_transformer_blocks.0.proj_out", width, 5 * width),
        "single_blocks.0.modulation.linear": ("single_transformer_blocks.0.norm.linear", 3 * width, width),
    }
    tensors: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}

    def add(name: str, down: Tensor, up: Tensor) -> None:
        if form == "kohya":
            name = name.replace(".", "_")
            tensors[f"lora_unet_{name}.alpha"] = torch.tensor(float(rank))
        if form == "ComfyUI":
            for original, word in COMFY_WORDS.items():
                name = name.replace(original, word)
        names = ("down", "up") if form == "kohya" else ("A", "B")
        tensors[HUNYUAN_NAMES[form].format(name, names[0])] = down
        tensors[HUNYUAN_NAMES[form].format(name, names[1])] = up

    for name, (released, rows, columns) in plain.items():
        down, up, expected[released] = low_rank(draw, rows, columns, rank)
        add(name, down, up)
    for stream, parts in {
        "img": ("to_q", "to_k", "to_v"),
        "txt": ("add_q_proj", "add_k_proj", "add_v_proj"),
    }.items():
        down, up, product = low_rank(draw, 3 * width, width, rank)
        add(f"double_blocks.1.{stream}_attn_qkv", down, up)
        for index, part in enumerate(parts):
            expected[f"transformer_blocks.1.attn.{part}"] = product[index * width : (index + 1) * width]
    down, up, product = low_rank(draw, 7 * width, width, rank)
    add("single_blocks.0.linear1", down, up)
    for index, part in enumerate(("attn.to_q", "attn.to_k", "attn.to_v")):
        expected[f"single_transformer_blocks.0.{part}"] = product[index * width : (index + 1) * width]
    expected["single_transformer_blocks.0.proj_mlp"] = product[3 * width :]

    changes = SUBJECTS["framepack"].changes(save(tmp_path / "lora.safetensors", tensors))
    assert largest_difference(changes, expected) < TOLERANCE


def loha(draw: Draw, rows: int, columns: int) -> tuple[dict[str, Tensor], Tensor]:
    factors = {
        f"hada_w{i}_{side}": draw(*shape) / 4
        for i in (1, 2)
        for side, shape in {"a": (rows, 3), "b": (3, columns)}.items()
    }
    first, second = (factors[f"hada_w{i}_a"].double() @ factors[f"hada_w{i}_b"].double() for i in (1, 2))
    return factors, first * second


def kronecker(first: Tensor, second: Tensor) -> Tensor:
    """Every element of the first times the whole second, by index."""
    rows, columns = first.shape[0] * second.shape[0], first.shape[1] * second.shape[1]
    return torch.einsum("ac,bd->abcd", first.double(), second.double()).reshape(rows, columns)


@pytest.mark.parametrize("family", SUBJECTS)
def test_loha(family: str, tmp_path: Path):
    width = WIDTHS[family]
    factors, product = loha(Draw(), width, width)
    name = f"lora_unet_{UNDERSCORED[family]}"
    tensors = {f"{name}.{factor}": tensor for factor, tensor in factors.items()}
    path = save(tmp_path / "loha.safetensors", {**tensors, f"{name}.alpha": torch.tensor(1.5)})
    changes = SUBJECTS[family].changes(path)
    assert largest_difference(changes, {QUERY[family]: product * 1.5 / 3}) < TOLERANCE


LOKR = {
    "two whole matrices": ({"lokr_w1": (4, 2), "lokr_w2": (8, 16)}, 1.0),
    "second in two": ({"lokr_w1": (4, 2), "lokr_w2_a": (8, 3), "lokr_w2_b": (3, 16)}, 0.5),
    "both in two": (
        {"lokr_w1_a": (4, 3), "lokr_w1_b": (3, 2), "lokr_w2_a": (8, 3), "lokr_w2_b": (3, 16)},
        0.5,
    ),
}


@pytest.mark.parametrize(("shapes", "scale"), LOKR.values(), ids=LOKR)
def test_lokr_whose_scale_is_one_without_a_rank(
    shapes: dict[str, tuple[int, ...]], scale: float, tmp_path: Path
):
    draw = Draw()
    factors = {name: draw(*shape) / 4 for name, shape in shapes.items()}

    def side(name: str) -> Tensor:
        return factors[name] if name in factors else factors[f"{name}_a"] @ factors[f"{name}_b"]

    name = f"lora_unet_{UNDERSCORED['framepack']}"
    tensors = {f"{name}.{factor}": tensor for factor, tensor in factors.items()}
    path = save(tmp_path / "lokr.safetensors", {**tensors, f"{name}.alpha": torch.tensor(1.5)})
    changes = SUBJECTS["framepack"].changes(path)
    expected = kronecker(side("lokr_w1"), side("lokr_w2")) * scale
    assert largest_difference(changes, {QUERY["framepack"]: expected}) < TOLERANCE


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_loha_and_lokr_of_a_joined_matrix_are_cut_by_rows(kind: str, tmp_path: Path):
    draw = Draw()
    if kind == "loha":
        factors, product = loha(draw, 96, 32)
        product = product / 3
    else:
        factors = {"lokr_w1": draw(6, 4), "lokr_w2": draw(16, 8)}
        product = kronecker(factors["lokr_w1"], factors["lokr_w2"])
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{name}.{factor}": tensor for factor, tensor in factors.items()}
    path = save(tmp_path / "file.safetensors", {**tensors, f"{name}.alpha": torch.tensor(1.0)})
    expected = {
        f"transformer_blocks.0.attn.{part}": product[32 * index : 32 * index + 32]
        for index, part in enumerate(("to_q", "to_k", "to_v"))
    }
    changes = SUBJECTS["framepack"].changes(path)
    # Float32 against float64, with entries of the product around ten.
    assert largest_difference(changes, expected) < 1e-5


def test_a_convolution_changes_by_its_kernel(tmp_path: Path):
    draw, rank = Draw(), 3
    down, up = draw(rank, 16, 2, 2), draw(16, rank, 1, 1)
    name = "lora_unet__patch_embed_proj"
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    path = save(tmp_path / "lora.safetensors", {**tensors, f"{name}.alpha": torch.tensor(1.0)})
    expected = torch.einsum("or,rihw->oihw", up[:, :, 0, 0].double(), down.double()) / rank
    changes = SUBJECTS["cogvideox"].changes(path)
    assert largest_difference(changes, {"patch_embed.proj": expected}) < TOLERANCE


def test_half_precision_files_are_added_in_single_precision(tmp_path: Path):
    down, up, _ = low_rank(Draw(), 16, 16, 4)
    down, up = down.bfloat16(), up.bfloat16()
    name = f"transformer.{QUERY['cogvideox']}"
    path = save(tmp_path / "lora.safetensors", {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up})
    changes = SUBJECTS["cogvideox"].changes(path)
    assert largest_difference(changes, {QUERY["cogvideox"]: up.double() @ down.double()}) < TOLERANCE
