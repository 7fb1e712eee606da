"""The packed transformer against diffusers' own, with the same random weights and inputs."""

import copy
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from diffusers import HunyuanVideoFramepackTransformer3DModel
from torch import Tensor, nn

from reelwright.families.framepack.conditions import CleanLatents, Conditions, rotary_positions
from reelwright.families.framepack.config import TransformerConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER, describe_transformer
from reelwright.families.framepack.transformer import FramePackTransformer, keeps_float32

from .released import largest_error, scatter_norms

BOUND = 1e-5
"""Largest absolute error in float32 of outputs whose elements are of order one."""

EXACT = 1e-7
"""The same with float64 networks; both turn queries and keys in float32, and no more."""

SMALL = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=32,
    num_layers=2,
    num_single_layers=2,
    text_embed_dim=24,
    pooled_projection_dim=12,
    image_proj_dim=20,
    rope_axes_dim=(8, 12, 12),
)

BASE = {"target": [10, 11, 12], "1x": [0, 13], "2x": [14, 15], "4x": list(range(16, 32))}
F1 = {"target": [20, 21, 22], "1x": [0, 19], "2x": [17, 18], "4x": list(range(1, 17))}


def reference_transformer(config: TransformerConfig) -> HunyuanVideoFramepackTransformer3DModel:
    sizes = asdict(config)
    return HunyuanVideoFramepackTransformer3DModel(**sizes, has_image_proj=True, has_clean_x_embedder=True)


@pytest.fixture(scope="module")
def networks():
    """Ours, and the reference whose weights it has."""
    torch.manual_seed(0)
    reference = reference_transformer(SMALL).eval()
    scatter_norms(reference)
    ours = FramePackTransformer(SMALL)
    ours.load_state_dict(RELEASED_TRANSFORMER.to_ours(reference.state_dict()))
    return ours.eval(), reference


@dataclass(frozen=True)
class Call:
    """One call's inputs, as both implementations take them."""

    latents: Tensor
    timestep: Tensor
    conditions: Conditions

    def to(self, dtype: torch.dtype) -> "Call":
        device = torch.device("cpu")
        return Call(self.latents.to(dtype), self.timestep, self.conditions.to(device, dtype))


def call_of(indices: dict[str, list[int]], size=(6, 10), text_lengths=(5,), seed=1) -> Call:
    random = torch.Generator().manual_seed(seed)
    batch = len(text_lengths)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=random)

    def clean(name: str) -> CleanLatents | None:
        if name not in indices:
            return None
        latents = normal(SMALL.in_channels, len(indices[name]), *size)
        return CleanLatents(latents_BCTHW=latents, indices_BT=rows_of(indices[name], batch))

    conditions = Conditions(
        text_BLD=normal(9, SMALL.text_embed_dim),
        text_lengths=text_lengths,
        pooled_BD=normal(SMALL.pooled_projection_dim),
        image_BLD=normal(7, SMALL.image_proj_dim),
        guidance_B=torch.full((batch,), 9984.0),
        indices_BT=rows_of(indices["target"], batch),
        clean_1x=clean("1x"),
        clean_2x=clean("2x"),
        clean_4x=clean("4x"),
    )
    latents = normal(SMALL.in_channels, len(indices["target"]), *size)
    return Call(latents, torch.tensor([994.1, 228.8])[:batch], conditions)


def rows_of(indices: list[int], batch: int) -> Tensor:
    return torch.tensor(indices).expand(batch, -1)


def our_prediction(ours: FramePackTransformer, call: Call) -> Tensor:
    return ours(call.latents, call.timestep, call.conditions)


def reference_prediction(reference: HunyuanVideoFramepackTransformer3DModel, call: Call) -> Tensor:
    """The reference takes one row of indices for the whole batch."""
    conditions = call.conditions
    lengths = torch.tensor(conditions.text_lengths)[:, None]
    names = {
        "clean": conditions.clean_1x,
        "history_2x": conditions.clean_2x,
        "history_4x": conditions.clean_4x,
    }
    groups = {f"latents_{name}": clean and clean.latents_BCTHW for name, clean in names.items()}
    indices = {f"indices_latents_{name}": clean and clean.indices_BT[0] for name, clean in names.items()}
    return reference(
        hidden_states=call.latents,
        timestep=call.timestep,
        encoder_hidden_states=conditions.text_BLD,
        encoder_attention_mask=torch.arange(conditions.text_BLD.shape[1]) < lengths,
        pooled_projections=conditions.pooled_BD,
        image_embeds=conditions.image_BLD,
        guidance=conditions.guidance_B,
        indices_latents=conditions.indices_BT[0],
        **groups,
        **indices,
    ).sample


@pytest.mark.parametrize("indices", [BASE, F1], ids=["base", "f1"])
@pytest.mark.parametrize("text_lengths", [(5,), (9,), (5, 9), (4, 4), (1, 6)])
@torch.no_grad()
def test_predictions_are_those_of_the_reference(networks, indices, text_lengths):
    ours, reference = networks
    call = call_of(indices, text_lengths=text_lengths)
    expected = reference_prediction(reference, call)
    assert 0.3 < expected.std() < 3
    assert largest_error(our_prediction(ours, call), expected) <= BOUND


