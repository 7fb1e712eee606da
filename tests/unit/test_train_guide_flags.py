"""The flags of another program that trains: known names and defaults, and what each is here."""

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.cli.musubi import configure, parse
from reelwright.core.errors import ConfigError

NAME = "fpack_train_network"
COMMAND = families.guide_command(NAME)[1]
# specs: FramePack 6.1 and 6.2, with None where the program does without.
DOCUMENTED: dict[str, Any] = {
    **dict.fromkeys(("text_encoder1", "text_encoder2", "image_encoder", "vae")),
    **dict.fromkeys(("fp8_scaled", "fp8_llm", "vae_tiling", "bulk_decode", "f1", "one_frame"), False),
    **dict.fromkeys(("vae_chunk_size", "vae_spatial_tile_sample_min_size")),
    "latent_window_size": 9,
    **dict.fromkeys(("config_file", "dataset_config", "dit")),
    **dict.fromkeys(("sdpa", "flash_attn", "xformers", "flash3", "sage_attn", "split_attn"), False),
    "max_train_steps": 1600,
    "max_train_epochs": None,
    "max_data_loader_n_workers": 8,
    **dict.fromkeys(("persistent_data_loader_workers", "gradient_checkpointing"), False),
    "gradient_checkpointing_cpu_offload": False,
    "gradient_accumulation_steps": 1,
    **dict.fromkeys(("seed", "mixed_precision", "save_precision")),
    **{"optimizer_args": None, "learning_rate": 2e-6, "max_grad_norm": 1.0},
    **{"lr_scheduler": "constant", "lr_warmup_steps": 0, "lr_decay_steps": 0, "lr_scheduler_num_cycles": 1},
    "lr_scheduler_power": 1,
    **dict.fromkeys(("lr_scheduler_timescale", "lr_scheduler_min_lr_ratio")),
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler_args", "blocks_to_swap")),
    **dict.fromkeys(("fp8_base", "use_pinned_memory_for_block_swap", "block_swap_h2d_only"), False),
    **{"block_swap_ring_size": 2, "img_in_txt_in_offloading": False, "disable_numpy_memmap": False},
    **{"timestep_sampling": "sigma", "discrete_flow_shift": 1.0, "sigmoid_scale": 1.0},
    **{"weighting_scheme": "none", "logit_mean": 0, "logit_std": 1, "mode_scale": 1.29},
    **dict.fromkeys(("min_timestep", "max_timestep", "num_timestep_buckets", "show_timesteps")),
    "preserve_distribution_shape": False,
    **dict.fromkeys(("network_dim", "network_dropout", "network_args", "network_weights")),
    **{"network_alpha": 1, "dim_from_weights": False, "no_metadata": False},
    **dict.fromkeys(("scale_weight_norms", "base_weights", "base_weights_multiplier", "training_comment")),
    **dict.fromkeys(("output_dir", "output_name", "resume", "save_every_n_epochs", "save_every_n_steps")),
    **dict.fromkeys(("save_last_n_epochs", "save_last_n_steps")),
    **dict.fromkeys(("save_last_n_epochs_state", "save_last_n_steps_state")),
    **dict.fromkeys(("save_state", "save_state_on_train_end", "sample_at_first"), False),
    **dict.fromkeys(("sample_prompts", "sample_every_n_steps", "sample_every_n_epochs")),
    **dict.fromkeys(("logging_dir", "log_with", "log_prefix", "log_tracker_name", "wandb_run_name")),
    **{"wandb_api_key": None, "log_tracker_config": None, "log_config": False},
    **{"ddp_timeout": None, "ddp_gradient_as_bucket_view": False, "ddp_static_graph": False},
    **{"compile": False, "compile_backend": "inductor", "compile_mode": "default", "compile_dynamic": None},
    **{"compile_fullgraph": False, "compile_cache_size_limit": None},
    **{"dynamo_backend": "NO", "dynamo_mode": None, "dynamo_fullgraph": False, "dynamo_dynamic": False},
    **dict.fromkeys(("cuda_allow_tf32", "cuda_cudnn_benchmark"), False),
    **dict.fromkeys(("huggingface_repo_id", "huggingface_repo_type", "huggingface_path_in_repo")),
    **dict.fromkeys(("huggingface_token", "huggingface_repo_visibility")),
    **dict.fromkeys(("save_state_to_huggingface", "resume_from_huggingface", "async_upload"), False),
    **dict.fromkeys(("metadata_title", "metadata_author", "metadata_description", "metadata_license")),
    **dict.fromkeys(("metadata_tags", "metadata_reso", "metadata_arch")),
}
# Defaults that cannot work there, or that train for what nobody uses.
REPAIRED = {"optimizer_type": "AdamW", "guidance_scale": 10.0, "network_module": "networks.lora_framepack"}
OURS = {"model", "tokenizer1", "tokenizer2", "fp8"}
NEEDED = "--dataset_config d.toml --dit t.safetensors --output_dir out --output_name mine"
SAMPLED = "--vae v --text_encoder1 a --text_encoder2 b --image_encoder i --sample_prompts p.txt"


