"""What cannot be done as asked is said at once: what, where, and what to do; nothing is loaded or written."""

import pytest

from reelwright.execution import fp8_products

pytestmark = pytest.mark.usefixtures("small_tiny")


def test_a_misspelt_flag_names_the_nearest(refused):
    said = refused("--guidanc-scale", "3", code=2)
    assert "--guidanc-scale" in said
    assert "--guidance-scale" in said


def test_all_misspelt_keys_of_a_recipe_are_named_with_the_nearest(reelwright, refused, tmp_path):
    (tmp_path / "fox.toml").write_text('promt = "a fox"\nsteps = "four"\n[execution]\ndtyp = "float32"\n')
    said = refused("generate", "cogvideox", "fox.toml", code=2, command=reelwright)
    assert "fox.toml: promt: unknown key. Did you mean prompt?" in said
    assert "fox.toml: execution.dtyp: unknown key. Did you mean execution.dtype?" in said
    assert "fox.toml: steps: 'four' is not a whole number." in said


def test_all_illegal_values_are_named_at_once(refused):
    said = refused("--crf", "200", "--sampler", "ddm", "--steps", "x", "--fps", "inf", code=2)
    assert "crf: 200 is too large. Use 51 or less." in said
    assert "Did you mean ddim?" in said
    assert "steps: 'x' is not a whole number." in said
    assert "fps: inf is not finite" in said


def test_illegal_sizes_and_lengths_are_refused_when_strict(refused):
    said = refused("--height", "100", "--width", "99", "--num-frames", "10", "--strict", "--run", "r", code=2)
    assert "height: 100 is no multiple of 16." in said
    assert "width: 99 is no multiple of 16." in said
    assert "num_frames: 10 is not of the form 8k + 1. Use 9 or 17." in said


def test_illegal_sizes_and_lengths_are_adjusted_with_a_notice_when_not(generate, tmp_path):
    outcome = generate("--height", "60", "--width", "70", "--num-frames", "3", "--run", "run")
    assert outcome.code == 0
    assert "height: 60 is no multiple of 16. Using 64." in outcome.notices
    assert "width: 70 is no multiple of 16. Using 64." in outcome.notices
    assert "Using 1." in outcome.notices


@pytest.mark.parametrize("prompt", ["", "  \n "])
def test_an_empty_prompt_is_refused(refused, prompt):
    said = refused("--prompt", prompt, "--run", "run", code=2)
    assert "prompt: is empty. Describe what to show" in said


def test_a_prompt_of_ten_thousand_words_names_what_is_cut(generate, refused):
    prompt = " ".join(["house"] * 9_999 + ["lighthouse"])
    outcome = generate("--prompt", prompt, "--run", "run")
    assert outcome.code == 0
    assert "prompt: the model reads 64 tokens; this part is cut off: “" in outcome.notices
    assert len(outcome.notices) < 1000
    said = refused("--prompt", prompt, "--strict", "--run", "strict", code=2)
    assert "Shorten it." in said


def test_a_short_cut_is_quoted_whole(generate):
    outcome = generate("--prompt", " ".join(["a red ball"] * 22) + " on the roof", "--run", "run")
    assert "on the roof”" in outcome.notices


def test_unknown_models_and_devices_name_those_that_are_there(refused):
    said = refused("--model", "5b-i2", "--run", "run", code=2)
    assert "model: '5b-i2' is no model, folder or hub id. Did you mean 5b-i2v?" in said
    assert refused("--model", "./nowhere", "--run", "run", code=1).startswith(
        "error: nowhere: there is no such model"
    )
    said = refused("--execution.device", "potato", "--run", "run", code=2)
    assert "'potato' is no device. Use auto, cpu, cuda" in said


def test_flags_that_do_not_go_together_are_refused(refused):
    assert "with --video" in refused("--strength", "0.5", "--run", "run", code=2)
    said = refused("--negative", "zero", "--negative-prompt", "blurry", "--run", "run", code=2)
    assert "negative_prompt: is not read with --negative zero." in said


@pytest.mark.parametrize("flag", ["--out", "--run"])
@pytest.mark.parametrize("place", ["file", "file/below", "/proc/below", "/sys/below"])
def test_folders_that_cannot_be_written_are_refused(refused, tmp_path, flag, place):
    (tmp_path / "file").touch()
    said = refused(flag, place, code=1)
    assert f"{place}: cannot be written" in said
    assert "Choose another folder" in said


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_products_in_eight_bits_are_refused_where_the_device_has_none(
    family, generate, packed, refused, monkeypatch
):
    monkeypatch.setattr(fp8_products, "why_not", lambda device, dtype: f"does not run on {device.type}")
    command = generate if family == "cogvideox" else packed
    words = ("--execution.weights", "fp8", "--execution.fp8-matmul", "on")
    error = refused(*words, code=2, command=command)
    assert error == "error: execution.fp8_matmul: does not run on cpu; or leave it out.\n"
    error = refused("--execution.weights", "int8", *words[2:], code=2, command=command)
    assert "the model has no weights in fp8" in error
