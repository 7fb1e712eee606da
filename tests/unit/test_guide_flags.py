"""The flags of another program's command line: known names and defaults, and what each is here."""

import tomllib
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.cli.musubi import configure, parse
from reelwright.core.errors import ConfigError
from reelwright.protocols.configs import GenerateConfig

FAMILY, COMMAND = families.guide_command("fpack_generate_video")
# specs: FramePack 8.1, with None where the program does without.
DOCUMENTED: dict[str, Any] = {
    **dict.fromkeys(("dit", "vae", "text_encoder1", "text_encoder2", "image_encoder", "save_path")),
    **dict.fromkeys(("lora_weight", "include_patterns", "exclude_patterns", "save_merged_model")),
    **dict.fromkeys(("prompt", "negative_prompt", "custom_system_prompt", "video_sections", "seed")),
    **dict.fromkeys(("flow_shift", "image_path", "end_image_path", "latent_paddings", "one_frame_inference")),
    **dict.fromkeys(("control_image_path", "control_image_mask_path", "rope_scaling_timestep_threshold")),
    **dict.fromkeys(("vae_chunk_size", "vae_spatial_tile_sample_min_size", "latent_path", "device")),
    **dict.fromkeys(("magcache_mag_ratios", "from_file")),
    **dict.fromkeys(("f1", "lycoris", "one_frame_auto_resize", "fp8", "fp8_scaled", "fp8_llm"), False),
    **dict.fromkeys(("vae_tiling", "bulk_decode", "use_pinned_memory_for_block_swap"), False),
    **dict.fromkeys(("no_metadata", "disable_numpy_memmap", "compile", "compile_fullgraph"), False),
    **dict.fromkeys(("magcache_calibration", "interactive"), False),
    "sample_solver": "unipc",
    "lora_multiplier": 1.0,
    "video_size": (256, 256),
    "video_seconds": 5.0,
    "fps": 30,
    "infer_steps": 25,
    "latent_window_size": 9,
    "embedded_cfg_scale": 10.0,
    "guidance_scale": 1.0,
    "guidance_rescale": 0.0,
    "rope_scaling_factor": 0.5,
    "attn_mode": "torch",
    "blocks_to_swap": 0,
    "output_type": "video",
    "compile_backend": "inductor",
    "compile_mode": "default",
    "compile_dynamic": None,
    "compile_cache_size_limit": None,
    "magcache_retention_ratio": 0.2,
    "magcache_threshold": 0.24,
    "magcache_k": 6,
}
OURS = {"model", "tokenizer1", "tokenizer2"}


def read(*words: str) -> tuple[list[GenerateConfig], list[str]]:
    values, notices = parse(COMMAND, words)
    return [run.config for run in configure(COMMAND, values)], notices


def config(*words: str) -> Any:
    configs, _ = read("--dit", "dit.safetensors", "--save_path", "out", *words)
    (made,) = configs
    return made


def changed(*words: str) -> dict[str, Any]:
    """The fields that words change, those of groups with a dot."""
    return dict(set(flat(config(*words)).items()) - set(flat(config()).items()))


