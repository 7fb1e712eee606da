"""What FramePack learns from a step: loss and gradients beside a reference in float64.

The reference noises in numpy and asks diffusers' network, which has the same weights.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reelwright.core.errors import FileError
from reelwright.families.framepack.config import FramePackNoiseConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.objective import FramePackObjective
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.training import Batch

from .released import scatter_norms
from .test_framepack_transformer import BASE, F1, SMALL, reference_transformer

BOUND = 1e-5
"""Largest error of a gradient over the largest gradient: noise is mixed, and queries turned, in float32."""
LAYOUTS = {
    "base": BASE,
    "f1": F1,
    "one frame": {"target": [9], "1x": [0, 10], "2x": [11, 12], "4x": list(range(13, 29))},
}
NAMES = {
    "1x": ("latents_clean", "clean_latent_indices"),
    "2x": ("latents_clean_2x", "clean_latent_2x_indices"),
    "4x": ("latents_clean_4x", "clean_latent_4x_indices"),
}
CPU = torch.device("cpu")
NOISE = FramePackNoiseConfig(timestep_sampling="shift", weighting="cosmap")


@pytest.fixture(scope="module")
def networks():
    """Ours, and the reference whose weights it has."""
    torch.manual_seed(0)
    reference = reference_transformer(SMALL).double().eval()
    scatter_norms(reference)
    ours = FramePackTransformer(SMALL).double()
    ours.load_state_dict(RELEASED_TRANSFORMER.to_ours(reference.state_dict()))
    return ours.train(), reference


def batch_of(layout, lengths=(3, 7), seeds=(11, 2**62 + 5), size=(6, 8)):
    random = torch.Generator().manual_seed(4)
    count, channels = len(lengths), SMALL.in_channels

    def stored(*shape):
        return torch.randn(count, *shape, generator=random).half()

    def rows(indices):
        return torch.tensor(indices).repeat(count, 1)

    tensors = {
        "latents": stored(channels, len(layout["target"]), *size),
        "latent_indices": rows(layout["target"]),
        "image_embeddings": stored(5, SMALL.image_proj_dim),
        "llama_vec": stored(9, SMALL.text_embed_dim),
        "llama_attention_mask": torch.arange(9) < torch.tensor(lengths)[:, None],
        "clip_l_pooler": stored(SMALL.pooled_projection_dim),
    }
    for group, (latents, indices) in NAMES.items():
        if group in layout:
            tensors[latents] = stored(channels, len(layout[group]), *size)
            tensors[indices] = rows(layout[group])
    places = range(count)
    return Batch(
        epoch=0,
        number=0,
        names=tuple(f"clip {place}" for place in places),
        group="",
        tensors=tensors,
        lists={},
        seeds=seeds,
        places=tuple(places),
        num_places=count,
    )


def reference_step(reference, batch):
    """Loss of the batch, as the reference leaves its gradients in the network."""
    tensors = {name: tensor.double() for name, tensor in batch.tensors.items() if tensor.is_floating_point()}
    clean, levels, weights, noises = tensors["latents"].numpy(), [], [], []
    for seed in batch.seeds:
        generator = torch.Generator().manual_seed(seed)
        where = torch.rand(2, generator=generator, dtype=torch.float64)[1]
        level = 1 / (1 + torch.exp(-torch.special.ndtri(where))).item()
        level = 3 * level / (1 + 2 * level)
        levels.append(level)
        weights.append(2 / (np.pi * (1 - 2 * level + 2 * level**2)))
        noises.append(torch.randn(clean.shape[1:], generator=generator).double().numpy())
    noise, t = np.stack(noises), np.array(levels)[:, None, None, None, None]
    groups = {}
    for group, name in {"1x": "clean", "2x": "history_2x", "4x": "history_4x"}.items():
        latents, indices = NAMES[group]
        groups[f"latents_{name}"] = tensors.get(latents)
        groups[f"indices_latents_{name}"] = batch.tensors[indices][0] if latents in tensors else None
    prediction = reference(
        hidden_states=torch.from_numpy((1 - t) * clean + t * noise),
        timestep=1000 * torch.tensor(levels, dtype=torch.float64),
        encoder_hidden_states=tensors["llama_vec"],
        encoder_attention_mask=batch.tensors["llama_attention_mask"],
        pooled_projections=tensors["clip_l_pooler"],
        image_embeds=tensors["image_embeddings"],
        guidance=torch.full((len(levels),), 10_000.0, dtype=torch.float64),
        indices_latents=batch.tensors["latent_indices"][0],
        **groups,
    ).sample
    errors = (prediction - torch.from_numpy(noise - clean)) ** 2
    loss = sum(weight * each.mean() for weight, each in zip(weights, errors, strict=True)) / len(weights)
    loss.backward()
    return loss.item()


def our_step(ours, batch, noise=NOISE):
    example = FramePackObjective(noise=noise, device=CPU, dtype=torch.float64).example(batch)
    prediction = ours(example.noisy_BCTHW, example.timestep_B, example.conditions)
    errors = (prediction - example.target_BCTHW).square().flatten(1).mean(1)
    loss = (errors * example.weight_B).mean()
    loss.backward()
    return loss.item()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_of_a_step_are_those_of_the_reference(networks, layout):
    ours, reference = networks
    batch = batch_of(LAYOUTS[layout])
    ours.zero_grad()
    reference.zero_grad()
    expected_loss = reference_step(reference, batch)
    assert 0.5 < expected_loss < 20
    assert our_step(ours, batch) == pytest.approx(expected_loss, rel=1e-6)
    gradients = {name: each.grad for name, each in reference.named_parameters() if each.grad is not None}
    expected = RELEASED_TRANSFORMER.to_ours(gradients)
    found = {name: each.grad for name, each in ours.named_parameters() if each.grad is not None}
    assert found.keys() == expected.keys()
    largest = max(each.abs().max().item() for each in expected.values())
    errors = {name: (found[name] - expected[name]).abs().max().item() / largest for name in expected}
    assert max(errors.values()) < BOUND, max(errors, key=errors.get)


def test_an_item_is_asked_the_same_in_any_batch():
    objective = FramePackObjective(noise=NOISE, device=CPU, dtype=torch.float32)
    batch = batch_of(LAYOUTS["base"])
    whole = objective.example(batch)
    for index in range(2):
        alone = replace(
            batch,
            names=batch.names[index : index + 1],
            seeds=batch.seeds[index : index + 1],
            places=batch.places[index : index + 1],
            tensors={name: tensor[index : index + 1] for name, tensor in batch.tensors.items()},
        )
        question = objective.example(alone)
        for name in ("noisy_BCTHW", "timestep_B", "target_BCTHW", "weight_B", "level_B"):
            assert torch.equal(getattr(question, name)[0], getattr(whole, name)[index])


def test_levels_that_are_given_change_neither_noise_nor_weights():
    objective = FramePackObjective(noise=NOISE, device=CPU, dtype=torch.float32)
    batch = batch_of(LAYOUTS["base"])
    drawn, given = objective.example(batch), objective.example(batch, torch.tensor([0.0, 1.0]))
    assert torch.equal(given.target_BCTHW, drawn.target_BCTHW)
    assert given.weight_B.tolist() == [1, 1]
    assert given.timestep_B.tolist() == [0, 1000]
    clean = batch.tensors["latents"].float()
    assert torch.equal(given.noisy_BCTHW[0], clean[0])
    torch.testing.assert_close(given.noisy_BCTHW[1], given.target_BCTHW[1] + clean[1])


def test_noise_on_history_changes_nothing_else_and_is_no_part_of_judging():
    noisy = FramePackNoiseConfig(timestep_sampling="shift", weighting="cosmap", history_noise=0.5)
    plain, with_noise = (
        FramePackObjective(noise=noise, device=CPU, dtype=torch.float32) for noise in (NOISE, noisy)
    )
    batch = batch_of(LAYOUTS["f1"])
    one, other = plain.example(batch), with_noise.example(batch)
    for name in ("noisy_BCTHW", "timestep_B", "target_BCTHW", "weight_B", "level_B"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for group in ("clean_1x", "clean_2x", "clean_4x"):
        before, after = (getattr(each.conditions, group) for each in (one, other))
        assert not torch.equal(before.latents_BCTHW, after.latents_BCTHW)
        assert torch.equal(before.indices_BT, after.indices_BT)
    judged = with_noise.example(batch, torch.tensor([0.2, 0.8])).conditions
    assert torch.equal(judged.clean_4x.latents_BCTHW, one.conditions.clean_4x.latents_BCTHW)


def test_the_noise_of_an_item_does_not_depend_on_how_levels_are_drawn():
    batch = batch_of(LAYOUTS["f1"])
    targets = [
        FramePackObjective(noise=noise, device=CPU, dtype=torch.float32).example(batch).target_BCTHW
        for noise in (
            NOISE,
            FramePackNoiseConfig(timestep_sampling="sigma", compat=True),
            FramePackNoiseConfig(timestep_sampling="qinglong_flux", num_timestep_buckets=4),
        )
    ]
    assert all(torch.equal(target, targets[0]) for target in targets)


def test_guidance_is_rounded_as_in_generation_unless_the_other_trainer_is_followed():
    batch = batch_of(LAYOUTS["base"])
    objective = FramePackObjective(noise=NOISE, device=CPU, dtype=torch.bfloat16)
    example = objective.example(batch)
    assert example.conditions.guidance_B.tolist() == [9984, 9984]
    assert example.noisy_BCTHW.dtype == example.conditions.text_BLD.dtype == torch.bfloat16
    assert example.timestep_B.dtype == example.target_BCTHW.dtype == torch.float32
    old = replace(objective, noise=replace(NOISE, compat=True, distilled_guidance=1.0)).example(batch)
    assert old.conditions.guidance_B.tolist() == [1000, 1000]
    assert (old.timestep_B - example.timestep_B).tolist() == pytest.approx([1, 1], abs=1e-3)


def test_groups_of_clean_latents_that_a_layout_leaves_out_are_not_asked_about():
    objective = FramePackObjective(noise=NOISE, device=CPU, dtype=torch.float32)
    conditions = objective.example(batch_of({"target": [1], "1x": [0, 10]})).conditions
    assert conditions.clean_2x is None and conditions.clean_4x is None
    assert conditions.clean_1x.indices_BT.tolist() == [[0, 10], [0, 10]]


def test_a_caption_without_tokens_is_told_by_name():
    objective = FramePackObjective(noise=NOISE, device=CPU, dtype=torch.float32)
    with pytest.raises(FileError, match=r"^clip 1: its caption has no tokens"):
        objective.example(batch_of(LAYOUTS["base"], lengths=(3, 0)))
