import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.nn.discriminator import ClipBlock, Discriminator, LinearAttention, halve_clip

CLIP = (2, 3, 9, 20, 12)


def clip(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(num_stages: int = 3, num_clip_stages: int = 2) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(4, num_stages=num_stages, num_clip_stages=num_clip_stages).double()


def blurred(frames_BCFHW: Tensor) -> Tensor:
    """Every second frame, row and column of a 1-2-1 blur with repeated edges, as one convolution."""
    line = torch.tensor([0.25, 0.5, 0.25], dtype=frames_BCFHW.dtype)
    kernel = torch.einsum("t,y,x->tyx", line, line, line)[None, None]
    padded = F.pad(frames_BCFHW.flatten(0, 1)[:, None], (1,) * 6, mode="replicate")
    return F.conv3d(padded, kernel, stride=2)[:, 0].unflatten(0, frames_BCFHW.shape[:2])


@pytest.mark.parametrize("num_frames", [1, 5, 9, 17])
def test_clips_of_any_length_get_a_score_for_each_cell(num_frames: int):
    scores = network()(clip(2, 3, num_frames, 20, 12))

    assert scores.shape == (2, 3, 2)
    assert scores.isfinite().all()


def test_later_frames_are_blurred_among_themselves_and_halved():
    frames = clip(2, 3, 9, 6, 8)

    halved = halve_clip(frames)

    assert halved.shape == (2, 3, 5, 3, 4)
    torch.testing.assert_close(halved[:, :, 1:], blurred(frames[:, :, 1:]))


def test_the_first_frame_is_halved_as_a_picture_whatever_follows():
    frames = clip(1, 3, 5, 6, 8)
    still = frames[:, :, :1].expand(-1, -1, 3, -1, -1)

    torch.testing.assert_close(halve_clip(frames)[:, :, :1], blurred(still)[:, :, :1])
    torch.testing.assert_close(halve_clip(frames[:, :, :1]), blurred(still)[:, :, :1])


def test_odd_numbers_of_frames_are_rounded_up():
    assert halve_clip(clip(1, 1, 6, 5, 7)).shape == (1, 1, 4, 3, 4)


def test_a_frame_of_a_block_follows_from_its_past_and_the_frame_that_it_is_paired_with():
    torch.manual_seed(0)
    block = ClipBlock(2, 4).double()
    frames = clip(1, 2, 9, 8, 8)
    changed = frames.clone()
    changed[:, :, 5:] = 0.0  # the second pair of pairs and what follows

    before, after = block(frames), block(changed)

    # Pairs are (1, 2), (3, 4), (5, 6), (7, 8); their blur looks at neither later pair.
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3])
    assert not torch.allclose(before[:, :, 3:], after[:, :, 3:])


def test_linear_attention_is_the_product_of_two_softmaxes():
    torch.manual_seed(0)
    attention = LinearAttention(64).double()
    pictures = clip(2, 64, 3, 5)
    tokens = F.layer_norm(
        pictures.flatten(2).transpose(1, 2), (64,), attention.norm.weight, attention.norm.bias
    )
    query, key, value = (tokens @ attention.query_key_value.weight.T).chunk(3, dim=-1)
    heads = [
        # Every pair of pixels, which the network never lists.
        query[..., head].softmax(-1) @ key[..., head].softmax(1).transpose(1, 2) @ value[..., head]
        for head in (slice(0, 32), slice(32, 64))
    ]
    expected = torch.cat(heads, dim=-1) @ attention.output.weight.T + attention.output.bias

    change = (attention(pictures) - pictures).flatten(2).transpose(1, 2)

    torch.testing.assert_close(change, expected)


def test_every_parameter_learns_and_gradients_reach_the_first_frame():
    discriminator = network()
    pixels = clip(*CLIP).requires_grad_()

    discriminator(pixels).square().mean().backward()

    assert pixels.grad is not None and pixels.grad[:, :, 0].abs().max() > 0
    assert all(
        p.grad is not None and p.grad.abs().max() > 0 for p in discriminator.parameters() if p.dim() > 1
    )


def test_the_gradient_is_that_of_small_changes():
    discriminator = network(num_stages=2, num_clip_stages=1)
    pixels = clip(1, 3, 5, 4, 4).requires_grad_()

    assert torch.autograd.gradcheck(discriminator, pixels, fast_mode=True)


def test_float32_scores_are_those_of_float64():
    exact, single = network(), network().float()
    pixels = clip(*CLIP)

    torch.testing.assert_close(single(pixels.float()).double(), exact(pixels), atol=1e-5, rtol=1e-4)


def test_clips_are_told_from_noisy_copies_after_a_few_steps():
    discriminator = network().float()
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=3e-3)
    moving = torch.linspace(-1, 1, 16).expand(4, 3, 5, 16, 16).clone()
    for step in range(15):
        noisy = moving + 0.5 * clip(*moving.shape, seed=step).float()
        loss = F.relu(1 - discriminator(moving)).mean() + F.relu(1 + discriminator(noisy)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    noisy = moving + 0.5 * clip(*moving.shape, seed=99).float()
    assert discriminator(moving).mean() > discriminator(noisy).mean() + 0.5
