"""How a model attends, and whether its blocks are compiled, from the command line."""

import pytest
import torch

TRACED = ("--execution.compile", "blocks", "--execution.compile-backend", "eager")


@pytest.fixture(autouse=True)
def _nothing_traced():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_traced_blocks_and_a_kernel_that_is_not_there_leave_every_byte_as_it_was(
    family, generate, packed, latents_of
):
    command = generate if family == "cogvideox" else packed
    assert command("--format", "latent", "--run", "plain").code == 0
    traced = command("--format", "latent", "--run", "traced", *TRACED, "--execution.attention", "xformers")
    assert traced.code == 0, traced.err
    assert "note: execution.attention: xformers is not installed" in traced.notices
    assert "pip install 'reelwright[xformers]'" in traced.notices
    assert torch.equal(latents_of(at="plain"), latents_of(at="traced"))
