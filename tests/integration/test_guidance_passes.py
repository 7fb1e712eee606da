"""Both prompts of guidance in one batch, or one after the other."""

import pytest

pytestmark = pytest.mark.usefixtures("small_tiny")
RELATIVE = 5e-6
"""Of the largest value: a matrix product of two samples rounds otherwise than two products, by 1e-7, which
guidance makes larger by its scale in each of two steps."""
ONE, TWO = ("--execution.guidance-passes", "together"), ("--execution.guidance-passes", "apart")
LATENTS = ("--format", "latent", "--no-contact-sheet", "--preview-every", "0")


def test_clips_are_equal_up_to_rounding_and_together_as_released(generate, digests, latents_of, tmp_path):
    for run, words in (("auto", ()), ("together", ONE), ("apart", TWO)):
        assert generate("--run", run, *LATENTS, *words).code == 0
    auto, together, apart = (latents_of(at=run) for run in ("auto", "together", "apart"))
    assert (together == auto).all()
    assert (apart != together).any()
    assert (apart - together).abs().max() < RELATIVE * together.abs().max()


def test_sections_are_equal_up_to_rounding_and_apart_as_released(latents_of):
    words = (
        "--guidance-scale",
        "3",
        "--guidance-rescale",
        "0.5",
        "--negative-prompt",
        "a long blurred thing",
    )
    auto, apart, together = (latents_of(*words, *way) for way in ((), TWO, ONE))
    assert (apart == auto).all()
    assert (apart != together).any()
    assert (apart - together).abs().max() < RELATIVE * apart.abs().max()


@pytest.mark.parametrize("choice", ["together", "apart"])
def test_a_choice_without_guidance_is_refused(refused, packed, choice):
    words = ("--execution.guidance-passes", choice)
    assert "guidance_passes: has no effect" in refused("--guidance-scale", "1", *words, code=2)
    assert "guidance_passes: has no effect" in refused(*words, code=2, command=packed)
