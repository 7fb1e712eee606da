"""Rough colors of latents."""

import torch

from reelwright.media.latent_preview import fit_latent_colors, paint_latents


def test_a_linear_map_from_colors_to_latents_is_undone_exactly():
    generator = torch.manual_seed(0)
    mixing, offset = torch.randn(16, 3, generator=generator), torch.randn(16, generator=generator)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape == (27, 3, 1, 32, 32)
        cells = pixels[..., ::8, ::8]
        return torch.einsum("oc,bcfhw->bofhw", mixing, cells) + offset[:, None, None, None]

    colors = fit_latent_colors(encode)
    assert colors.shape == (17, 3)
    picture = torch.randint(0, 256, (5, 4, 6, 3), generator=generator)
    pixels = (picture / 127.5 - 1).permute(3, 0, 1, 2)
    latents = torch.einsum("oc,cfhw->ofhw", mixing, pixels) + offset[:, None, None, None]
    painted = paint_latents(latents, colors, num_frames=5)
    assert painted.shape == (4, 5 * 6, 3)
    for frame in range(5):
        shown = painted[:, 6 * frame : 6 * (frame + 1)]
        assert (shown.int() - picture[frame].int()).abs().max() <= 1


def test_the_first_and_the_last_frame_are_always_shown():
    latents = torch.linspace(-1, 1, 7).view(1, 7, 1, 1).expand(1, 7, 2, 2)
    grays = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    painted = paint_latents(latents, grays)
    assert painted[0, ::2, 0].tolist() == [0, 128, 255]


def test_fewer_frames_than_asked_for_are_shown_once():
    assert paint_latents(torch.zeros(1, 1, 2, 3), torch.zeros(2, 3)).shape == (2, 3, 3)


def test_colors_outside_the_range_are_cut():
    grays = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    painted = paint_latents(torch.tensor([-9.0, 9.0]).view(1, 1, 1, 2), grays)
    assert painted[0, :, 0].tolist() == [0, 255]