def flat(made: Any, group: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(made):
        value = getattr(made, field.name)
        values |= flat(value, f"{field.name}.") if is_dataclass(value) else {f"{group}{field.name}": value}
    return values


def problem(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*words)
    return str(caught.value)


def test_every_documented_flag_is_known_with_its_default():
    assert {flag.name: flag.default for flag in COMMAND.flags if flag.name not in OURS} == DOCUMENTED


def test_without_flags_the_program_s_defaults_are_ours():
    made = config()
    assert (made.height, made.width, made.fps, made.steps) == (256, 256, 30.0, 25)
    assert (made.distilled_guidance, made.guidance_scale, made.guidance_rescale) == (10.0, 1.0, 0.0)
    assert (made.sampler, made.flow_shift, made.seed) == ("unipc", 0.0, -1)
    assert (made.video_seconds, made.video_sections, made.latent_window_size) == (5.0, 0, 9)
    assert (made.model, made.direction, made.format) == ("base", "backward", "mp4")
    assert (made.rope_scaling_factor, made.rope_scaling_timestep_threshold) == (0.5, -1.0)
    assert (made.dit, made.out) == (Path("dit.safetensors"), Path("out"))
    assert not made.execution.tiling
    assert made.metadata


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--vae v.pt", {"vae": Path("v.pt")}),
        ("--text_encoder1 a", {"text_encoder": Path("a")}),
        ("--text_encoder2 a", {"text_encoder_2": Path("a")}),
        ("--image_encoder a", {"image_encoder": Path("a")}),
        ("--tokenizer1 a --tokenizer2 b", {"tokenizer": Path("a"), "tokenizer_2": Path("b")}),
        ("--f1", {"direction": "forward", "model": "f1"}),
        ("--model tiny", {"model": "tiny"}),
        ("--lora_weight a b", {"lora": (Path("a"), Path("b")), "lora_multiplier": (1.0, 1.0)}),
        (
            "--lora_weight a b --lora_multiplier 0.5",
            {"lora": (Path("a"), Path("b")), "lora_multiplier": (0.5, 1.0)},
        ),
        (
            "--include_patterns a b --exclude_patterns c",
            {"lora_include": ("a", "b"), "lora_exclude": ("c",)},
        ),
        ("--save_merged_model m", {"save_merged_model": Path("m")}),
        ("--prompt a --negative_prompt b", {"prompt": "a", "negative_prompt": "b"}),
        ("--custom_system_prompt a", {"system_prompt": "a"}),
        ("--video_size 512 768", {"height": 512, "width": 768}),
        ("--video_seconds 7.5", {"video_seconds": 7.5}),
        ("--video_sections 3", {"video_sections": 3}),
        ("--fps 24", {"fps": 24.0}),
        ("--infer_steps 30", {"steps": 30}),
        ("--seed 7", {"seed": 7}),
        ("--latent_window_size 5", {"latent_window_size": 5}),
        ("--embedded_cfg_scale 6", {"distilled_guidance": 6.0}),
        ("--guidance_scale 2", {"guidance_scale": 2.0}),
        ("--guidance_rescale 0.7", {"guidance_rescale": 0.7}),
        ("--flow_shift 3", {"flow_shift": 3.0}),
        ("--sample_solver dpm++", {"sampler": "dpmpp_2m"}),
        ("--sample_solver vanilla", {"sampler": "euler"}),
        ("--image_path a.png", {"image": Path("a.png")}),
        ("--image_path -1:a.png;;;0:b.png", {"image": Path("-1:a.png;;;0:b.png")}),
        ("--end_image_path a.png", {"end_image": Path("a.png")}),
        ("--latent_paddings 0,0,1", {"latent_paddings": (0, 0, 1)}),
        ("--one_frame_inference no_2x,target_index=9", {"one_frame": "no_2x,target_index=9"}),
        ("--one_frame_auto_resize", {"one_frame_auto_resize": True}),
        ("--control_image_path a b", {"control_image": (Path("a"), Path("b"))}),
        ("--control_image_mask_path a b", {"control_mask": (Path("a"), Path("b"))}),
        ("--rope_scaling_factor 0.7", {"rope_scaling_factor": 0.7}),
        ("--rope_scaling_timestep_threshold 800", {"rope_scaling_timestep_threshold": 800.0}),
        ("--vae_tiling", {"execution.tiling": True}),
        ("--vae_chunk_size 32", {"execution.vae_chunk": 32}),
        (
            "--vae_spatial_tile_sample_min_size 128",
            {"execution.tiling": True, "execution.tile_size": 128},
        ),
        ("--bulk_decode", {"bulk_decode": True}),
        ("--output_type images", {"format": "images"}),
        ("--output_type latent", {"format": "latent"}),
        ("--output_type both", {"format": "both"}),
        ("--output_type latent_images", {"format": "latent_images"}),
        ("--latent_path a", {"from_latent": Path("a")}),
        ("--no_metadata", {"metadata": False}),
        ("--device cpu", {"execution.device": "cpu"}),
        ("--attn_mode flash", {"execution.attention": "flash_attn"}),
        ("--attn_mode xformers", {"execution.attention": "xformers"}),
        ("--attn_mode sageattn", {"execution.attention": "sage"}),
        ("--compile", {"execution.compile": "blocks"}),
        ("--compile_backend eager", {"execution.compile_backend": "eager"}),
        ("--compile_mode max-autotune", {"execution.compile_mode": "max-autotune"}),
        ("--compile_dynamic true", {"execution.compile_dynamic": "on"}),
        ("--compile_dynamic auto", {}),
        ("--compile_fullgraph", {"execution.compile_fullgraph": True}),
        ("--compile_cache_size_limit 32", {"execution.compile_cache_size_limit": 32}),
        ("--blocks_to_swap 20", {"execution.block_swap": 31}),
        ("--fp8", {"execution.weights": "fp8"}),
        ("--fp8 --fp8_scaled", {"execution.weights": "fp8_scaled"}),
        ("--fp8_llm", {"execution.text_weights": "fp8"}),
        ("--blocks_to_swap 38", {"execution.block_swap": 58}),
        ("--from_file a.txt", {"from_file": Path("a.txt")}),
        ("--video-size 64 64 --infer-steps=3", {"height": 64, "width": 64, "steps": 3}),
    ],
)
def test_each_flag_sets_its_field(words: str, expected: dict[str, Any]):
    assert changed(*words.split()) == expected


