"""LoRAs written in every layout, read back, and joined: the change of the weights stays the same."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from reelwright.adapters.combination import combine, load_adapters
from reelwright.adapters.exports import export, export_names
from reelwright.adapters.formats import read_adapter
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata, save_safetensors
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.core.events import Event, Facts, FileSaved, Finished, Notice
from reelwright.workflows import lora

from .lora_networks import SUBJECTS, Draw, Subject, largest_difference, save

TOLERANCE = 1e-6
LAYOUTS = [(family, to) for family, subject in SUBJECTS.items() for to in export_names(subject.targets)]


def usual_lora(subject: Subject, path: Path, seed: int = 0) -> Path:
    """A file in PEFT's names for all usual modules, with ranks and alphas that differ."""
    draw = Draw(seed)
    tensors: dict[str, Tensor] = {}
    alphas = {}
    for index, module in enumerate(subject.targets.usual_modules()):
        rows, columns = subject.targets.shapes[module]
        located = subject.key_map.locate(f"{module}.weight")
        assert located is not None
        name, rank = located.file_name.removesuffix(".weight"), 2 + index % 2
        tensors[f"transformer.{name}.lora_A.weight"] = draw(rank, columns)
        tensors[f"transformer.{name}.lora_B.weight"] = draw(rows, rank) / 8
        if index % 3 == 0:
            alphas[name] = 3
    settings = {"r": 2, "lora_alpha": 5, "alpha_pattern": alphas}
    return save(path, tensors, {"lora_adapter_metadata": json.dumps(settings), "made_by": "a test"})


def converted(subject: Subject, source: Path, to: str, out: Path) -> Path:
    file = read_adapter(source, subject.targets)
    made = export(load_adapters(file), subject.targets, to, file.metadata)
    save_safetensors(out, made.tensors, made.metadata)
    return out


@pytest.mark.parametrize(("family", "to"), LAYOUTS)
def test_a_converted_file_changes_the_weights_equally(family: str, to: str, tmp_path: Path):
    subject = SUBJECTS[family]
    source = usual_lora(subject, tmp_path / "source.safetensors")
    out = converted(subject, source, to, tmp_path / "out.safetensors")
    back = converted(subject, out, "native", tmp_path / "back.safetensors")
    expected = subject.changes(source)
    assert len(expected) == len(subject.targets.usual_modules())
    assert largest_difference(subject.changes(out), expected) < TOLERANCE
    assert largest_difference(subject.changes(back), expected) < TOLERANCE
    assert read_safetensors_metadata(out)["made_by"] == "a test"


