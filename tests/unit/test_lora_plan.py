"""Which LoRA files a network takes, what it says of the others, and what it does with those it takes."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reelwright.adapters.adapted_module import AdaptedModule, set_multipliers
from reelwright.adapters.module_table import ModuleTable
from reelwright.checkpoint.fingerprint import fingerprint
from reelwright.core.errors import CheckpointError, ConfigError, UserError
from reelwright.families.framepack.lora_layouts import released_targets

from .lora_networks import SUBJECTS, Draw, Subject, largest_difference, save

CONTROL = SUBJECTS["cogvideox"]
PACKED = SUBJECTS["framepack"]


def lora_tensors(name: str, rows: int, columns: int, draw: Draw, rank: int = 4) -> dict[str, Tensor]:
    return {
        f"{name}.lora_down.weight": draw(rank, columns),
        f"{name}.lora_up.weight": draw(rows, rank) / 8,
        f"{name}.alpha": torch.tensor(float(rank)),
    }


def lora(path: Path, *names: str, rows: int = 16, columns: int = 16, seed: int = 0) -> Path:
    """A file for modules of one size, in kohya's names."""
    draw = Draw(seed)
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= lora_tensors(name, rows, columns, draw)
    return save(path, tensors)


def attention_lora(path: Path, seed: int = 0) -> Path:
    names = [
        f"lora_unet_transformer_blocks_{i}_attn1_{part}"
        for i in range(2)
        for part in ("to_q", "to_k", "to_v", "to_out_0")
    ]
    return lora(path, *names, seed=seed)


def refusal(
    subject: Subject, *paths: Path, kind: type[UserError] = CheckpointError, **options: object
) -> str:
    with pytest.raises(kind) as caught:
        subject.plan(*paths, **options)
    return str(caught.value)


