"""The names of released files, against the reference classes and a second reading of the original layout."""

import math
import re

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from hypothesis import given
from hypothesis import strategies as st

from reelwright.checkpoint.loading import detect_layout, load_weights
from reelwright.checkpoint.safetensors_io import open_tensors, save_sharded
from reelwright.checkpoint.tensor_source import tensors_in_memory
from reelwright.core.errors import CheckpointError
from reelwright.families.cogvideox import key_maps
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import TRANSFORMERS, AutoencoderConfig, TransformerConfig
from reelwright.families.cogvideox.transformer import CogVideoXTransformer

NUM_TENSORS = {"2b": 736, "5b": 1024, "5b-i2v": 1025, "1.5-5b": 1024, "1.5-5b-i2v": 1028}
"""As counted in the released files."""

TINY_VAE = {
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "latent_channels": 4,
}


def reference_transformer(config: TransformerConfig) -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(**config.settings())


def tiny(**changes) -> TransformerConfig:
    sizes = {
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "text_embed_dim": 12,
        "time_embed_dim": 16,
        "max_text_seq_length": 6,
        "sample_height": 8,
        "sample_width": 8,
        "sample_frames": 5,
    }
    return TransformerConfig(**{**sizes, **changes})


TINY_TRANSFORMERS = {
    "2b": tiny(),
    "5b-i2v": tiny(
        in_channels=32, use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True
    ),
    "1.5-i2v": tiny(
        in_channels=32,
        patch_size_t=2,
        patch_bias=False,
        ofs_embed_dim=16,
        use_rotary_positional_embeddings=True,
    ),
}


def shapes_of(state) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


# The released converters, retold: SAT names become diffusers names by replacing text, one after another.
def sat_transformer_state(diffusers_state):
    """A SAT checkpoint with the weights of a diffusers one: rows joined as the original code keeps them."""
    words = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "ofs_embedding.linear_1": "ofs_embed.0",
        "ofs_embedding.linear_2": "ofs_embed.2",
        "patch_embed.pos_embedding": "mixins.pos_embed.pos_embedding",
        "patch_embed.": "mixins.patch_embed.",
        "norm_final.": "transformer.final_layernorm.",
        "norm_out.norm.": "mixins.final_layer.norm_final.",
        "norm_out.linear.": "mixins.final_layer.adaLN_modulation.1.",
        "proj_out.": "mixins.final_layer.linear.",
        "attn1.to_out.0": "attention.dense",
        "ff.net.0.proj": "mlp.dense_h_to_4h",
        "ff.net.2": "mlp.dense_4h_to_h",
        "norm1.norm": "input_layernorm",
        "norm2.norm": "post_attention_layernorm",
    }
    state = {}
    for name, tensor in diffusers_state.items():
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.attn1\.norm_([qk])\.(\w+)", name)
        if block:
            kind = {"q": "query", "k": "key"}[block[2]]
            state[f"mixins.adaln_layer.{kind}_layernorm_list.{block[1]}.{block[3]}"] = tensor
        elif not re.search(r"\.to_[qkv]\.|\.norm[12]\.linear\.", name):
            state[_replaced(name, words)] = tensor
    for n in range(len({name.split(".")[1] for name in diffusers_state if "transformer_blocks" in name})):
        block = f"transformer_blocks.{n}"
        for leaf in ("weight", "bias"):
            thirds = [diffusers_state[f"{block}.attn1.to_{part}.{leaf}"] for part in "qkv"]
            state[f"transformer.layers.{n}.attention.query_key_value.{leaf}"] = torch.cat(thirds)
            first = diffusers_state[f"{block}.norm1.linear.{leaf}"].chunk(6)
            second = diffusers_state[f"{block}.norm2.linear.{leaf}"].chunk(6)
            twelfths = (*first[:3], *second[:3], *first[3:], *second[3:])
            state[f"mixins.adaln_layer.adaLN_modulations.{n}.1.{leaf}"] = torch.cat(twelfths)
    return state


def _replaced(name: str, words: dict[str, str]) -> str:
    """`name` with the first word that it begins with replaced, or the first that it contains."""
    word = next((word for word in words if name.startswith(word)), None)
    if word is None:
        name = name.replace("transformer_blocks.", "transformer.layers.")
        word = next(word for word in words if word in name)
    return name.replace(word, words[word])