def test_native_files_have_the_names_of_musubi_tuner(tmp_path: Path):
    """specs: FramePack 7.1 and 7.2; here for the blocks of a small network."""
    subject = SUBJECTS["framepack"]
    source = usual_lora(subject, tmp_path / "source.safetensors")
    tensors = load_file(converted(subject, source, "native", tmp_path / "out.safetensors"))
    double = (
        *("attn_to_q", "attn_to_k", "attn_to_v", "attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
        *("attn_to_out_0", "attn_to_add_out"),
        *("ff_net_0_proj", "ff_net_2", "ff_context_net_0_proj", "ff_context_net_2"),
    )
    single = ("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp", "proj_out")
    modules = [f"lora_unet_transformer_blocks_{i}_{part}" for i in range(2) for part in double]
    modules += [f"lora_unet_single_transformer_blocks_{i}_{part}" for i in range(2) for part in single]
    leaves = ("lora_down.weight", "lora_up.weight", "alpha")
    assert sorted(tensors) == sorted(f"{module}.{leaf}" for module in modules for leaf in leaves)
    assert all(tensors[f"{module}.alpha"].shape == () for module in modules)


def joined_lora(subject: Subject, path: Path, *, shared: bool) -> Path:
    """Query, key and value of a block, trained on one down matrix, or each on its own."""
    draw = Draw()
    down = draw(2, 32)
    tensors: dict[str, Tensor] = {}
    for part in ("to_q", "to_k", "to_v"):
        name = f"lora_unet_transformer_blocks_0_attn_{part}"
        tensors[f"{name}.lora_down.weight"] = down.clone() if shared else draw(2, 32)
        tensors[f"{name}.lora_up.weight"] = draw(32, 2) / 8
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    return save(path, tensors)


@pytest.mark.parametrize(("shared", "rank"), [(True, 2), (False, 6)])
def test_joined_matrices_keep_their_rank_where_they_share_one(shared: bool, rank: int, tmp_path: Path):
    subject = SUBJECTS["framepack"]
    source = joined_lora(subject, tmp_path / "source.safetensors", shared=shared)
    out = converted(subject, source, "hunyuan-fused", tmp_path / "out.safetensors")
    tensors = load_file(out)
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {
        f"{name}.lora_down.weight": (rank, 32),
        f"{name}.lora_up.weight": (96, rank),
        f"{name}.alpha": (),
    }
    assert largest_difference(subject.changes(out), subject.changes(source)) < TOLERANCE


def test_a_joined_matrix_of_which_a_part_is_trained_leaves_the_rest_alone(tmp_path: Path):
    subject = SUBJECTS["framepack"]
    draw = Draw()
    name = "lora_unet_single_transformer_blocks_1_proj_mlp"
    tensors = {f"{name}.lora_down.weight": draw(2, 32), f"{name}.lora_up.weight": draw(128, 2)}
    source = save(tmp_path / "source.safetensors", {**tensors, f"{name}.alpha": torch.tensor(2.0)})
    out = converted(subject, source, "hunyuan-fused", tmp_path / "out.safetensors")
    assert load_file(out)["lora_unet_single_blocks_1_linear1.lora_up.weight"].shape == (7 * 32, 2)
    # Rows that nothing was trained for are zeros: those weights do not change by a bit.
    assert largest_difference(subject.changes(out), subject.changes(source)) < TOLERANCE


def test_diffusers_files_need_no_alpha_and_say_it_all_the_same(tmp_path: Path):
    subject = SUBJECTS["cogvideox"]
    source = usual_lora(subject, tmp_path / "source.safetensors")
    out = converted(subject, source, "diffusers", tmp_path / "out.safetensors")
    settings = json.loads(read_safetensors_metadata(out)["lora_adapter_metadata"])
    with safe_open(out, "pt") as file:
        names = list(file.keys())
    assert all(name.startswith("transformer.") and ".lora_" in name for name in names)
    ranks = {"transformer.r": settings["transformer.r"], **settings["transformer.rank_pattern"]}
    alphas = {"transformer.r": settings["transformer.lora_alpha"], **settings["transformer.alpha_pattern"]}
    assert ranks == alphas
    assert len(settings["transformer.target_modules"]) == len(subject.targets.usual_modules())
    # A reader that knows nothing of alphas takes a scale of 1.
    bare = save(tmp_path / "bare.safetensors", load_file(out))
    assert largest_difference(subject.changes(bare), subject.changes(source)) < TOLERANCE


def test_factors_stay_in_half_precision_where_that_loses_nothing(tmp_path: Path):
    subject = SUBJECTS["cogvideox"]
    name = "lora_unet_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{name}.lora_down.weight": Draw()(4, 16).bfloat16(),
        f"{name}.lora_up.weight": Draw(1)(16, 4).bfloat16(),
    }
    for alpha, dtype in ((2.0, torch.bfloat16), (3.0, torch.float32)):
        source = save(tmp_path / "source.safetensors", {**tensors, f"{name}.alpha": torch.tensor(alpha)})
        out = load_file(converted(subject, source, "diffusers", tmp_path / "out.safetensors"))
        assert out["transformer.transformer_blocks.0.attn1.to_q.lora_B.weight"].dtype == dtype
        assert out["transformer.transformer_blocks.0.attn1.to_q.lora_A.weight"].dtype == torch.bfloat16


