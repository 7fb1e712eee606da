"""The flags of musubi-tuner's `fpack_train_network.py` with their fields here (specs: FramePack 6.1, 6.2)."""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from reelwright.families.framepack.guide_flags import (
    AUTOENCODER_FLAGS,
    BLOCKS_TO_SWAP,
    COMPILE_FLAGS,
    FP8_LLM_FLAG,
    TEXT_ENCODER_FLAGS,
    WEIGHTS_AND_SWAP_FLAGS,
    without_effect,
)
from reelwright.protocols.guide_flags import GuideFlag

METHODS = {
    "networks.lora_framepack": "lora",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
    "lycoris.kohya": "lora",
}
"""Modules of networks, and what learns with them; the last one also says it in its arguments."""
_DTYPES = {"float": "float32", "fp16": "float16", "bf16": "bfloat16"}
_FROM_MODEL = "is what the model is, and cannot be said otherwise. Leave it out."


def _switch(name: str, sets: str) -> GuideFlag:
    """A switch that turns a field on."""
    return GuideFlag(name=name, count="switch", default=False, sets=sets)


def _kernel(name: str, kernel: str, meaning: str) -> GuideFlag:
    """A switch for one way to attend."""
    return GuideFlag(
        name=name,
        count="switch",
        default=False,
        sets=lambda is_on: {"execution.attention": kernel} if is_on else {},
        meaning=meaning,
    )


def _dynamo_backend(name: str) -> Mapping[str, object]:
    """By Accelerate's names, which are torch's in capitals."""
    if name.upper() == "NO":
        return {}
    return {"execution.compile": "blocks", "execution.compile_backend": name.lower()}


def _steps_or_share(text: str) -> float:
    """100 are steps; 0.1 and 10% are a share of all. Raises ValueError."""
    is_share = text.endswith("%")
    with suppress(ValueError):
        number = float(text.removesuffix("%")) / (100 if is_share else 1)
        if 0 <= number < (1 if is_share else math.inf):
            return number
    raise ValueError(f"{text!r} is neither steps, as 100, nor a share of all, as 0.1 or 10%")


def _scheduler_path(name: str | None) -> Mapping[str, object]:
    if not name:
        return {}
    return {"schedule.path": name if "." in name else f"torch.optim.lr_scheduler.{name}"}


