"""Noise on what sections have been shown: how much, where, and where never."""

import pytest
import torch

from reelwright.families.framepack.history_noise import with_history_noise

GROUPS = {"latents_clean": 2, "latents_clean_2x": 2, "latents_clean_4x": 16}


def batch(num_items: int = 3, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """Latents of ones, the last four of the farthest group zeros: a clip that is nearly at its end."""
    tensors = {name: torch.ones(num_items, 4, length, 8, 8, dtype=dtype) for name, length in GROUPS.items()}
    tensors["latents_clean_4x"][:, :, 12:] = 0
    return {**tensors, "latents": torch.ones(num_items, 4, 9, 8, 8), "latent_indices": torch.arange(9)}


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_each_item_has_one_level_in_all_its_history():
    found = with_history_noise(batch(dtype=torch.float32), 0.6, generators(1, 2, 3))
    for item, generator in enumerate(generators(1, 2, 3)):
        level = 0.6 * float(torch.rand((), generator=generator))
        for name in GROUPS:
            history = found[name][item][:, 1:] if name == "latents_clean" else found[name][item][:, :12]
            # 256 values at least: (1 - h) * 1 + h * noise
            assert float(history.mean()) == pytest.approx(1 - level, abs=5 * level / 16)
            assert float(history.std()) == pytest.approx(level, rel=0.2)


def test_start_images_zeros_and_targets_stay_as_they_are():
    before = batch()
    found = with_history_noise(before, 1.0, generators(1, 2, 3))
    assert torch.equal(found["latents_clean"][:, :, 0], before["latents_clean"][:, :, 0])
    assert not found["latents_clean_4x"][:, :, 12:].any()
    assert torch.equal(found["latents"], before["latents"])
    assert all(found[name].dtype == before[name].dtype for name in before)


def test_without_noise_nothing_is_drawn():
    (generator,) = generators(5)
    before = batch(1)
    assert with_history_noise(before, 0.0, [generator]) == before
    assert torch.equal(generator.get_state(), generators(5)[0].get_state())


def test_the_noise_of_an_item_does_not_depend_on_its_neighbors():
    together = with_history_noise(batch(2), 0.5, generators(4, 9))
    alone = with_history_noise(batch(1), 0.5, generators(9))
    for name in GROUPS:
        assert torch.equal(together[name][1], alone[name][0])
