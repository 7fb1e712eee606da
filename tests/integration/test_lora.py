"""LoRAs from the command line: applied, written into models, converted, and refused."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from reelwright import families

TOLERANCE = 1e-4


def latents(run: Path) -> Tensor:
    (file,) = run.glob("*.latent.safetensors")
    (tensor,) = load_file(file).values()
    return tensor


def num_modules(path: Path) -> int:
    """Of a LoRA in kohya's names."""
    return sum(name.endswith(".alpha") for name in load_file(path))


def test_a_lora_changes_a_clip_equally_merged_and_beside_the_weights(generate, lora_of, tmp_path):
    path = lora_of("cogvideox")
    only = ("--format", "latent", "--no-contact-sheet")
    generate("--run", "plain", *only)
    outcome = generate("--run", "merged", "--lora", path, *only)
    assert outcome.code == 0, outcome.err
    count = num_modules(path)
    assert f"{count} of {count} modules match, {count} weights change at multiplier 1" in outcome.notices
    generate("--run", "beside", "--lora", path, "--lora-mode", "unmerged", *only)
    generate("--run", "off", "--lora", path, "--lora-multiplier", "0", *only)
    plain, merged, beside, off = (latents(tmp_path / run) for run in ("plain", "merged", "beside", "off"))
    assert (merged - plain).abs().max() > 0.01
    assert (merged - beside).abs().max() < TOLERANCE
    assert torch.equal(off, plain)


def test_a_merged_model_loads_again_and_nothing_is_generated(generate, reelwright, lora_of, tmp_path):
    path, released = lora_of("cogvideox"), Path(families.__file__).parents[1] / "assets" / "cogvideox-tiny"
    for place in ("merged.safetensors", "merged"):
        outcome = reelwright("generate", "cogvideox", "--lora", path, "--save-merged-model", place)
        assert outcome.code == 0, outcome.err
        assert outcome.out == f"model: {place}\n"
        assert outcome.loaded == ["CogVideoXTransformer"]
        assert not (tmp_path / "outputs").exists()
    before = load_file(released / "transformer" / "diffusion_pytorch_model.safetensors")
    after = load_file(tmp_path / "merged.safetensors")
    loaded = CogVideoXTransformer3DModel.from_pretrained(tmp_path / "merged").state_dict()
    tensors = load_file(path)
    assert sorted(after) == sorted(before)
    for name, weight in before.items():
        stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        change = torch.zeros(())
        if f"{stem}.lora_up.weight" in tensors:
            change = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"]
        assert after[name].dtype == weight.dtype
        assert torch.allclose(after[name].float(), weight.float() + change, rtol=1e-3, atol=1e-4), name
        assert torch.equal(loaded[name].to(weight.dtype), after[name]), name
    # The heads of the tiny model are not of the released size: config.json beside the weights says it.
    assert generate("--run", "again", "--dit", "merged", "--format", "latent").code == 0


def test_the_packed_model_is_merged_and_loads_again(reelwright, lora_of, tmp_path):
    path = lora_of("framepack")
    outcome = reelwright("generate", "framepack", "--lora", path, "--save-merged-model", "merged")
    assert outcome.code == 0, outcome.err
    assert f"{num_modules(path)} of {num_modules(path)} modules match" in outcome.notices
    again = reelwright(
        "generate", "framepack", "--dit", "merged", "--lora", path, "--save-merged-model", "twice.safetensors"
    )
    assert again.code == 0, again.err
    once, twice = (
        load_file(tmp_path / "merged/diffusion_pytorch_model.safetensors"),
        load_file("twice.safetensors"),
    )
    tensors = load_file(path)
    name = "single_transformer_blocks.1.proj_mlp"
    stem = f"lora_unet_{name.replace('.', '_')}"
    change = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"]
    difference = twice[f"{name}.weight"].float() - once[f"{name}.weight"].float()
    assert torch.allclose(difference, change, atol=2e-3)


def test_a_lora_of_another_family_is_named_before_anything_loads(refused, lora_of):
    path = lora_of("framepack")
    said = refused("--lora", path, code=1)
    assert "modules are in" in said
    assert f"It is a LoRA for framepack: reelwright generate framepack --lora {path}" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--lora", "missing.safetensors"), 1, "missing.safetensors"),
        (("--save-merged-model", "x"), 2, "save_merged_model: is given without a LoRA"),
        (("--lora-exclude", "x"), 2, "lora_exclude: is given without a LoRA"),
    ],
)
def test_lora_options_that_make_no_sense_are_refused(refused, words, code, said):
    assert said in refused(*words, code=code)