def lokr_file(path: Path, name: str, rows: int) -> Path:
    draw = Draw()
    tensors = {f"{name}.lokr_w1": draw(rows // 8, 4), f"{name}.lokr_w2": draw(8, 8)}
    return save(path, {**tensors, f"{name}.alpha": torch.tensor(1.0)})


def test_lokr_goes_to_native_names_only(tmp_path: Path):
    subject = SUBJECTS["framepack"]
    plain = lokr_file(tmp_path / "plain.safetensors", "lycoris_transformer_blocks_0_attn_to_q", 32)
    out = converted(subject, plain, "native", tmp_path / "out.safetensors")
    assert largest_difference(subject.changes(out), subject.changes(plain)) == 0
    for to in ("peft", "diffusers", "hunyuan-fused"):
        with pytest.raises(CheckpointError, match="Convert to native"):
            converted(subject, plain, to, tmp_path / "out.safetensors")
    joined = lokr_file(tmp_path / "joined.safetensors", "lora_unet_double_blocks_0_img_attn_qkv", 96)
    with pytest.raises(CheckpointError, match="only applied"):
        converted(subject, joined, "native", tmp_path / "out.safetensors")


def test_modules_without_a_place_in_a_layout_are_named(tmp_path: Path):
    subject = SUBJECTS["framepack"]
    tensors = {
        "transformer.x_embedder.proj.lora_A.weight": torch.ones(1, 16, 1, 2, 2),
        "transformer.x_embedder.proj.lora_B.weight": torch.ones(32, 1, 1, 1, 1),
    }
    source = save(tmp_path / "source.safetensors", tensors)
    with pytest.raises(
        CheckpointError, match=r"patch_embedding\.noisy: the layout hunyuan-fused has no such"
    ):
        converted(subject, source, "hunyuan-fused", tmp_path / "out.safetensors")


def test_several_files_become_one(tmp_path: Path):
    subject = SUBJECTS["cogvideox"]
    paths = [usual_lora(subject, tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    expected = subject.changes(*paths, lora_multiplier=(0.5, -2.0))
    adapters = combine([load_adapters(read_adapter(path, subject.targets)) for path in paths], [0.5, -2.0])
    assert {adapter.rank for adapter in adapters.values()} == {4, 6}
    made = export(adapters, subject.targets, "native", {})
    out = save(tmp_path / "out.safetensors", made.tensors)
    assert largest_difference(subject.changes(out), expected) < 2e-6


def test_a_sum_that_is_no_lora_is_refused(tmp_path: Path):
    subject = SUBJECTS["framepack"]
    name = "lora_unet_transformer_blocks_0_attn_to_q"
    file = load_adapters(read_adapter(lokr_file(tmp_path / "lokr.safetensors", name, 32), subject.targets))
    with pytest.raises(CheckpointError, match="the sum of lokr and lokr is no LoRA"):
        combine([file, file], [1.0, 1.0])
    (halved,) = combine([file], [0.5]).values()
    (whole,) = file.values()
    assert torch.equal(halved.delta(), whole.delta() / 2)


def events(made: Iterator[Event]) -> list[Event]:
    return list(made)


def cogvideox_lora(path: Path, seed: int = 0) -> Path:
    """For two modules of a released size."""
    draw = Draw(seed)
    tensors: dict[str, Tensor] = {}
    for part in ("to_q", "to_k"):
        name = f"transformer.transformer_blocks.3.attn1.{part}"
        tensors |= {f"{name}.lora_A.weight": draw(2, 3072), f"{name}.lora_B.weight": draw(3072, 2)}
    return save(path, tensors)


def test_inspect_tells_what_a_file_is(tmp_path: Path):
    path = cogvideox_lora(tmp_path / "lora.safetensors")
    (facts,) = [
        event.facts
        for event in lora.run("inspect", file=path, family="cogvideox")
        if isinstance(event, Facts)
    ]
    tensors = load_file(path)
    squares = sum(
        float((tensors[name].double() @ tensors[name.replace("lora_B", "lora_A")].double()).pow(2).sum())
        for name in tensors
        if "lora_B" in name
    )
    assert float(facts["norm of the change"]) == pytest.approx(squares**0.5, rel=1e-3)
    assert (facts["family"], facts["rank"], facts["scale"]) == ("cogvideox", "2", "1")
    assert facts["model"] == "CogVideoX 5b"
    assert facts["modules"] == "2; of the 168 usual ones 2"


def test_convert_and_merge_write_files_and_say_so(tmp_path: Path):
    paths = [cogvideox_lora(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    folder = tmp_path / "peft"
    made = events(lora.run("convert", file=paths[0], out=folder, to="peft", family="cogvideox"))
    saved = [Path(event.path).name for event in made if isinstance(event, FileSaved)]
    assert saved == ["adapter_model.safetensors", "adapter_config.json"]
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 2, 2.0)

    out = tmp_path / "both.safetensors"
    made = events(lora.run("merge", files=paths, out=out, multipliers=(2.0,), family="cogvideox"))
    assert isinstance(made[-1], Finished)
    metadata = read_safetensors_metadata(out)
    assert json.loads(metadata["merged_loras"]) == {str(paths[0]): 2.0, str(paths[1]): 1.0}
    assert metadata["ss_network_dim"] == "4"
    with pytest.raises(ConfigError, match="is what is read"):
        events(lora.run("merge", files=paths, out=paths[0], family="cogvideox"))
    with pytest.raises(ConfigError, match=r"no layout .diffuser.\. Did you mean diffusers"):
        events(lora.run("convert", file=paths[0], out=out, to="diffuser", family="cogvideox"))
    with pytest.raises(ConfigError, match="Did you mean inspect"):
        events(lora.run("inspekt"))


def test_files_of_no_released_size_are_converted_with_a_notice(tmp_path: Path):
    source = usual_lora(SUBJECTS["cogvideox"], tmp_path / "source.safetensors")
    out = tmp_path / "out.safetensors"
    made = events(lora.run("convert", file=source, out=out, to="native", family="cogvideox"))
    assert any(isinstance(event, Notice) and "is of no released size" in event.message for event in made)
    subject = SUBJECTS["cogvideox"]
    assert largest_difference(subject.changes(out), subject.changes(source)) < TOLERANCE