def diffusers_autoencoder_name(sat_name: str) -> str:
    """The released converter's replacements, in its order."""
    for word, replacement in {
        "block.": "resnets.",
        "down.": "down_blocks.",
        "downsample": "downsamplers.0",
        "upsample": "upsamplers.0",
        "nin_shortcut": "conv_shortcut",
        "mid.block_1": "mid_block.resnets.0",
        "mid.block_2": "mid_block.resnets.1",
    }.items():
        sat_name = sat_name.replace(word, replacement)
    return re.sub(r"decoder\.up\.(\d)", lambda stage: f"decoder.up_blocks.{3 - int(stage[1])}", sat_name)


def sat_autoencoder_names(diffusers_names) -> dict[str, str]:
    """From each diffusers name to the SAT name that the converter turns into it."""
    names = {}
    for name in diffusers_names:
        sat = re.sub(r"up_blocks\.(\d)", lambda stage: f"up.{3 - int(stage[1])}", name)
        sat = re.sub(r"mid_block\.resnets\.(\d)", lambda block: f"mid.block_{int(block[1]) + 1}", sat)
        sat = sat.replace("down_blocks.", "down.").replace("resnets.", "block.")
        sat = sat.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
        names[name] = sat.replace("conv_shortcut", "nin_shortcut")
    return names


@pytest.mark.parametrize("variant", NUM_TENSORS)
def test_every_tensor_of_a_released_transformer_has_one_place_and_one_shape(variant):
    with torch.device("meta"):
        released = shapes_of(reference_transformer(TRANSFORMERS[variant]).state_dict())
        ours = shapes_of(CogVideoXTransformer(TRANSFORMERS[variant]).state_dict())
    assert len(released) == NUM_TENSORS[variant]
    layout = key_maps.DIFFUSERS_TRANSFORMER
    assert {layout.locate(name).file_name: shape for name, shape in ours.items()} == released
    assert {layout.find(name)[0].ours: shape for name, shape in released.items()} == ours


def test_every_tensor_of_the_released_autoencoder_has_one_place_and_one_shape():
    config = AutoencoderConfig()
    released_config = {
        **TINY_VAE,
        "block_out_channels": config.block_out_channels,
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_num_groups,
        "latent_channels": config.latent_channels,
    }
    with torch.device("meta"):
        released = shapes_of(AutoencoderKLCogVideoX(**released_config).state_dict())
        ours = shapes_of(CogVideoXAutoencoder(config).state_dict())
    assert len(released) == 436
    for layout, names in (
        (key_maps.DIFFUSERS_AUTOENCODER, {name: name for name in released}),
        (key_maps.SAT_AUTOENCODER, sat_autoencoder_names(released)),
    ):
        in_file = {names[name]: shape for name, shape in released.items()}
        assert {layout.locate(name).file_name: shape for name, shape in ours.items()} == in_file
        assert {layout.find(name)[0].ours: shape for name, shape in in_file.items()} == ours


@pytest.mark.parametrize("variant", NUM_TENSORS)
def test_the_original_transformer_layout_covers_every_tensor_of_a_released_one(variant):
    with torch.device("meta"):
        model = reference_transformer(TRANSFORMERS[variant])
        sat = shapes_of(sat_transformer_state(model.state_dict()))
        ours = shapes_of(CogVideoXTransformer(TRANSFORMERS[variant]).state_dict())
    assert {key_maps.SAT_TRANSFORMER.locate(name).file_name for name in ours} == set(sat)
    assert {found.ours for name in sat for found in key_maps.SAT_TRANSFORMER.find(name)} == set(ours)


