"""The flags of another program that makes caches: known names and defaults, and what each is here."""

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.cli.musubi import configure, parse
from reelwright.core.errors import ConfigError
from reelwright.protocols.datasets import DatasetConfig
from reelwright.protocols.guide_flags import GuideRun
from reelwright.protocols.preview_config import PreviewConfig

LATENTS, TEXT = "fpack_cache_latents", "fpack_cache_text_encoder_outputs"
COMMANDS = {name: families.guide_command(name)[1] for name in (LATENTS, TEXT)}
# specs: FramePack 4.1, with None where the program does without.
_BOTH: dict[str, Any] = {
    **dict.fromkeys(("dataset_config", "device", "batch_size", "num_workers")),
    **dict.fromkeys(("skip_existing", "keep_cache"), False),
}
DOCUMENTED: dict[str, dict[str, Any]] = {
    LATENTS: {
        **_BOTH,
        **dict.fromkeys(("vae", "image_encoder", "vae_chunk_size", "vae_spatial_tile_sample_min_size")),
        **dict.fromkeys(("debug_mode", "console_back", "console_num_images", "vae_dtype")),
        **dict.fromkeys(("f1", "one_frame", "one_frame_no_2x", "one_frame_no_4x"), False),
        **dict.fromkeys(("vae_tiling", "disable_cudnn_backend"), False),
        "console_width": 80,
    },
    TEXT: {**_BOTH, **dict.fromkeys(("text_encoder1", "text_encoder2")), "fp8_llm": False},
}
OURS = {"model", "tokenizer1", "tokenizer2"}
NEEDED = {
    LATENTS: "--dataset_config d.toml --vae v.safetensors --image_encoder i.safetensors",
    TEXT: "--dataset_config d.toml --text_encoder1 a --text_encoder2 b",
}
PATHS = {
    LATENTS: {
        "dataset": Path("d.toml"),
        "vae": Path("v.safetensors"),
        "image_encoder": Path("i.safetensors"),
    },
    TEXT: {"dataset": Path("d.toml"), "text_encoder": Path("a"), "text_encoder_2": Path("b")},
}


def read(command: str, words: str) -> tuple[GuideRun, list[str]]:
    values, notices = parse(COMMANDS[command], words.split())
    (run,) = configure(COMMANDS[command], values)
    return run, notices


def config(command: str, words: str = "") -> Any:
    return read(command, f"{NEEDED[command]} {words}")[0].config


def problem(command: str, words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(command, words)
    return str(caught.value)


@pytest.mark.parametrize("command", [LATENTS, TEXT])
def test_every_documented_flag_is_known_with_its_default(command):
    found = {flag.name: flag.default for flag in COMMANDS[command].flags if flag.name not in OURS}
    assert found == DOCUMENTED[command]


@pytest.mark.parametrize("command", [LATENTS, TEXT])
def test_without_flags_everything_is_encoded_anew_and_stale_files_go(command):
    made = config(command)
    assert {name: getattr(made, name) for name in PATHS[command]} == PATHS[command]
    assert (made.model, made.force, made.prune) == ("base", True, True)
    assert (made.batch_size, made.num_workers, made.execution.device) == (0, 0, "auto")


def test_latents_are_drawn_in_files_of_sections_as_the_other_program_does():
    made = config(LATENTS)
    assert (made.mode, made.form, made.posterior) == ("base", "compatible", "sample")
    assert made.cudnn
    assert not made.execution.tiling


@pytest.mark.parametrize(("command", "kind"), [(LATENTS, "latents"), (TEXT, "text")])
def test_both_start_the_workflow_that_makes_caches(command, kind):
    run, notices = read(command, NEEDED[command])
    assert (run.workflow, dict(run.arguments)) == ("cache", {"kind": kind})
    assert notices == []


@pytest.mark.parametrize("command", [LATENTS, TEXT])
@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--skip_existing", "force", False),
        ("--keep_cache", "prune", False),
        ("--batch_size 4", "batch_size", 4),
        ("--num-workers=3", "num_workers", 3),
        ("--model tiny", "model", "tiny"),
    ],
)
def test_each_flag_of_both_sets_its_field(command, words, field, value):
    assert getattr(config(command, words), field) == value


@pytest.mark.parametrize("command", [LATENTS, TEXT])
def test_the_device_is_that_of_the_execution(command):
    assert config(command, "--device cuda:1").execution.device == "cuda:1"


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--f1", "mode", "f1"),
        ("--one_frame", "mode", "one_frame"),
        ("--one_frame --one_frame_no_2x", "one_frame_no_2x", True),
        ("--one_frame --one_frame_no_4x", "one_frame_no_4x", True),
        ("--disable_cudnn_backend", "cudnn", False),
    ],
)
def test_each_flag_of_latents_sets_its_field(words, field, value):
    assert getattr(config(LATENTS, words), field) == value


def test_tiles_and_chunks_are_those_of_the_execution():
    made = config(LATENTS, "--vae_chunk_size 32 --vae_spatial_tile_sample_min_size 128").execution
    assert (made.tiling, made.tile_size, made.vae_chunk) == (True, 128, 32)
    assert config(LATENTS, "--vae_tiling").execution.tiling