def test_the_440_modules_of_the_released_size_by_exact_name(tmp_path: Path):
    """specs: FramePack 7.2, spelled here a second time; each name is resolved to the weight of that name."""
    double = [
        *(f"attn.{part}" for part in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")),
        *("attn.to_out.0", "attn.to_add_out"),
        *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    ]
    single = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"]
    names = [f"transformer_blocks.{i}.{part}" for i in range(20) for part in double]
    names += [f"single_transformer_blocks.{i}.{part}" for i in range(40) for part in single]
    targets = next(each for each in released_targets() if each.name.endswith("released"))
    table = ModuleTable(targets.layouts[0], targets)
    assert len(names) == 440
    assert sorted(filter(None, map(table.place, targets.usual_modules()))) == sorted(names)
    assert [table.resolve("lora_unet_" + name.replace(".", "_")) for name in names] == names
    # 4.30 million parameters for each unit of rank.
    sides = [targets.shapes[module] for module in targets.usual_modules()]
    assert sum(rows + columns for rows, columns in sides) == pytest.approx(4.30e6, rel=1e-3)


def test_a_file_of_which_nothing_matches_is_refused(tmp_path: Path):
    path = lora(tmp_path / "lora.safetensors", "lora_unet_transformer_blocks_0_attn1_to_qq")
    said = refusal(CONTROL, path)
    assert "none of its 1 modules are in small CogVideoX" in said
    assert "lora_unet_transformer_blocks_0_attn1_to_qq" in said


FOREIGN = {
    "lora_unet_blocks_0_cross_attn_k": "Wan",
    "lora_unet_down_blocks_0_attentions_0_proj_in": "Stable Diffusion",
    "diffusion_model.double_blocks.0.img_attn_qkv": "HunyuanVideo",
    "transformer.single_transformer_blocks.0.attn.to_q": "the HunyuanVideo or FLUX kind",
}


@pytest.mark.parametrize(("name", "model"), FOREIGN.items(), ids=FOREIGN.values())
def test_a_lora_of_another_model_is_told_by_its_names(name: str, model: str, tmp_path: Path):
    assert f"it is a LoRA for {model}" in refusal(CONTROL, lora(tmp_path / "lora.safetensors", name))


def test_a_few_names_in_common_do_not_make_it_a_lora_of_this_model(tmp_path: Path):
    """Feed-forward layers of both families are called alike, and in the released sizes are equally large."""
    names = [f"lora_unet_single_transformer_blocks_{i}_attn_to_q" for i in range(3)]
    draw = Draw()
    tensors = lora_tensors("lora_unet_transformer_blocks_0_ff_net_2", 16, 64, draw)
    for name in names:
        tensors |= lora_tensors(name, 16, 16, draw)
    said = refusal(CONTROL, save(tmp_path / "lora.safetensors", tensors))
    assert "only 1 of its 4 modules" in said


def test_unknown_modules_are_counted_and_named(tmp_path: Path):
    draw = Draw()
    tensors = lora_tensors("lora_unet_transformer_blocks_0_attn1_to_q", 16, 16, draw)
    tensors |= lora_tensors("lora_unet_transformer_blocks_7_attn1_to_q", 16, 16, draw)
    # Those of a text encoder may outnumber the others.
    for index in range(3):
        tensors |= lora_tensors(f"lora_te1_layers_{index}_mlp", 8, 8, draw)
    notices = " ".join(CONTROL.plan(save(tmp_path / "lora.safetensors", tensors)).notices)
    assert "4 of 5 modules are not in this model and are left out: lora_unet_transformer_blocks_7" in notices


def test_a_module_of_another_size_is_named(tmp_path: Path):
    path = lora(
        tmp_path / "lora.safetensors", "lora_unet_transformer_blocks_0_attn1_to_q", rows=24, columns=24
    )
    said = refusal(CONTROL, path)
    assert "lora_unet_transformer_blocks_0_attn1_to_q changes a weight of 24 x 24" in said
    assert "16 x 16" in said


def broken(tensors: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    name = "lora_unet_transformer_blocks_0_attn1_to_q"
    match what:
        case "no up":
            del tensors[f"{name}.lora_up.weight"]
        case "ranks differ":
            tensors[f"{name}.lora_up.weight"] = torch.zeros(16, 5)
        case "alpha":
            tensors[f"{name}.alpha"] = torch.tensor(math.nan)
        case "DoRA":
            tensors[f"{name}.dora_scale"] = torch.ones(16)
        case "twice":
            other = "transformer.transformer_blocks.0.attn1.to_q"
            tensors |= {
                f"{other}.lora_A.weight": torch.ones(4, 16),
                f"{other}.lora_B.weight": torch.ones(16, 4),
            }
        case _:
            tensors = {"transformer_blocks.0.attn1.to_q.weight": torch.ones(16, 16)}
    return tensors


BROKEN = {
    "no up": "up is missing",
    "ranks differ": "have no rank in common",
    "alpha": "is not one positive number",
    "DoRA": "this is DoRA, which also rescales weights",
    "twice": "1 modules are there under two names",
    "whole": "this is no LoRA, LoHa or LoKr",
}


@pytest.mark.parametrize(("what", "said"), BROKEN.items())
def test_what_cannot_be_applied_is_refused_before_anything_loads(what: str, said: str, tmp_path: Path):
    tensors = lora_tensors("lora_unet_transformer_blocks_0_attn1_to_q", 16, 16, Draw())
    path = save(tmp_path / "lora.safetensors", broken(tensors, what))
    assert said in refusal(CONTROL, path)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path):
    path = attention_lora(tmp_path / "lora.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    assert "the file ends early" in refusal(CONTROL, path)


def test_a_change_that_is_not_finite_is_refused(tmp_path: Path):
    tensors = lora_tensors("lora_unet_transformer_blocks_0_attn1_to_q", 16, 16, Draw())
    tensors["lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight"][0, 0] = math.nan
    path = save(tmp_path / "lora.safetensors", tensors)
    for mode in ("merge", "unmerged"):
        with pytest.raises(CheckpointError, match="holds NaN or infinity"):
            CONTROL.plan(path, lora_mode=mode).apply(CONTROL.build())


def test_patterns_choose_modules_by_any_of_their_names(tmp_path: Path):
    path = attention_lora(tmp_path / "lora.safetensors")

    def changed(**options: object) -> set[str]:
        return set(CONTROL.changes(path, **options))

    queries = {f"transformer_blocks.{i}.attn1.to_q" for i in range(2)}
    assert changed(lora_include=("to_q$",)) == queries
    assert changed(lora_include=(r"attention\.query",)) == queries
    assert changed(lora_include=("attn1_to_q",)) == queries
    assert changed(lora_include=(r"blocks\.1\.", "to_q"), lora_exclude=("to_k", "to_out", "to_v")) == queries
    assert len(changed(lora_exclude=("blocks[._]0",))) == 4


def test_patterns_reach_into_joined_matrices(tmp_path: Path):
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    path = save(tmp_path / "lora.safetensors", lora_tensors(name, 96, 32, Draw()))
    assert set(PACKED.changes(path, lora_include=("to_k",))) == {"transformer_blocks.0.attn.to_k"}
    assert len(PACKED.changes(path, lora_include=("double_blocks",))) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora_include": ("to_qq",)}, "'to_qq' finds no module of the LoRAs"),
        ({"lora_exclude": ("nothing",)}, "'nothing' finds no module"),
        ({"lora_include": ("(",)}, "'(' is no regular expression"),
        ({"lora_exclude": (".",)}, "they leave no module"),
        ({"lora_multiplier": (1.0, 2.0)}, "2 values for 1 LoRAs"),
        ({"lora_mode": "unmerged", "save_merged_model": Path("x")}, "needs the LoRAs merged"),
    ],
)
def test_options_that_do_not_fit_the_files_are_refused(options: dict[str, object], said: str, tmp_path: Path):
    path = attention_lora(tmp_path / "lora.safetensors")
    assert said in refusal(CONTROL, path, kind=ConfigError, **options)