@pytest.mark.parametrize("config", TINY_TRANSFORMERS.values(), ids=TINY_TRANSFORMERS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_transformer_in_the_original_layout_loads_as_the_same_weights(config, prefix, tmp_path):
    state = reference_transformer(config).state_dict()
    sat = {prefix + name: tensor for name, tensor in sat_transformer_state(state).items()}
    sat[prefix + "mixins.pos_embed.freqs_cos"] = torch.zeros(3)
    # Every original checkpoint has a table of positions; where the network computes its own it is left out.
    sat.setdefault(prefix + "mixins.pos_embed.pos_embedding", torch.zeros(1, 3, 16))
    path = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": sat}, path)

    expected = key_maps.DIFFUSERS_TRANSFORMER.to_ours(state)
    with torch.device("meta"):
        network = CogVideoXTransformer(config)
    with open_tensors(path) as source:
        layout = detect_layout(source, key_maps.TRANSFORMER_LAYOUTS, shapes_of(network.state_dict()))
        load_weights(network, source, layout, dtype=torch.float32)
    assert layout is key_maps.SAT_TRANSFORMER
    loaded = network.state_dict()
    assert set(loaded) == set(expected)
    # The reference builds its table of positions in double precision.
    assert all(torch.equal(loaded[name], expected[name].float()) for name in expected)


@given(seed=st.integers(0, 2**16))
def test_transformers_go_there_and_back_in_both_layouts(seed):
    torch.manual_seed(seed)
    config = TINY_TRANSFORMERS["5b-i2v"]
    with torch.device("meta"):
        shapes = shapes_of(CogVideoXTransformer(config).state_dict())
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    for layout in key_maps.TRANSFORMER_LAYOUTS:
        back = layout.to_ours(layout.to_file(state))
        assert set(back) == set(state)
        assert all(torch.equal(back[name], state[name]) for name in state)


def test_autoencoders_go_there_and_back_and_the_original_layout_is_told_apart():
    state = AutoencoderKLCogVideoX(**TINY_VAE).state_dict()
    names = sat_autoencoder_names(state)
    assert {diffusers_autoencoder_name(sat): sat for sat in names.values()} == names
    sat_state = {names[name]: tensor for name, tensor in state.items()}
    ours = key_maps.DIFFUSERS_AUTOENCODER.to_ours(state)
    from_sat = key_maps.SAT_AUTOENCODER.to_ours({**sat_state, "loss.logvar": torch.zeros(1)})
    assert set(from_sat) == set(ours)
    assert all(torch.equal(from_sat[name], ours[name]) for name in ours)
    for layout, file in ((key_maps.DIFFUSERS_AUTOENCODER, state), (key_maps.SAT_AUTOENCODER, sat_state)):
        back = layout.to_file(ours)
        assert set(back) == set(file)
        assert all(torch.equal(back[name], file[name]) for name in file)
        source = tensors_in_memory(file, path=__file__)
        assert detect_layout(source, key_maps.AUTOENCODER_LAYOUTS, shapes_of(ours)) is layout


@pytest.mark.parametrize("variant", TRANSFORMERS)
def test_the_settings_of_a_single_file_are_read_off_its_tensors(variant):
    config = TRANSFORMERS[variant]
    with torch.device("meta"):
        state = reference_transformer(config).state_dict()
    expected = config.settings()
    for file in (state, sat_transformer_state(state)):
        settings = key_maps.describe_transformer(shapes_of(file), "file.safetensors")
        assert settings == {key: expected[key] for key in settings}
        assert {"num_layers", "num_attention_heads", "in_channels", "patch_size_t"} <= set(settings)
        assert ("ofs_embed_dim" in settings) and ("use_learned_positional_embeddings" in settings)


def test_inpainting_and_control_layouts_differ_from_image_to_video():
    facts = {}
    for variant in ("5b-i2v", "fun-5b-inp", "fun-5b-control"):
        with torch.device("meta"):
            shapes = shapes_of(reference_transformer(TRANSFORMERS[variant]).state_dict())
        settings = key_maps.describe_transformer(shapes, "file")
        facts[variant] = (settings["in_channels"], settings["use_learned_positional_embeddings"])
    assert facts == {"5b-i2v": (32, True), "fun-5b-inp": (33, False), "fun-5b-control": (32, False)}


def test_a_file_of_another_network_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"t5\.safetensors: .*shared\.weight"):
        key_maps.describe_transformer({"shared.weight": (10, 4)}, "t5.safetensors")


@pytest.mark.parametrize("max_shard_bytes", [10**9, 20_000])
def test_what_is_saved_loads_in_diffusers_with_the_same_weights(tmp_path, max_shard_bytes):
    cases = (
        (reference_transformer(TINY_TRANSFORMERS["5b-i2v"]), key_maps.DIFFUSERS_TRANSFORMER, "transformer"),
        (AutoencoderKLCogVideoX(**TINY_VAE), key_maps.DIFFUSERS_AUTOENCODER, "vae"),
    )
    for model, layout, part in cases:
        folder = tmp_path / part
        state = model.state_dict()
        files = save_sharded(folder, layout.to_file(layout.to_ours(state)), max_shard_bytes=max_shard_bytes)
        total = sum(math.prod(tensor.shape) * 4 for tensor in state.values())
        assert len(files) == 1 if total < max_shard_bytes else len(files) > 1
        model.save_config(folder)
        loaded = type(model).from_pretrained(folder).state_dict()
        assert set(loaded) == set(state)
        assert all(torch.equal(loaded[name], state[name]) for name in state)