def read(words: str) -> tuple[Any, list[str]]:
    values, notices = parse(COMMAND, words.split())
    (run,) = configure(COMMAND, values)
    assert (run.workflow, run.config_name) == ("train", "config")
    return run.config, notices


def config(words: str = "") -> Any:
    return read(f"{NEEDED} {words}")[0]


def value(made: object, field: str) -> Any:
    for name in field.split("."):
        made = getattr(made, name)
    return made


def problem(words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(words)
    return str(caught.value)


def test_every_documented_flag_is_known_with_its_default():
    found = {flag.name: flag.default for flag in COMMAND.flags if flag.name not in OURS}
    assert found == {**DOCUMENTED, **REPAIRED}


def test_without_more_flags_training_is_theirs():
    made = config()
    expected = {
        **{"model": "base", "dit": Path("t.safetensors"), "dataset": Path("d.toml"), "name": "mine"},
        **{"out": Path("out"), "saving.folder": Path("out"), "saving.layout": "native"},
        **{"steps": 1600, "epochs": 0, "seed": -1, "method": "lora", "state": None},
        **{"adapter.rank": 4, "adapter.alpha": 1.0, "adapter.targets": "usual", "adapter.dropout": 0.0},
        **{"optimizer.name": "AdamW", "optimizer.learning_rate": 2e-6, "optimizer.max_grad_norm": 1.0},
        **{"schedule.name": "constant", "schedule.warmup": 0.0, "schedule.min_rate": 0.0},
        **{"noise.timestep_sampling": "sigma", "noise.weighting": "none", "noise.discrete_flow_shift": 1.0},
        **{"noise.distilled_guidance": 10.0, "noise.compat": False},
        **{"saving.every_epochs": 0, "saving.dtype": "float32", "saving.metadata": True},
        **{"execution.mixed_precision": "auto", "execution.fp8": False, "execution.num_workers": 8},
        **{"samples.prompts": None, "samples.at_start": False, "samples.direction": "auto"},
        **{"tracking.trackers": (), "tracking.project": "network_train", "hub.public": False},
    }
    assert {field: value(made, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("words", "field", "expected"),
    [
        ("--max_train_steps 7", "steps", 7),
        ("--max_train_epochs 3", "epochs", 3),
        ("--max_data_loader_n_workers 0", "execution.num_workers", 0),
        ("--seed 42", "seed", 42),
        ("--gradient_checkpointing", "execution.activation_checkpoint", True),
        ("--gradient_checkpointing_cpu_offload", "execution.activation_offload", True),
        ("--gradient_checkpointing_cpu_offload", "execution.activation_checkpoint", True),
        ("--gradient_accumulation_steps 4", "accumulation", 4),
        ("--mixed_precision no", "execution.mixed_precision", "no"),
        ("--mixed_precision bf16", "execution.mixed_precision", "bf16"),
        ("--save_precision float", "saving.dtype", "float32"),
        ("--save_precision bf16", "saving.dtype", "bfloat16"),
        ("--optimizer_type adamw8bit", "optimizer.name", "adamw8bit"),
        (
            "--optimizer_args weight_decay=0.1 betas=0.9,0.99",
            "optimizer.arguments",
            ("weight_decay=0.1", "betas=0.9,0.99"),
        ),
        ("--learning_rate 2e-4", "optimizer.learning_rate", 2e-4),
        ("--max_grad_norm 0", "optimizer.max_grad_norm", 0.0),
        ("--lr_scheduler cosine", "schedule.name", "cosine"),
        ("--lr_scheduler rex", "schedule.min_rate", 0.01),
        ("--lr_scheduler rex --lr_scheduler_min_lr_ratio 0.2", "schedule.min_rate", 0.2),
        ("--lr_warmup_steps 100", "schedule.warmup", 100.0),
        ("--lr_warmup_steps 0.1", "schedule.warmup", 0.1),
        ("--lr_warmup_steps 10%", "schedule.warmup", 0.1),
        ("--lr_decay_steps 20%", "schedule.decay", 0.2),
        ("--lr_scheduler_num_cycles 3", "schedule.cycles", 3.0),
        ("--lr_scheduler_power 2", "schedule.power", 2.0),
        ("--lr_scheduler_timescale 50", "schedule.timescale", 50),
        ("--lr_scheduler_type StepLR", "schedule.path", "torch.optim.lr_scheduler.StepLR"),
        ("--lr_scheduler_type mine.Steps", "schedule.path", "mine.Steps"),
        ("--lr_scheduler_args step_size=8", "schedule.arguments", ("step_size=8",)),
        ("--fp8_base", "execution.fp8", True),
        ("--fp8_llm", "execution.text_weights", "fp8"),
        ("--fp8_scaled", "execution.fp8", True),
        ("--fp8", "execution.fp8", True),
        ("", "execution.attention", "auto"),
        ("--sdpa", "execution.attention", "sdpa"),
        ("--flash_attn", "execution.attention", "flash_attn"),
        ("--flash3", "execution.attention", "flash_attn"),
        ("--xformers", "execution.attention", "xformers"),
        ("--sage_attn", "execution.attention", "sage"),
        ("--sdpa --xformers", "execution.attention", "sdpa"),
        ("", "execution.compile", "off"),
        ("--compile", "execution.compile", "blocks"),
        ("--compile --compile_backend eager", "execution.compile_backend", "eager"),
        ("--compile --compile_mode max-autotune", "execution.compile_mode", "max-autotune"),
        ("--compile --compile_dynamic true", "execution.compile_dynamic", "on"),
        ("--compile --compile_fullgraph", "execution.compile_fullgraph", True),
        ("--compile --compile_cache_size_limit 32", "execution.compile_cache_size_limit", 32),
        ("--dynamo_backend NO", "execution.compile", "off"),
        ("--dynamo_backend INDUCTOR", "execution.compile", "blocks"),
        ("--dynamo_backend AOT_EAGER", "execution.compile_backend", "aot_eager"),
        ("--dynamo_backend INDUCTOR --dynamo_mode max-autotune", "execution.compile_mode", "max-autotune"),
        ("--dynamo_backend INDUCTOR --dynamo_fullgraph", "execution.compile_fullgraph", True),
        ("--dynamo_backend INDUCTOR --dynamo_dynamic", "execution.compile_dynamic", "on"),
        ("--vae_tiling", "execution.tiling", True),
        ("--vae_chunk_size 32", "execution.vae_chunk", 32),
        ("--vae_spatial_tile_sample_min_size 128", "execution.tile_size", 128),
        ("--timestep_sampling shift", "noise.timestep_sampling", "shift"),
        ("--timestep_sampling inference_matched", "noise.timestep_sampling", "inference_matched"),
        ("--discrete_flow_shift 3.0", "noise.discrete_flow_shift", 3.0),
        ("--sigmoid_scale 2", "noise.sigmoid_scale", 2.0),
        ("--weighting_scheme logit_normal", "noise.weighting", "logit_normal"),
        ("--logit_mean -1", "noise.logit_mean", -1.0),
        ("--logit_std 2", "noise.logit_std", 2.0),
        ("--mode_scale 0.5", "noise.mode_scale", 0.5),
        ("--min_timestep 200", "noise.min_timestep", 200.0),
        ("--max_timestep 800", "noise.max_timestep", 800.0),
        ("--preserve_distribution_shape", "noise.preserve_distribution_shape", True),
        ("--num_timestep_buckets 10", "noise.num_timestep_buckets", 10),
        ("--guidance_scale 1", "noise.distilled_guidance", 1.0),
        ("--show_timesteps console", "show_timesteps", "console"),
        ("--network_module networks.loha", "method", "loha"),
        ("--network_module networks.lokr", "method", "lokr"),
        ("--network_module lycoris.kohya", "method", "lora"),
        ("--network_module lycoris.kohya --network_args algo=lokr", "method", "lokr"),
        ("--network_dim 32", "adapter.rank", 32),
        ("--network_alpha 16", "adapter.alpha", 16.0),
        ("--network_dropout 0.1", "adapter.dropout", 0.1),
        ("--network_args exclude_patterns=[r'.*single.*','b']", "adapter.exclude", (".*single.*", "b")),
        ("--network_args include_patterns=.*norm.*", "adapter.include", (".*norm.*",)),
        ("--network_args rank_dropout=0.1 verbose=True", "adapter.rank_dropout", 0.1),
        ("--network_args module_dropout=0.2", "adapter.module_dropout", 0.2),
        ("--network_args loraplus_lr_ratio=4", "adapter.up_rate", 4.0),
        ("--network_module networks.lokr --network_args factor=8", "adapter.factor", 8),
        ("--network_weights w.safetensors", "adapter.weights", Path("w.safetensors")),
        ("--network_weights w --dim_from_weights", "adapter.rank_from_weights", True),
        ("--network_weights w --dim_from_weights", "adapter.alpha", 0.0),
        ("--network_weights w --dim_from_weights", "adapter.rank", 16),
        ("--scale_weight_norms 1", "adapter.max_norm", 1.0),
        ("--base_weights a b", "adapter.base_weights", (Path("a"), Path("b"))),
        ("--base_weights_multiplier 0.5 1", "adapter.base_weights_multiplier", (0.5, 1.0)),
        ("--no_metadata", "saving.metadata", False),
        ("--training_comment hello", "saving.comment", "hello"),
        ("--metadata_title a", "saving.title", "a"),
        ("--metadata_author a", "saving.author", "a"),
        ("--metadata_description a", "saving.description", "a"),
        ("--metadata_license a", "saving.license", "a"),
        ("--metadata_tags a,b", "saving.tags", "a,b"),
        ("--resume out/states/step-00000010", "state", Path("out/states/step-00000010")),
        ("--save_every_n_epochs 2", "saving.every_epochs", 2),
        ("--save_every_n_steps 50", "saving.every_steps", 50),
        ("--save_last_n_epochs 3", "saving.keep_epochs", 3),
        ("--save_last_n_steps 100", "saving.keep_steps", 100),
        ("--save_last_n_epochs_state 5", "saving.keep_states", 5),
        ("--save_state", "saving.state_with_weights", True),
        ("--save_state_on_train_end", "saving.state_at_end", True),
        (SAMPLED, "samples.prompts", Path("p.txt")),
        ("--sample_every_n_steps 10", "samples.every_steps", 10),
        ("--sample_every_n_epochs 1", "samples.every_epochs", 1),
        ("--sample_at_first", "samples.at_start", True),
        ("--sample_at_first", "samples.beside", True),
        ("--latent_window_size 4", "samples.latent_window_size", 4),
        ("--latent_window_size 9", "samples.latent_window_size", 0),
        ("--f1", "samples.direction", "forward"),
        ("--f1", "model", "f1"),
        ("--f1", "mode", "f1"),
        ("--f1 --one_frame", "mode", "auto"),
        ("--ddp_timeout 10", "execution.process_timeout", 10),
        ("--cuda_allow_tf32", "execution.allow_tf32", True),
        ("--cuda_cudnn_benchmark", "execution.cudnn_benchmark", True),
        ("--model tiny --f1", "model", "tiny"),
        ("--bulk_decode", "samples.bulk_decode", True),
        ("--logging_dir logs", "tracking.folder", Path("logs")),
        ("--logging_dir logs", "tracking.trackers", ("tensorboard",)),
        ("--log_with wandb", "tracking.trackers", ("wandb",)),
        ("--log_with all", "tracking.trackers", ("tensorboard", "wandb")),
        ("--log_prefix a", "tracking.prefix", "a"),
        ("--log_tracker_name a", "tracking.project", "a"),
        ("--wandb_run_name a", "tracking.run_name", "a"),
        ("--wandb_api_key a", "tracking.wandb_key", "a"),
        ("--log_tracker_config a.toml", "tracking.arguments", Path("a.toml")),
        ("--log_config", "tracking.log_config", True),
        ("--huggingface_repo_id a/b", "hub.repository", "a/b"),
        ("--huggingface_repo_type dataset", "hub.kind", "dataset"),
        ("--huggingface_path_in_repo a", "hub.folder", "a"),
        ("--huggingface_token a", "hub.token", "a"),
        ("--huggingface_repo_visibility public", "hub.public", True),
        ("--huggingface_repo_visibility private", "hub.public", False),
        ("--save_state_to_huggingface", "hub.states", True),
        ("--async_upload", "hub.in_background", True),
        ("--tokenizer1 c", "tokenizer", Path("c")),
        ("--tokenizer2 c", "tokenizer_2", Path("c")),
    ],
    ids=lambda part: part.replace(" ", "_") if isinstance(part, str) else None,
)
def test_each_flag_sets_its_field(words, field, expected):
    assert value(config(words), field) == expected


SILENT = ("persistent_data_loader_workers",)


def test_what_happens_anyway_needs_no_notice():
    made, notices = read(f"{NEEDED} {' '.join(f'--{name}' for name in SILENT)}")
    assert (made, notices) == (config(), [])


@pytest.mark.parametrize(
    "words",
    [
        *(
            "--split_attn",
            "--one_frame",
        ),
        *("--use_pinned_memory_for_block_swap", "--block_swap_h2d_only"),
        *("--block_swap_ring_size 1", "--img_in_txt_in_offloading", "--disable_numpy_memmap"),
        *(
            "--ddp_gradient_as_bucket_view",
            "--ddp_static_graph",
            "--save_last_n_steps_state 10",
            "--resume_from_huggingface",
        ),
    ],
)
def test_what_has_no_effect_is_accepted_and_said(words):
    made, (notice,) = read(f"{NEEDED} {words}")
    assert made == config()
    assert notice.startswith(words.split()[0])


# The guide's own lines.

GUIDE = (
    "--dit path/to/dit_model --vae path/to/vae_model.safetensors --text_encoder1 path/to/text_encoder1"
    " --text_encoder2 path/to/text_encoder2 --image_encoder path/to/image_encoder_model.safetensors"
    " --dataset_config path/to/toml --sdpa --mixed_precision bf16"
    " --optimizer_type adamw8bit --learning_rate 2e-4 --gradient_checkpointing"
    " --timestep_sampling shift --weighting_scheme none --discrete_flow_shift 3.0"
    " --max_data_loader_n_workers 2 --persistent_data_loader_workers"
    " --network_module networks.lora_framepack --network_dim 32"
    " --max_train_epochs 16 --save_every_n_epochs 1 --seed 42"
    " --output_dir path/to/output_dir --output_name name-of-lora"
)


def test_the_line_of_the_guide_is_what_its_recipe_says():
    made, notices = read(GUIDE)
    assert notices == []
    expected = {
        **{"dit": Path("path/to/dit_model"), "vae": Path("path/to/vae_model.safetensors")},
        **{"text_encoder": Path("path/to/text_encoder1"), "text_encoder_2": Path("path/to/text_encoder2")},
        **{"image_encoder": Path("path/to/image_encoder_model.safetensors"), "dataset": Path("path/to/toml")},
        **{"execution.mixed_precision": "bf16", "execution.activation_checkpoint": True},
        **{"optimizer.name": "adamw8bit", "optimizer.learning_rate": 2e-4, "execution.num_workers": 2},
        **{"noise.timestep_sampling": "shift", "noise.discrete_flow_shift": 3.0, "noise.weighting": "none"},
        **{"method": "lora", "adapter.rank": 32, "adapter.alpha": 1.0, "epochs": 16, "seed": 42},
        **{"saving.every_epochs": 1, "saving.folder": Path("path/to/output_dir"), "name": "name-of-lora"},
    }
    assert {field: value(made, field) for field in expected} == expected


@pytest.mark.parametrize(
    "more",
    [
        "--f1",
        "--fp8 --fp8_scaled --fp8_llm",
        "--vae_chunk_size 32 --vae_spatial_tile_sample_min_size 128",
        "--split_attn --blocks_to_swap 36",
    ],
)
def test_what_the_guide_adds_is_understood(more):
    made, _ = read(f"{GUIDE} {more}")
    assert made.name == "name-of-lora"


# A file of flags.


def from_file(folder: Path, text: str, words: str = "") -> Any:
    (folder / "flags.toml").write_text(text)
    return config(f"--config_file {folder}/flags.toml {words}")


def test_a_file_of_flags_has_any_tables_and_the_command_line_goes_over_it(tmp_path):
    text = (
        'learning_rate = 1e-3\n[network]\nnetwork_dim = 8\nnetwork_args = ["rank_dropout=0.1"]\n'
        '[a.b]\ngradient-checkpointing = true\nsave_state = false\nlr_warmup_steps = "10%"\nseed = 3\n'
    )
    made = from_file(tmp_path, text, "--seed 4")
    expected = {
        **{"optimizer.learning_rate": 1e-3, "adapter.rank": 8, "adapter.rank_dropout": 0.1, "seed": 4},
        **{"execution.activation_checkpoint": True, "schedule.warmup": 0.1},
        "saving.state_with_weights": False,
    }
    assert {field: value(made, field) for field in expected} == expected


def test_a_file_of_flags_may_be_named_without_its_suffix(tmp_path):
    (tmp_path / "flags.toml").write_text("seed = 3")
    assert config(f"--config_file {tmp_path}/flags").seed == 3


def test_a_file_of_flags_can_give_what_is_needed(tmp_path):
    lines = NEEDED.replace(" --", "\n").removeprefix("--").replace(" ", " = '").replace("\n", "'\n") + "'"
    (tmp_path / "flags.toml").write_text(lines)
    assert read(f"--config_file {tmp_path}/flags.toml")[0] == config()


def test_everything_that_is_wrong_in_a_file_is_told_at_once(tmp_path):
    (tmp_path / "flags.toml").write_text(
        'learning_rat = 1\nseed = "x"\nsave_state = 1\nlog_with = "mine"\nmax_train_steps = true\n'
        "network_dim = 1\n[other]\nnetwork-dim = 2\n"
    )
    lines = problem(f"{NEEDED} --config_file {tmp_path}/flags.toml").splitlines()
    assert [line.split(": ", 2)[1] for line in lines] == [
        *("learning_rat", "seed", "save_state", "log_with", "max_train_steps", "network-dim")
    ]
    assert "Did you mean learning_rate?" in lines[0]
    assert "none of tensorboard, wandb, all" in lines[3]


def test_a_file_cannot_ask_for_what_is_refused(tmp_path):
    (tmp_path / "flags.toml").write_text('metadata_arch = "mine"')
    assert "--metadata_arch" in problem(f"{NEEDED} --config_file {tmp_path}/flags.toml")


# What is missing or wrong.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (NEEDED.replace("--dataset_config d.toml", ""), "--dataset_config: is missing"),
        (NEEDED.replace("--dit t.safetensors", ""), "--dit: is missing"),
        (NEEDED.replace("--output_dir out", ""), "--output_dir: is missing"),
        (NEEDED.replace("--output_name mine", ""), "--output_name: is missing"),
        (f"{NEEDED} {SAMPLED.replace('--vae v', '')}", "--vae: is missing"),
        (f"{NEEDED} --network_module networks.lora_wan", "invalid choice"),
        (f"{NEEDED} --network_args conv_dim=4", "conv_dim: the blocks have no convolutions"),
        (f"{NEEDED} --network_args rank_dropuot=0.1", "Did you mean rank_dropout?"),
        (f"{NEEDED} --network_args factor=8", "factor: is no argument of this network"),
        (f"{NEEDED} --network_args loose", "--network_args: 'loose' is not NAME=VALUE"),
        (f"{NEEDED} --network_module lycoris.kohya --network_args algo=oft", "algo: oft cannot be trained"),
        (f"{NEEDED} --learning_rate -1", "--learning_rate: -1.0 is too small"),
        (f"{NEEDED} --lr_scheduler cosin", "Did you mean cosine?"),
        (f"{NEEDED} --timestep_sampling shfit", "Did you mean shift?"),
        (f"{NEEDED} --timestep_sampling ideogram4_shift", "--timestep_sampling: 'ideogram4_shift'"),
        (f"{NEEDED} --lr_warmup_steps 120%", "lr_warmup_steps"),
        (f"{NEEDED} --metadata_reso 1,1", "--metadata_reso: is what the model is"),
        (f"{NEEDED} --network_dims 4", "Did you mean --network_dim?"),
        (f"{NEEDED} --config_file nowhere", "nowhere.toml: there is no such recipe"),
    ],
    ids=lambda part: part.replace(NEEDED, "").strip().replace(" ", "_"),
)
def test_what_is_missing_or_wrong_is_named(words, said):
    assert said in problem(words)


def test_a_state_of_the_other_program_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "random_states_0.pkl").write_bytes(b"")
    assert "--network_weights FILE" in problem(f"{NEEDED} --resume {tmp_path}")


def test_to_show_timesteps_needs_no_place_for_weights():
    assert (
        read("--dataset_config d.toml --model tiny --show_timesteps console")[0].show_timesteps == "console"
    )


def test_the_console_script_exists():
    path = Path(__file__).parents[2] / "pyproject.toml"
    module, _, function = tomllib.loads(path.read_text())["project"]["scripts"][NAME].partition(":")
    assert callable(getattr(import_module(module), function))


def test_help_tells_what_each_flag_does(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(COMMAND, ["--help"])
    assert stop.value.code == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "--network_dim NETWORK_DIM Size of the adapter" in page
    assert "--max_train_steps MAX_TRAIN_STEPS Steps in all. [1600]" in page