# In tokens: sides that 2x and 4x divide, one that only 2x does, odd ones, and one smaller than a 4x token.
@pytest.mark.parametrize("size", [(16, 8), (12, 20), (10, 14), (2, 18), (4, 6)])
@torch.no_grad()
def test_sizes_that_history_does_not_divide_are_padded_as_in_the_reference(networks, size):
    ours, reference = networks
    call = call_of(BASE, size)
    expected = reference_prediction(reference, call)
    assert largest_error(our_prediction(ours, call), expected) <= BOUND


@torch.no_grad()
def test_histories_of_other_lengths_are_padded_in_time_as_in_the_reference(networks):
    ours, reference = networks
    call = call_of({"target": [9], "1x": [0, 10, 11], "2x": [12], "4x": [13, 14, 15, 16, 17, 18]})
    assert largest_error(our_prediction(ours, call), reference_prediction(reference, call)) <= BOUND


@pytest.mark.parametrize("text_lengths", [(5,), (3, 9)])
@torch.no_grad()
def test_in_double_precision_only_the_rotation_differs(networks, text_lengths):
    ours, reference = (copy.deepcopy(network).double() for network in networks)
    call = call_of(BASE, (10, 14), text_lengths).to(torch.float64)
    expected = reference_prediction(reference, call)
    assert expected.dtype == torch.float64
    assert largest_error(our_prediction(ours, call), expected) <= EXACT


@pytest.mark.parametrize(
    "off", [{"4x"}, {"2x"}, {"1x"}, {"2x", "4x"}, {"1x", "2x", "4x"}], ids=lambda off: "-".join(sorted(off))
)
@torch.no_grad()
def test_groups_that_are_off_leave_no_tokens(networks, off):
    """The reference fails without any group; here it embeds all, and those that are off never enter."""
    ours, reference = networks[0], copy.deepcopy(networks[1])
    pack = reference._pack_history_states

    def pack_without(hidden, clean, half, quarter, *rest):
        groups = {"1x": clean, "2x": half, "4x": quarter}
        return pack(hidden, *(None if name in off else group for name, group in groups.items()), *rest)

    reference._pack_history_states = pack_without
    call = call_of(BASE)
    fields = {f"clean_{name}": None for name in off}
    without = replace(call, conditions=replace(call.conditions, **fields))
    expected = reference_prediction(reference, call)
    assert largest_error(our_prediction(ours, without), expected) <= BOUND
    assert largest_error(our_prediction(ours, call), expected) > 0.001