@pytest.mark.parametrize(
    "words",
    [
        *("--use_pinned_memory_for_block_swap", "--disable_numpy_memmap", "--lycoris"),
    ],
)
def test_what_has_no_effect_is_accepted_and_said(words: str):
    made, (notice,) = read("--dit", "dit.safetensors", "--save_path", "out", *words.split())
    assert made == [config()]
    assert notice.startswith(f"{words.split(maxsplit=1)[0]}: ")
    assert "no effect" in notice or "not needed" in notice


@pytest.mark.parametrize("words", ["--attn_mode sdpa", "--attn_mode torch", "--blocks_to_swap 0"])
def test_what_asks_for_what_happens_anyway_needs_no_word(words: str):
    assert read("--dit", "d", "--save_path", "out", *words.split())[1] == []


def test_the_step_cache_is_used_with_ratios_and_measured_by_a_calibration():
    used = {
        "execution.step_cache": "magcache",
        "execution.step_cache_threshold": 0.24,
    }
    assert changed("--magcache_mag_ratios", "0") == used
    assert changed("--magcache_mag_ratios", "1.0,1.5", "--magcache_retention_ratio", "0.1") == {
        **used,
        "execution.step_cache_ratio_list": (1.0, 1.5),
        "execution.step_cache_start": 0.1,
    }
    assert changed("--magcache_mag_ratios", "0", "--magcache_k", "3", "--magcache_threshold", "0.1") == {
        "execution.step_cache": "magcache",
        "execution.step_cache_threshold": 0.1,
        "execution.step_cache_max_skips": 3,
    }
    measured = {"execution.step_cache_calibrate": Path("out", "magcache_ratios.json")}
    assert changed("--magcache_calibration", "--magcache_mag_ratios", "0") == measured


@pytest.mark.parametrize(
    "words", ["--magcache_retention_ratio 0.1", "--magcache_threshold 0.1", "--magcache_k 3"]
)
def test_a_setting_of_a_step_cache_that_is_not_used_is_refused(words: str):
    said = problem("--dit", "d", "--save_path", "out", *words.split())
    assert said.startswith(f"fpack_generate_video: {words.split(maxsplit=1)[0]}: is for the step cache")


def test_ratios_that_are_no_numbers_are_refused():
    said = problem("--dit", "d", "--save_path", "out", "--magcache_mag_ratios", "1.0,b")
    assert "--magcache_mag_ratios: '1.0,b' is no list of numbers" in said


def test_several_latents_are_a_run_each():
    made, _ = read("--latent_path", "a", "b", "--vae", "v", "--save_path", "out")
    assert [each.from_latent for each in made] == [Path("a"), Path("b")]


def test_what_is_missing_or_wrong_is_named():
    assert "--dit: is missing" in problem("--prompt", "a", "--save_path", "out")
    assert "--save_path: is missing" in problem("--prompt", "a", "--dit", "d")
    assert "Did you mean --video_size?" in problem("--dit", "d", "--video_sizes", "3", "4")
    assert "invalid choice" in problem("--dit", "d", "--sample_solver", "ddim")
    assert "no list of whole numbers" in problem("--dit", "d", "--latent_paddings", "a,b")
    said = problem("--dit", "d", "--save_path", "out", "--infer_steps", "0")
    assert said == "fpack_generate_video: --infer_steps: 0 is too small. Use 1 or more."


def test_the_console_script_exists():
    path = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(path.read_text())["project"]["scripts"]
    module, _, function = scripts["fpack_generate_video"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_help_tells_what_each_flag_does(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse(COMMAND, ["--help"])
    assert stop.value.code == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "--infer_steps INFER_STEPS Denoising steps for each section. [25]" in page
    assert "--vae_tiling Encode and decode in overlapping tiles" in page