_MODEL = (
    GuideFlag(
        name="config_file",
        kind=Path,
        meaning="A TOML file with values of these flags, in any tables; the command line goes over it.",
    ),
    GuideFlag(name="dataset_config", kind=Path, sets="dataset"),
    GuideFlag(name="dit", kind=Path, sets="dit"),
    GuideFlag(name="vae", kind=Path, sets="vae"),
    *TEXT_ENCODER_FLAGS,
    GuideFlag(name="image_encoder", kind=Path, sets="image_encoder"),
    GuideFlag(
        name="model",
        meaning="A variant's name, a folder or a hub id, for parts that are not given; without --dit, all.",
    ),
)
_ATTENTIONS = (
    # Of several the last one here holds, as in the other program.
    _kernel("flash3", "flash_attn", "The same as --flash_attn, which takes the third version on Hopper."),
    _kernel("xformers", "xformers", "Attention by xformers, or by torch where it does not work."),
    _kernel("sage_attn", "sage", "Refused: nothing can learn through SageAttention."),
    _kernel("flash_attn", "flash_attn", "Attention by FlashAttention, or by torch where it does not work."),
    _kernel("sdpa", "sdpa", "Attention by torch, as it chooses."),
    without_effect("split_attn", "is not needed: batches of any size train without it."),
)
_LOOP = (
    GuideFlag(name="max_train_steps", kind=int, default=1600, sets="steps"),
    GuideFlag(name="max_train_epochs", kind=int, sets="epochs"),
    GuideFlag(name="max_data_loader_n_workers", kind=int, default=8, sets="execution.num_workers"),
    GuideFlag(
        name="persistent_data_loader_workers",
        count="switch",
        default=False,
        meaning="What happens anyway: what reads caches lives as long as the run.",
    ),
    GuideFlag(name="seed", kind=int, sets="seed"),
    _switch("gradient_checkpointing", "execution.activation_checkpoint"),
    GuideFlag(
        name="gradient_checkpointing_cpu_offload",
        count="switch",
        default=False,
        sets=lambda is_on: (
            {"execution.activation_checkpoint": True, "execution.activation_offload": True} if is_on else {}
        ),
        meaning="Checkpoints as --gradient_checkpointing makes them, kept in the computer's memory.",
    ),
    GuideFlag(name="gradient_accumulation_steps", kind=int, default=1, sets="accumulation"),
    GuideFlag(name="mixed_precision", choices=("no", "fp16", "bf16"), sets="execution.mixed_precision"),
    GuideFlag(
        name="save_precision",
        choices=tuple(_DTYPES),
        sets=lambda name: {} if name is None else {"saving.dtype": _DTYPES[name]},
        meaning="Number format of saved adapters; float32 without it.",
    ),
)
_OPTIMIZER = (
    GuideFlag(name="optimizer_type", default="AdamW", sets="optimizer.name"),
    GuideFlag(name="optimizer_args", count="many", sets="optimizer.arguments"),
    GuideFlag(name="learning_rate", kind=float, default=2e-6, sets="optimizer.learning_rate"),
    GuideFlag(name="max_grad_norm", kind=float, default=1.0, sets="optimizer.max_grad_norm"),
    GuideFlag(name="lr_scheduler", default="constant", sets="schedule.name"),
    GuideFlag(
        name="lr_warmup_steps",
        kind=_steps_or_share,
        default=0.0,
        sets="schedule.warmup",
        meaning="Steps of warm-up; below 1, or as 10%, a share of all.",
    ),
    GuideFlag(
        name="lr_decay_steps",
        kind=_steps_or_share,
        default=0.0,
        sets="schedule.decay",
        meaning="Steps of decay at the end, for warmup_stable_decay; below 1, or as 10%, a share of all.",
    ),
    GuideFlag(name="lr_scheduler_num_cycles", kind=float, default=1.0, sets="schedule.cycles"),
    GuideFlag(name="lr_scheduler_power", kind=float, default=1.0, sets="schedule.power"),
    GuideFlag(name="lr_scheduler_timescale", kind=int, sets="schedule.timescale"),
    GuideFlag(
        name="lr_scheduler_min_lr_ratio",
        kind=float,
        meaning="Where the schedule ends, as a share of the learning rate; 0, and 0.01 of rex, without it.",
    ),
    GuideFlag(
        name="lr_scheduler_type",
        sets=_scheduler_path,
        meaning="The path of a scheduler class, or one of torch.optim.lr_scheduler, for --lr_scheduler.",
    ),
    GuideFlag(name="lr_scheduler_args", count="many", sets="schedule.arguments"),
)
_MEMORY = (
    GuideFlag(
        name="fp8_base",
        count="switch",
        default=False,
        meaning="Hold the weights of the blocks in fp8, scaled block by block.",
    ),
    GuideFlag(name="fp8", count="switch", default=False, meaning="The same as --fp8_base."),
    GuideFlag(
        name="fp8_scaled",
        count="switch",
        default=False,
        meaning="The same as --fp8_base: unscaled weights lose more and need no less.",
    ),
    FP8_LLM_FLAG,
    *AUTOENCODER_FLAGS,
    BLOCKS_TO_SWAP,
    *WEIGHTS_AND_SWAP_FLAGS,
    without_effect("block_swap_h2d_only", "has no effect: weights that do not learn are never copied back."),
    GuideFlag(
        name="block_swap_ring_size",
        kind=int,
        default=2,
        plain=(2,),
        notice="has no effect: two blocks are on their way at most.",
    ),
    without_effect("img_in_txt_in_offloading"),
)
_NOISE = (
    GuideFlag(name="timestep_sampling", default="sigma", sets="noise.timestep_sampling"),
    GuideFlag(name="discrete_flow_shift", kind=float, default=1.0, sets="noise.discrete_flow_shift"),
    GuideFlag(name="sigmoid_scale", kind=float, default=1.0, sets="noise.sigmoid_scale"),
    GuideFlag(name="weighting_scheme", default="none", sets="noise.weighting"),
    GuideFlag(name="logit_mean", kind=float, default=0.0, sets="noise.logit_mean"),
    GuideFlag(name="logit_std", kind=float, default=1.0, sets="noise.logit_std"),
    GuideFlag(name="mode_scale", kind=float, default=1.29, sets="noise.mode_scale"),
    GuideFlag(name="min_timestep", kind=float, sets="noise.min_timestep"),
    GuideFlag(name="max_timestep", kind=float, sets="noise.max_timestep"),
    _switch("preserve_distribution_shape", "noise.preserve_distribution_shape"),
    GuideFlag(name="num_timestep_buckets", kind=int, sets="noise.num_timestep_buckets"),
    GuideFlag(name="guidance_scale", kind=float, default=10.0, sets="noise.distilled_guidance"),
    GuideFlag(name="show_timesteps", choices=("image", "console"), sets="show_timesteps"),
)
_NETWORK = (
    GuideFlag(
        name="network_module",
        default="networks.lora_framepack",
        choices=tuple(METHODS),
        meaning="What learns: LoRA, LoHa or LoKr; lycoris.kohya takes the argument algo=lora, loha or lokr.",
    ),
    GuideFlag(
        name="network_dim",
        kind=int,
        meaning="Size of the adapter: how much it can learn, and how large its file is; 4 without it.",
    ),
    GuideFlag(name="network_alpha", kind=float, default=1.0, sets="adapter.alpha"),
    GuideFlag(name="network_dropout", kind=float, sets="adapter.dropout"),
    GuideFlag(
        name="network_args",
        count="many",
        meaning="NAME=VALUE: include_patterns and exclude_patterns as lists of regular expressions of module"
        " names, rank_dropout, module_dropout, loraplus_lr_ratio, factor (LoKr).",
    ),
    GuideFlag(name="network_weights", kind=Path, sets="adapter.weights"),
    _switch("dim_from_weights", "adapter.rank_from_weights"),
    GuideFlag(name="scale_weight_norms", kind=float, sets="adapter.max_norm"),
    GuideFlag(name="base_weights", kind=Path, count="many", sets="adapter.base_weights"),
    GuideFlag(
        name="base_weights_multiplier", kind=float, count="many", sets="adapter.base_weights_multiplier"
    ),
)
_SAVING = (
    GuideFlag(
        name="output_dir",
        kind=Path,
        meaning="Folder of the saved weights; the run has a folder of its own in it.",
    ),
    GuideFlag(name="output_name", sets="name"),
    GuideFlag(name="resume", kind=Path, sets="state"),
    GuideFlag(name="save_every_n_epochs", kind=int, sets="saving.every_epochs"),
    GuideFlag(name="save_every_n_steps", kind=int, sets="saving.every_steps"),
    GuideFlag(name="save_last_n_epochs", kind=int, sets="saving.keep_epochs"),
    GuideFlag(name="save_last_n_steps", kind=int, sets="saving.keep_steps"),
    GuideFlag(name="save_last_n_epochs_state", kind=int, sets="saving.keep_states"),
    GuideFlag(
        name="save_last_n_steps_state",
        kind=int,
        notice="has no effect: states are many times as large as weights, and the last ones stay, two or as"
        " many as --save_last_n_epochs_state says.",
    ),
    _switch("save_state", "saving.state_with_weights"),
    GuideFlag(
        name="save_state_on_train_end",
        count="switch",
        default=False,
        meaning="What happens anyway: a state is written at the end.",
    ),
    GuideFlag(
        name="no_metadata",
        count="switch",
        default=False,
        sets=lambda is_without: {"saving.metadata": not is_without},
        meaning="Write into files of adapters only what loading needs.",
    ),
    GuideFlag(name="training_comment", sets="saving.comment"),
    *(
        GuideFlag(name=f"metadata_{name}", sets=f"saving.{name}")
        for name in ("title", "author", "description", "license", "tags")
    ),
    GuideFlag(name="metadata_reso", refusal=_FROM_MODEL),
    GuideFlag(name="metadata_arch", refusal=_FROM_MODEL),
)
_SAMPLES = (
    GuideFlag(name="sample_prompts", kind=Path, sets="samples.prompts"),
    GuideFlag(name="sample_every_n_steps", kind=int, sets="samples.every_steps"),
    GuideFlag(name="sample_every_n_epochs", kind=int, sets="samples.every_epochs"),
    GuideFlag(
        name="sample_at_first",
        count="switch",
        default=False,
        sets=lambda is_first: {"samples.at_start": is_first, "samples.beside": is_first},
        meaning="Make clips also before the first step, and show each later one below its like.",
    ),
    GuideFlag(
        name="latent_window_size",
        kind=int,
        default=9,
        sets=lambda size: {} if size == 9 else {"samples.latent_window_size": size},
        meaning="Latent frames of a section of clips made in training; 9 takes that of the caches.",
    ),
    GuideFlag(
        name="f1",
        count="switch",
        default=False,
        sets=lambda is_f1: {"samples.direction": "forward"} if is_f1 else {},
        meaning="Train FramePack-F1: caches must be of F1, and clips are made forward.",
    ),
    without_effect("one_frame", "is not needed: single pictures are made where the caches hold them."),
    _switch("bulk_decode", "samples.bulk_decode"),
)
_TRACKING = (
    GuideFlag(name="logging_dir", kind=Path, sets="tracking.folder"),
    GuideFlag(
        name="log_with",
        choices=("tensorboard", "wandb", "all"),
        meaning="Programs that show curves; TensorBoard if only --logging_dir is given.",
    ),
    GuideFlag(name="log_prefix", sets="tracking.prefix"),
    GuideFlag(
        name="log_tracker_name",
        sets=lambda name: {"tracking.project": name or "network_train"},
        meaning="How trackers call what runs have in common; network_train without it.",
    ),
    GuideFlag(name="wandb_run_name", sets="tracking.run_name"),
    GuideFlag(name="wandb_api_key", sets="tracking.wandb_key"),
    GuideFlag(name="log_tracker_config", kind=Path, sets="tracking.arguments"),
    _switch("log_config", "tracking.log_config"),
)
_PROCESSES = (
    GuideFlag(name="ddp_timeout", kind=int, sets="execution.process_timeout"),
    without_effect("ddp_gradient_as_bucket_view", "is not needed: gradients are always held so."),
    without_effect(
        "ddp_static_graph",
        "has no effect: batches of several data sets may use different modules, so the graph is not static.",
    ),
    *COMPILE_FLAGS,
    GuideFlag(
        name="dynamo_backend",
        default="NO",
        sets=_dynamo_backend,
        meaning="Who compiles the blocks, as --compile with --compile_backend.",
    ),
    GuideFlag(
        name="dynamo_mode",
        choices=("default", "reduce-overhead", "max-autotune"),
        sets="execution.compile_mode",
    ),
    GuideFlag(
        name="dynamo_fullgraph",
        count="switch",
        default=False,
        sets=lambda is_on: {"execution.compile_fullgraph": True} if is_on else {},
        meaning="The same as --compile_fullgraph.",
    ),
    GuideFlag(
        name="dynamo_dynamic",
        count="switch",
        default=False,
        sets=lambda is_on: {"execution.compile_dynamic": "on"} if is_on else {},
        meaning="The same as --compile_dynamic true.",
    ),
    _switch("cuda_allow_tf32", "execution.allow_tf32"),
    _switch("cuda_cudnn_benchmark", "execution.cudnn_benchmark"),
)
_HUB = (
    GuideFlag(name="huggingface_repo_id", sets="hub.repository"),
    GuideFlag(name="huggingface_repo_type", choices=("model", "dataset", "space"), sets="hub.kind"),
    GuideFlag(name="huggingface_path_in_repo", sets="hub.folder"),
    GuideFlag(name="huggingface_token", sets="hub.token"),
    GuideFlag(
        name="huggingface_repo_visibility",
        choices=("public", "private"),
        sets=lambda who: {"hub.public": who == "public"},
        meaning="Of a new repository; private without it.",
    ),
    _switch("save_state_to_huggingface", "hub.states"),
    without_effect(
        "resume_from_huggingface",
        "is not needed: what --resume names is fetched from the hub where there is no such folder.",
    ),
    _switch("async_upload", "hub.in_background"),
)

FLAGS = (
    *_MODEL,
    *_ATTENTIONS,
    *_LOOP,
    *_OPTIMIZER,
    *_MEMORY,
    *_NOISE,
    *_NETWORK,
    *_SAVING,
    *_SAMPLES,
    *_TRACKING,
    *_PROCESSES,
    *_HUB,
)