class ScaledPositions(nn.Module):
    """Cosines and sines of the reference's layout, from the formula in float64, with scaled places."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, frame_indices: Tensor, height: int, width: int, device: torch.device):
        places = [
            (float(t), self.scale * y, self.scale * x)
            for t in frame_indices
            for y in range(height // 2)
            for x in range(width // 2)
        ]
        rates = [
            (axis, SMALL.rope_theta ** (-2 * pair / axis_width))
            for axis, axis_width in enumerate(SMALL.rope_axes_dim)
            for pair in range(axis_width // 2)
            for _ in range(2)
        ]
        angles = torch.tensor(
            [[place[axis] * rate for axis, rate in rates] for place in places], dtype=torch.float64
        )
        return angles.cos().float(), angles.sin().float()


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
@torch.no_grad()
def test_scaled_places_are_those_of_the_formula(networks, scale):
    ours, reference = networks[0], copy.deepcopy(networks[1])
    reference.rope = ScaledPositions(scale)
    call = call_of(F1, (10, 14))
    expected = reference_prediction(reference, call)
    for tried in (scale, scale + 0.1):
        scaled = replace(call, conditions=replace(call.conditions, rope_scale=tried))
        error = largest_error(our_prediction(ours, scaled), expected)
        assert error <= BOUND if tried == scale else error > 100 * BOUND


@torch.no_grad()
def test_every_sample_of_a_batch_gets_what_it_gets_alone(networks):
    """Texts of different lengths, and sections at different places in time."""
    ours, _ = networks
    call = call_of(BASE, text_lengths=(2, 9))
    conditions = call.conditions
    places = torch.tensor([BASE["target"], [1, 2, 3]])
    together = our_prediction(ours, replace(call, conditions=replace(conditions, indices_BT=places)))
    for index in range(2):
        alone = sample_of(call, index, places)
        assert largest_error(our_prediction(ours, alone), together[index : index + 1]) <= BOUND


def sample_of(call: Call, index: int, places: Tensor) -> Call:
    one = slice(index, index + 1)
    conditions = call.conditions

    def clean(group: CleanLatents) -> CleanLatents:
        return CleanLatents(latents_BCTHW=group.latents_BCTHW[one], indices_BT=group.indices_BT[one])

    alone = Conditions(
        text_BLD=conditions.text_BLD[one],
        text_lengths=conditions.text_lengths[one],
        pooled_BD=conditions.pooled_BD[one],
        image_BLD=conditions.image_BLD[one],
        guidance_B=conditions.guidance_B[one],
        indices_BT=places[one],
        clean_1x=clean(conditions.clean_1x),
        clean_2x=clean(conditions.clean_2x),
        clean_4x=clean(conditions.clean_4x),
    )
    return Call(call.latents[one], call.timestep[one], alone)


@torch.no_grad()
def test_padding_behind_a_prompt_is_never_read(networks):
    ours, _ = networks
    call = call_of(BASE, text_lengths=(2, 6))
    text = call.conditions.text_BLD.clone()
    text[0, 2:], text[1, 6:] = 1e4, -1e4
    other = replace(call, conditions=replace(call.conditions, text_BLD=text))
    assert torch.equal(our_prediction(ours, other), our_prediction(ours, call))


@pytest.mark.parametrize("text_lengths", [(5,), (3, 9)])
def test_gradients_are_those_of_the_reference(networks, text_lengths):
    ours, reference = (copy.deepcopy(network).double() for network in networks)
    call = call_of(BASE, (10, 6), text_lengths).to(torch.float64)
    our_prediction(ours, call).square().mean().backward()
    reference_prediction(reference, call).square().mean().backward()
    expected = RELEASED_TRANSFORMER.to_ours({name: p.grad for name, p in reference.named_parameters()})
    for name, parameter in ours.named_parameters():
        size = expected[name].abs().max().item()
        assert size > 0, name
        # In the refiner a key's bias moves all scores of a query alike: nothing is left but rounding.
        assert largest_error(parameter.grad, expected[name]) <= max(BOUND * size, 1e-12), name


@torch.no_grad()
def test_training_can_follow_a_preview_in_inference_mode(networks):
    ours, _ = networks
    call = call_of(F1, (4, 4))
    with torch.inference_mode():
        preview = our_prediction(ours, call)
    with torch.enable_grad():
        prediction = our_prediction(ours, call)
        prediction.mean().backward()
    assert largest_error(prediction, preview) <= BOUND
    ours.zero_grad()


@torch.no_grad()
def test_half_precision_is_as_close_to_single_as_the_reference_is(networks):
    """The last projection runs in float32 in both, as the released program sets it."""
    exact = networks[1]
    ours, reference = (copy.deepcopy(network).bfloat16() for network in networks)
    for name, parameter in ours.named_parameters():
        if keeps_float32(name):
            parameter.data = parameter.float()
    call = call_of(BASE, (10, 14))
    half = call.to(torch.bfloat16)
    expected = reference_prediction(exact, call)
    prediction = our_prediction(ours, half)
    assert prediction.dtype == torch.float32
    lost = (prediction - expected).square().mean().sqrt()
    lost_by_reference = (reference_prediction(reference, half).float() - expected).square().mean().sqrt()
    assert lost <= 1.1 * lost_by_reference


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_the_released_transformer_has_the_names_and_shapes_of_the_reference():
    with torch.device("meta"):
        ours = FramePackTransformer(TransformerConfig())
        reference = reference_transformer(TransformerConfig())
    saved = shapes_of(RELEASED_TRANSFORMER.to_file(ours.state_dict()))
    assert saved == shapes_of(reference.state_dict())
    assert len(saved) == 1274
    assert sum(parameter.numel() for parameter in ours.parameters()) == 12_874_314_816
    assert saved["clean_x_embedder.proj_4x.weight"] == (3072, 16, 4, 8, 8)
    assert saved["single_transformer_blocks.39.proj_out.weight"] == (3072, 15360)
    assert [name for name in ours.state_dict() if keeps_float32(name)] == [
        "output_projection.weight",
        "output_projection.bias",
    ]
    assert describe_transformer(saved, "a file") == {
        name: value for name, value in asdict(TransformerConfig()).items() if name != "rope_theta"
    }


# specs: FramePack 12, and 2.3 for 640 x 640; the last 1280 latent rows of a grid that nothing divides.
@pytest.mark.parametrize(
    ("height", "width", "counts"),
    [
        (480, 832, (14040, 3120, 390, 416)),
        (512, 768, (13824, 3072, 384, 384)),
        (640, 640, (14400, 3200, 400, 400)),
    ],
)
def test_token_counts_of_the_specification(height, width, counts):
    names = ("target", "1x", "2x", "4x")
    indices = {"target": list(range(1, 10)), "1x": [0, 10], "2x": [11, 12], "4x": list(range(13, 29))}
    call = call_of(indices, (height // 8, width // 8))
    config = replace(SMALL, num_attention_heads=1, num_layers=1, num_single_layers=1)
    grid = (height // 16, width // 16)
    rotary = rotary_positions(config, call.conditions, grid, torch.device("cpu"))
    assert rotary.shape == (sum(counts), SMALL.attention_head_dim // 2)
    with torch.device("meta"):
        embedding = FramePackTransformer(config).patch_embedding
    tokens = embedding(call.latents.to("meta"), call.conditions.to(torch.device("meta"), torch.float32))
    assert tokens.shape == (1, sum(counts), config.width)
    for name, count in zip(names[1:], counts[1:], strict=True):
        without = replace(call.conditions, **{f"clean_{name}": None})
        assert len(rotary) - len(rotary_positions(config, without, grid, torch.device("cpu"))) == count