def test_a_file_that_is_no_lora_is_refused(refused, lora_of, tmp_path):
    path = lora_of("cogvideox")
    for content, said in (
        (path.read_bytes()[:-50], "the file ends early"),
        (b"<!DOCTYPE html>", "this is a web page"),
        (b"", "the file is empty"),
    ):
        path.write_bytes(content)
        assert said in refused("--lora", path, code=1)


def test_a_clip_is_made_again_with_the_same_lora_only(generate, reelwright, lora_of, digests, tmp_path):
    path = lora_of("cogvideox")
    generate("--run", "made", "--lora", path, "--lora-multiplier", "0.5")
    path.rename(tmp_path / "moved.safetensors")
    clip = "made/clip-001_seed-3.mp4"
    assert reelwright("replay", clip, "--run", "again").code == 1
    outcome = reelwright("replay", clip, "--run", "again", "--lora", "moved.safetensors")
    assert outcome.code == 0, outcome.err
    assert sorted(digests(tmp_path / "made").values()) == sorted(digests(tmp_path / "again").values())
    other = lora_of("cogvideox", seed=1)
    outcome = reelwright("replay", clip, "--run", "third", "--lora", other)
    assert outcome.code == 1
    assert "lora 1: these are other weights" in outcome.err


def test_lora_files_are_looked_into_without_naming_a_family(reelwright, lora_of):
    for family in families.names():
        path = lora_of(family)
        count, outcome = num_modules(path), reelwright("lora", "inspect", path)
        assert outcome.code == 0, outcome.err
        facts = dict(line.split(": ", 1) for line in outcome.out.splitlines())
        assert facts["family"] == family
        assert facts["modules"] == f"{count}; of the {count} usual ones {count}"
    events = reelwright("lora", "inspect", lora_of("cogvideox"), "--json").events
    assert [event["event"] for event in events] == ["stage_started", "facts"]


