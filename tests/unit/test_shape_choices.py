"""The sizes and lengths that are offered are those that the families make."""

import subprocess
import sys

import pytest

from reelwright import families
from reelwright.media.geometry import FrameRule
from reelwright.web.settings import Settings

_MODELS = [(name, variant.name) for name in families.names() for variant in families.configs(name).VARIANTS]


def _choices(family, **values):
    configs = families.configs(family)
    return configs.SHAPES(Settings(configs.GENERATE, values).config())


@pytest.mark.parametrize(("family", "model"), _MODELS)
def test_every_variant_offers_its_own_size_first_and_comes_to_it(family, model):
    choices = _choices(family, model=model)
    assert choices.sizes[0] == choices.size
    assert choices.length in choices.lengths
    assert all(side % choices.side_step == 0 for size in choices.sizes for side in size)


@pytest.mark.parametrize(("family", "model"), _MODELS)
def test_what_a_length_sets_comes_to_that_length(family, model):
    for length in _choices(family, model=model).lengths:
        said = {name: value for name, value in length.values.items() if value is not None}
        assert _choices(family, model=model, **said).length.frames == length.frames


@pytest.mark.parametrize(
    ("model", "size", "frames", "step", "seconds"),
    [("5b", (720, 480), 49, 8, 49 / 8), ("1.5-5b", (1360, 768), 81, 16, 81 / 16)],
)
def test_released_models_offer_what_their_papers_say(model, size, frames, step, seconds):
    choices = _choices("cogvideox", model=model)
    assert (choices.size, choices.length.frames, choices.length.seconds) == (size, frames, seconds)
    assert all(FrameRule(step=step).allows(length.frames) for length in choices.lengths)


def test_a_model_with_a_table_of_positions_makes_one_size_only():
    assert _choices("cogvideox", model="5b-i2v").is_only_size
    assert not _choices("cogvideox", model="5b").is_only_size


def test_sections_of_another_window_are_of_another_length():
    nine = _choices("framepack", video_sections=2)
    five = _choices("framepack", video_sections=2, latent_window_size=5)
    assert (nine.length.frames, five.length.frames) == (2 * 36 + 1, 2 * 20 + 1)


def test_a_number_of_sections_that_is_not_listed_is_offered_too():
    assert 17 * 36 + 1 in [length.frames for length in _choices("framepack", video_sections=17).lengths]


def test_a_model_that_is_not_at_hand_offers_nothing():
    assert _choices("cogvideox", model="somebody/something") is None


def test_shapes_are_told_without_torch_and_numpy():
    code = (
        "import sys; from reelwright import families\n"
        "for name in families.names():\n"
        "    configs = families.configs(name); assert configs.SHAPES(configs.GENERATE())\n"
        "assert not {'torch', 'numpy', 'PIL', 'av'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
