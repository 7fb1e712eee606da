"""Tensors are what their names say, by the naming rules of existing tools."""

import pytest
import torch

from reelwright.data.cache_checks import shape_flaw

HALF = torch.float16


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "is_sound"),
    [
        ("latents_9x6x8_float16", (16, 9, 6, 8), HALF, True),
        ("latents_9x6x8_float16", (16, 8, 6, 8), HALF, False),
        ("latents_9x6x8_float16", (16, 9, 8, 6), HALF, False),
        ("latents_9x6x8_bfloat16", (16, 9, 6, 8), HALF, False),
        ("varlen_latents_9x6x8_float16", (16, 9, 6, 8), HALF, True),
        ("varlen_latents_9x6x8_float16", (16, 9, 6, 7), HALF, False),
        ("latents_9x6x8_float16", (6, 8), HALF, False),
        # Named by the target's frames and number format, whatever their own are.
        ("latents_clean_9x6x8_float16", (16, 2, 6, 8), HALF, True),
        ("latents_clean_4x_9x6x8_bfloat16", (16, 16, 6, 8), HALF, True),
        ("latents_clean_2x_9x6x8_float16", (16, 2, 6, 9), HALF, False),
        ("image_latents_1x6x8_float16", (16, 1, 6, 8), HALF, True),
        ("image_latents_1x6x8_float16", (16, 2, 6, 8), HALF, False),
        # These carry no shape, and the embedding of an image another's number format.
        ("image_embeddings_float16", (729, 1152), torch.float32, True),
        ("latent_indices_int64", (9,), torch.int64, True),
        ("llama_attention_mask", (512,), torch.bool, True),
        ("anything", (1,), HALF, True),
    ],
)
def test_a_tensor_is_told_that_is_not_what_its_name_says(name, shape, dtype, is_sound):
    flaw = shape_flaw({"clip_l_pooler_float16": torch.ones(768), name: torch.ones(shape).to(dtype)})
    assert (flaw == "") == is_sound
    assert is_sound or name in flaw