def test_converted_and_merged_files_work_as_the_originals(generate, reelwright, lora_of, tmp_path):
    first, second = lora_of("cogvideox", 0), lora_of("cogvideox", 1)
    assert reelwright("lora", "convert", first, "first.safetensors", "--to", "diffusers").code == 0
    words = ("first.safetensors", second, "--multipliers", "0.5", "1.5", "--out", "both.safetensors")
    outcome = reelwright("lora", "merge", *words)
    assert (outcome.code, outcome.out) == (0, "lora: both.safetensors\n"), outcome.err
    only = ("--format", "latent", "--no-contact-sheet")
    generate("--run", "apart", "--lora", first, second, "--lora-multiplier", "0.5", "1.5", *only)
    generate("--run", "joined", "--lora", "both.safetensors", *only)
    assert (latents(tmp_path / "apart") - latents(tmp_path / "joined")).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("inspekt", "x"), "Did you mean inspect?"),
        (("merge", "x"), "give at least two files"),
        (("convert", "x", "y", "--alpha", "-1"), "alpha"),
        (("convert", "x", "y", "--familly", "cogvideox"), "--familly"),
    ],
)
def test_wrong_lora_commands_are_explained(reelwright, words, said):
    outcome = reelwright("lora", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_lora_commands_have_help(reelwright):
    assert "merge" in reelwright("lora", "--help").out
    for action in ("inspect", "convert", "merge"):
        assert "--family" in reelwright("lora", action, "--help").out


def test_the_record_of_a_clip_holds_its_loras(generate, lora_of, tmp_path):
    path = lora_of("cogvideox")
    generate("--run", "made", "--lora", path, "--lora-include", "to_q")
    with (tmp_path / "made" / "recipe.toml").open() as file:
        recipe = file.read()
    assert json.dumps(str(path)) in recipe
    assert "to_q" in recipe


def test_strengths_change_from_section_to_section_and_fall_back_to_those_of_the_run(
    reelwright, lora_of, tmp_path
):
    """The last section is made first, with a strength of its own; the one before it with the run's."""
    section = "[[section]]\nprompt = 'a red ball'\n"
    story = f"{section}{section}lora_multipliers = [{{}}]\n"
    small = ("--height", "64", "--width", "64", "--latent-window-size", "2", "--steps", "1", "--seed", "3")
    words = (*small, "--format", "latent", "--no-preview-sections", "--lora", lora_of("framepack"))
    for name, own in (("same", 0.5), ("other", 2.0)):
        (tmp_path / f"{name}.toml").write_text(story.format(own))
        outcome = reelwright(
            *("generate", "framepack", "--story", f"{name}.toml", "--lora-multiplier", "0.5"),
            *(*words, "--run", name),
        )
        assert outcome.code == 0, outcome.err
        assert "LoRAs run unmerged" in outcome.notices
    texts = ("--prompt", "a red ball", "--video-sections", "2", "--lora-mode", "unmerged")
    for name, strength in (("plain", 0.5), ("strong", 2.0)):
        run = ("--lora-multiplier", strength, "--run", name)
        assert reelwright("generate", "framepack", *words, *texts, *run).code == 0
    same, other, plain, strong = (latents(tmp_path / run) for run in ("same", "other", "plain", "strong"))
    last = slice(3, 5)
    assert torch.equal(same, plain)
    assert torch.equal(other[:, :, last], strong[:, :, last])
    assert not torch.equal(other[:, :, 1:3], strong[:, :, 1:3])
    assert not torch.equal(other[:, :, last], same[:, :, last])


def test_strengths_of_a_storyboard_do_not_reach_the_next_clip_of_a_batch(
    packed, lora_of, latents_of, tmp_path
):
    (tmp_path / "story.toml").write_text("[[section]]\nprompt = 'a dog'\nlora_multipliers = [3.0]\n")
    (tmp_path / "prompts.txt").write_text("--story story.toml --d 4\na red ball\n")
    words = ("--lora", lora_of("framepack"), "--lora-mode", "unmerged", "--video-sections", "1")
    run = ("--from-file", "prompts.txt", "--prompt", "", "--format", "latent", "--run", "run")
    outcome = packed(*words, *run)
    assert outcome.code == 0, outcome.err
    second = latents_of(at="run/clip-002_seed-3.latent.safetensors")
    assert torch.equal(second, latents_of(*words))


@pytest.mark.parametrize("family", families.names())
def test_a_lora_comes_back_out_of_the_model_it_was_merged_into(family, reelwright, lora_of, tmp_path):
    path = lora_of(family)
    base = Path(families.__file__).parents[1] / "assets" / f"{family}-tiny"
    merging = reelwright("generate", family, "--lora", path, "--save-merged-model", "merged")
    assert merging.code == 0, merging.err
    found = reelwright("lora", "extract", base, "merged", "extracted.safetensors", "--rank", "4")
    assert found.code == 0, found.err
    before, after = load_file(path), load_file(tmp_path / "extracted.safetensors")
    assert after.keys() == before.keys()
    for name in before:
        if name.endswith("lora_up.weight"):
            down = name.replace("lora_up", "lora_down")
            error = (after[name] @ after[down] - before[name] @ before[down]).norm()
            # Merged weights are rounded to the tiny models' own number format, of eight or eleven bits.
            assert error < 0.05 * (before[name] @ before[down]).norm(), name


def test_models_and_layouts_that_extract_cannot_take_are_refused(reelwright, lora_of):
    assets = Path(families.__file__).parents[1] / "assets"
    same, other = assets / "cogvideox-tiny", assets / "framepack-tiny"
    own = ("--family", "cogvideox")
    outcome = reelwright("lora", "extract", same, same, "out.safetensors", *own)
    assert (outcome.code, "There is nothing to extract" in outcome.err) == (1, True)
    outcome = reelwright("lora", "extract", same, other, "out.safetensors")
    assert (outcome.code, "the tensors do not fit this model" in outcome.err) == (1, True)
    outcome = reelwright("lora", "extract", same, same, "out.safetensors", *own, "--to", "pfet")
    assert (outcome.code, "Did you mean peft?" in outcome.err) == (2, True)


def test_files_of_a_training_are_averaged_in_the_order_given(reelwright, lora_of, tmp_path):
    paths = [lora_of("cogvideox", seed) for seed in range(3)]
    outcome = reelwright("lora", "ema", *paths, "--out", "averaged.safetensors", "--beta", "0.5")
    assert outcome.code == 0, outcome.err
    averaged, files = load_file(tmp_path / "averaged.safetensors"), [load_file(path) for path in paths]
    for name, tensor in averaged.items():
        first, second, third = (file[name] for file in files)
        assert torch.allclose(tensor, first / 4 + second / 4 + third / 2, atol=1e-6)
    assert reelwright("generate", "cogvideox", "--lora", "averaged.safetensors", "--save-merged-model", "m")
    assert reelwright("lora", "ema", paths[0]).code == 2
    both = reelwright("lora", "ema", *paths, "--sigma-rel", "0.1", "--beta-end", "0.9")
    assert (both.code, "has a course of its own" in both.err) == (2, True)
    over = reelwright("lora", "ema", *paths, "--out", paths[0])
    assert (over.code, "is what is read" in over.err) == (2, True)