@pytest.mark.parametrize(
    ("words", "dtype"),
    [("bfloat16", "bfloat16"), ("bf16", "bfloat16"), ("fp32", "float32"), ("float16", "float16")],
)
def test_the_number_format_of_the_vae_is_honored_and_said(words, dtype):
    run, (notice,) = read(LATENTS, f"{NEEDED[LATENTS]} --vae_dtype {words}")
    assert run.config.execution.dtype == dtype
    assert "files hold float16" in notice


def test_the_text_encoder_is_rounded():
    assert config(TEXT, "--fp8_llm").execution.text_weights == "fp8"
    assert config(TEXT).execution.text_weights == "full"


def test_tokenizers_of_one_s_own_are_taken():
    made = config(TEXT, "--tokenizer1 c --tokenizer2 d")
    assert (made.tokenizer, made.tokenizer_2) == (Path("c"), Path("d"))


# Every documented line.

GUIDE = {
    LATENTS: (
        "--dataset_config path/to/toml --vae path/to/vae_model.safetensors"
        " --image_encoder path/to/image_encoder_model.safetensors"
        " --vae_chunk_size 32 --vae_spatial_tile_sample_min_size 128"
    ),
    TEXT: (
        "--dataset_config path/to/toml --text_encoder1 path/to/text_encoder1"
        " --text_encoder2 path/to/text_encoder2 --batch_size 16"
    ),
}


@pytest.mark.parametrize(
    ("command", "more"),
    [
        *((LATENTS, more) for more in ("", "--f1", "--one_frame", "--one_frame --one_frame_no_2x")),
        *((LATENTS, more) for more in ("--vae_chunk_size 16 --vae_spatial_tile_sample_min_size 64",)),
        *((LATENTS, more) for more in ("--skip_existing", "--one_frame --one_frame_no_4x --keep_cache")),
        *((TEXT, more) for more in ("", "--fp8_llm", "--skip_existing --keep_cache")),
    ],
)
def test_the_lines_of_the_guide_are_understood(command, more):
    run, _ = read(command, f"{GUIDE[command]} {more}")
    assert run.workflow == "cache"
    assert run.config.dataset == Path("path/to/toml")


# Looking instead of encoding.


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("image", PreviewConfig(view="sheet")),
        ("video", PreviewConfig(view="video")),
        (
            "console --console_width 100 --console_back black --console_num_images 3",
            PreviewConfig(view="console", console_width=100, console_back="black", num_clips=3),
        ),
    ],
)
def test_debug_modes_show_what_would_be_trained_on(words, expected):
    run, _ = read(LATENTS, f"{NEEDED[LATENTS]} --f1 --debug_mode {words}")
    assert run.workflow == "preview"
    assert run.arguments["preview"] == expected
    assert run.config.mode == "f1"


def test_to_look_needs_no_encoders():
    run, _ = read(LATENTS, "--dataset_config d.toml --debug_mode image")
    assert run.config.model == "base"
    family = families.load("framepack").caching
    assert family is not None
    # The sizes are those of the released models all the same.
    assert family.locate_latents(run.config).rule(DatasetConfig()).default_size == (640, 640)


# What is missing or wrong.


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (LATENTS, "--vae v --image_encoder i", "--dataset_config: is missing"),
        (LATENTS, "--dataset_config d --image_encoder i", "--vae: is missing"),
        (LATENTS, "--dataset_config d --vae v", "--image_encoder: is missing"),
        (TEXT, "--dataset_config d --text_encoder1 a", "--text_encoder2: is missing"),
        (TEXT, "--dataset_config d --text_encoder2 a", "--text_encoder1: is missing"),
        (LATENTS, f"{NEEDED[LATENTS]} --f1 --one_frame", "--f1: single pictures"),
        (LATENTS, f"{NEEDED[LATENTS]} --vae_dtype int8", "invalid choice"),
        (LATENTS, f"{NEEDED[LATENTS]} --debug_mode film", "invalid choice"),
        (LATENTS, f"{NEEDED[LATENTS]} --batch_size -1", "--batch_size: -1 is too small"),
        (LATENTS, f"{NEEDED[LATENTS]} --one_frames", "Did you mean --one_frame?"),
        (TEXT, f"{NEEDED[TEXT]} --vae v", "--vae: is no flag"),
    ],
)
def test_what_is_missing_or_wrong_is_named(command, words, said):
    assert said in problem(command, words)


@pytest.mark.parametrize("command", [LATENTS, TEXT])
def test_the_console_scripts_exist(command):
    path = Path(__file__).parents[2] / "pyproject.toml"
    module, _, function = tomllib.loads(path.read_text())["project"]["scripts"][command].partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("command", [LATENTS, TEXT])
def test_help_tells_what_each_flag_does(command, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(COMMANDS[command], ["--help"])
    assert stop.value.code == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "--skip_existing Leave what is there and was made of the same" in page
    assert "--dataset_config DATASET_CONFIG The file of data sets" in page