def test_options_without_a_lora_are_refused():
    for options in ({"lora_include": ("a",)}, {"save_merged_model": Path("x")}, {"lora_multiplier": (1.0,)}):
        refusal(CONTROL, kind=ConfigError, **options)
    assert CONTROL.plan().apply(CONTROL.build()) == []


def test_several_files_add_up_each_at_its_strength(tmp_path: Path):
    paths = [attention_lora(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    alone = [CONTROL.changes(path) for path in paths]
    together = CONTROL.changes(*paths, lora_multiplier=(0.5, -2.0))
    expected = {
        name: 0.5 * alone[0][name].double() - 2 * alone[1][name].double() - 2 * alone[2][name].double()
        for name in alone[0]
    }
    assert largest_difference(together, expected) < 2e-6


def test_the_report_counts_modules_and_measures_the_change(tmp_path: Path):
    path = attention_lora(tmp_path / "lora.safetensors")
    network = CONTROL.build()
    weights = CONTROL.released(network)
    changes = CONTROL.changes(path, lora_multiplier=(0.25,))
    squares = sum(float(delta.double().pow(2).sum()) for delta in changes.values())
    whole = sum(float(weights[name].double().pow(2).sum()) for name in changes)
    for mode in ("merge", "unmerged"):
        (said,) = CONTROL.plan(path, lora_multiplier=(0.25,), lora_mode=mode).apply(CONTROL.build())
        assert "8 of 8 modules match, 8 weights change at multiplier 0.25" in said
        ratio = re.search(r"by ([\d.]+)% of their norm", said)
        assert ratio is not None
        assert float(ratio[1]) == pytest.approx(100 * math.sqrt(squares / whole), abs=0.01)


def test_the_files_belong_to_the_provenance(tmp_path: Path):
    paths = [attention_lora(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    assert CONTROL.plan(*paths).fingerprints == {
        "lora 1": fingerprint(paths[:1]),
        "lora 2": fingerprint(paths[1:]),
    }


def mixed_file(path: Path) -> Path:
    """LoRA on a linear layer with a bias, LoKr, LoHa, and LoRA on a convolution."""
    draw = Draw()
    tensors = lora_tensors("lora_unet_transformer_blocks_0_attn1_to_q", 16, 16, draw)
    tensors |= lora_tensors("lora_unet_transformer_blocks_0_ff_net_2", 16, 64, draw)
    name = "lora_unet_transformer_blocks_1_attn1_to_k"
    tensors |= {f"{name}.lokr_w1": draw(4, 4) / 4, f"{name}.lokr_w2": draw(4, 4) / 4}
    name = "lora_unet_transformer_blocks_1_attn1_to_v"
    for factor, shape in {"w1_a": (16, 2), "w1_b": (2, 16), "w2_a": (16, 2), "w2_b": (2, 16)}.items():
        tensors[f"{name}.hada_{factor}"] = draw(*shape) / 3
    name = "lora_unet_patch_embed_proj"
    tensors |= {f"{name}.lora_down.weight": draw(3, 16, 2, 2), f"{name}.lora_up.weight": draw(16, 3, 1, 1)}
    return save(path, tensors)


def run_modules(network: nn.Module) -> dict[str, Tensor]:
    """What every changed module makes of one input."""
    inputs = {
        "patch_embedding.projection": Draw(5)(2, 16, 6, 8),
        "blocks.0.feed_forward.contract": Draw(6)(3, 64),
    }
    names = ["attention.query", "attention.key", "attention.value"]
    inputs |= {f"blocks.{i}.{name}": Draw(7)(3, 16) for i in range(2) for name in names}
    return {name: network.get_submodule(name)(values) for name, values in inputs.items()}


def test_merged_and_unmerged_agree(tmp_path: Path):
    paths = (mixed_file(tmp_path / "mixed.safetensors"), attention_lora(tmp_path / "lora.safetensors", 1))
    merged, unmerged = CONTROL.build(), CONTROL.build()
    CONTROL.plan(*paths, lora_multiplier=(0.7, -0.3)).apply(merged)
    CONTROL.plan(*paths, lora_multiplier=(0.7, -0.3), lora_mode="unmerged").apply(unmerged)
    assert sum(isinstance(module, AdaptedModule) for module in unmerged.modules()) == 10
    assert largest_difference(run_modules(unmerged), run_modules(merged)) < 1e-5


def test_strengths_can_change_while_a_network_is_in_use(tmp_path: Path):
    paths = (mixed_file(tmp_path / "mixed.safetensors"), attention_lora(tmp_path / "lora.safetensors", 1))
    network = CONTROL.build()
    CONTROL.plan(*paths, lora_mode="unmerged").apply(network)
    set_multipliers(network, [0.25, 1.5])
    merged = CONTROL.build()
    CONTROL.plan(*paths, lora_multiplier=(0.25, 1.5)).apply(merged)
    assert largest_difference(run_modules(network), run_modules(merged)) < 1e-5
    set_multipliers(network, [0.0, 0.0])
    untouched = run_modules(CONTROL.build())
    assert all(torch.equal(output, untouched[name]) for name, output in run_modules(network).items())
    with pytest.raises(ValueError, match="1 multipliers for 2 files"):
        set_multipliers(network, [1.0])
    with pytest.raises(ValueError, match="no adapters beside its weights"):
        set_multipliers(CONTROL.build(), [1.0])


def test_unmerged_adapters_follow_the_network_to_another_number_format(tmp_path: Path):
    network = CONTROL.build().bfloat16()
    CONTROL.plan(mixed_file(tmp_path / "mixed.safetensors"), lora_mode="unmerged").apply(network)
    layer = network.get_submodule("blocks.0.attention.query")
    assert layer(torch.ones(2, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert (
        network.double().get_submodule("blocks.1.attention.key")(torch.ones(2, 16).double()).dtype
        == torch.float64
    )


def test_a_bfloat16_weight_is_rounded_once(tmp_path: Path):
    paths = [attention_lora(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    network = CONTROL.build().bfloat16()
    before = CONTROL.released(network)
    exact = {name: before[name].double() for name in before}
    for path in paths:
        for name, delta in CONTROL.changes(path).items():
            exact[name] = exact[name] + delta.double()
    CONTROL.plan(*paths).apply(network)
    after = CONTROL.released(network)
    for name, value in exact.items():
        assert (after[name].double() - value).abs().max() <= (value.abs().max() * 2**-8)
        nearest = value.bfloat16()
        assert (after[name] == nearest).float().mean() > 0.99
