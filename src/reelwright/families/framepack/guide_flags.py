"""The flags of musubi-tuner's `fpack_generate_video.py`, and what they are here (specs: FramePack 8.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.magcache_guide_flags import MAGCACHE_FLAGS, magcache_fields
from reelwright.protocols.guide_flags import GuideCommand, GuideFlag, GuideRun, Values

_NAME = "fpack_generate_video"
_MOST_SWAPPED = 38
PLAIN_RUN = "has no effect yet: the result is that of the plain run, with its memory and time."
_DYNAMIC = {"true": "on", "false": "off", "auto": "auto"}
_KERNELS = {
    "flash": "flash_attn",
    "torch": "sdpa",
    "sageattn": "sage",
    "xformers": "xformers",
    "sdpa": "sdpa",
}


def _paddings(text: str | None) -> Mapping[str, object]:
    """0,0,0,0 -> a number for each section."""
    if text is None:
        return {}
    try:
        return {"latent_paddings": [int(number) for number in text.split(",")]}
    except ValueError as error:
        raise ConfigError(
            f"latent_paddings: {text!r} is no list of whole numbers. Write one for each section, as 0,0,0,0."
        ) from error


def _attention(name: str) -> Mapping[str, object]:
    return {"execution.attention": _KERNELS[name]}


def _blocks_to_swap(number: int | None) -> Mapping[str, object]:
    """N // 2 double blocks and 2 (N - N // 2) + 1 single ones, counted together (specs: FramePack 6.7)."""
    if not number:
        return {}
    if not 0 < number <= _MOST_SWAPPED:
        raise ConfigError(f"blocks_to_swap: {number} is not between 0 and {_MOST_SWAPPED}, the largest.")
    return {"execution.block_swap": number // 2 + 2 * (number - number // 2) + 1}


def without_effect(name: str, why: str = PLAIN_RUN) -> GuideFlag:
    """A switch of memory or speed."""
    return GuideFlag(name=name, count="switch", default=False, notice=why)


AUTOENCODER_FLAGS = (
    GuideFlag(name="vae_tiling", count="switch", default=False, sets="execution.tiling"),
    GuideFlag(name="vae_chunk_size", kind=int, sets="execution.vae_chunk"),
    GuideFlag(
        name="vae_spatial_tile_sample_min_size",
        kind=int,
        sets=lambda size: {} if size is None else {"execution.tiling": True, "execution.tile_size": size},
        meaning="Encode and decode in overlapping tiles with sides of so many pixels.",
    ),
)
"""How it is kept in memory; of every command that uses it."""
DEVICE_FLAG = GuideFlag(name="device", sets="execution.device")
FP8_LLM_FLAG = GuideFlag(
    name="fp8_llm",
    count="switch",
    default=False,
    sets=lambda is_rounded: {"execution.text_weights": "fp8" if is_rounded else "full"},
    meaning="Hold the weights of the LLaMA text encoder in fp8, scaled block by block.",
)
BLOCKS_TO_SWAP = GuideFlag(
    name="blocks_to_swap",
    kind=int,
    sets=_blocks_to_swap,
    meaning="Keep blocks in the computer's memory until they run: N // 2 double, 2 (N - N // 2) + 1 single.",
)
WEIGHTS_AND_SWAP_FLAGS = (
    without_effect(
        "use_pinned_memory_for_block_swap",
        "has no effect: weights wait in pinned memory wherever there is a GPU.",
    ),
    without_effect("disable_numpy_memmap", "has no effect: weights are read by safetensors itself."),
)
COMPILE_FLAGS = (
    GuideFlag(
        name="compile",
        count="switch",
        default=False,
        sets=lambda is_on: {"execution.compile": "blocks"} if is_on else {},
        meaning="Have torch compile the blocks: slower to start, then faster, and rounded otherwise.",
    ),
    GuideFlag(name="compile_backend", default="inductor", sets="execution.compile_backend"),
    GuideFlag(name="compile_mode", default="default", sets="execution.compile_mode"),
    GuideFlag(
        name="compile_dynamic",
        choices=tuple(_DYNAMIC),
        sets=lambda word: {} if word is None else {"execution.compile_dynamic": _DYNAMIC[word]},
        meaning="Compile for any sizes at once; auto does so when sizes change for the first time.",
    ),
    GuideFlag(name="compile_fullgraph", count="switch", default=False, sets="execution.compile_fullgraph"),
    GuideFlag(name="compile_cache_size_limit", kind=int, sets="execution.compile_cache_size_limit"),
)
TEXT_ENCODER_FLAGS = (
    GuideFlag(name="text_encoder1", kind=Path, sets="text_encoder"),
    GuideFlag(name="text_encoder2", kind=Path, sets="text_encoder_2"),
    GuideFlag(name="tokenizer1", kind=Path, sets="tokenizer"),
    GuideFlag(name="tokenizer2", kind=Path, sets="tokenizer_2"),
)
_MODEL = (
    GuideFlag(name="dit", kind=Path, sets="dit"),
    GuideFlag(name="vae", kind=Path, sets="vae"),
    *TEXT_ENCODER_FLAGS,
    GuideFlag(name="image_encoder", kind=Path, sets="image_encoder"),
    GuideFlag(
        name="model",
        meaning="A variant's name, a folder or a hub id, for parts that are not given; without --dit, all.",
    ),
    GuideFlag(
        name="f1",
        count="switch",
        default=False,
        sets=lambda is_f1: {"direction": "forward" if is_f1 else "backward"},
        meaning="The transformer is FramePack-F1: sections are made forward.",
    ),
)
_LORA = (
    GuideFlag(name="lora_weight", kind=Path, count="many", sets="lora"),
    GuideFlag(
        name="lora_multiplier",
        kind=float,
        count="many",
        default=1.0,
        meaning="How strongly each LoRA is applied; 1 for those that follow the last.",
    ),
    GuideFlag(name="include_patterns", count="many", sets="lora_include"),
    GuideFlag(name="exclude_patterns", count="many", sets="lora_exclude"),
    GuideFlag(
        name="lycoris",
        count="switch",
        default=False,
        notice="is not needed: LoHa and LoKr files are known by their content and read as they are.",
    ),
    GuideFlag(name="save_merged_model", kind=Path, sets="save_merged_model"),
)
_CONTENT = (
    GuideFlag(name="prompt", sets="prompt"),
    GuideFlag(name="negative_prompt", sets="negative_prompt"),
    GuideFlag(name="custom_system_prompt", sets="system_prompt"),
    GuideFlag(name="image_path", kind=Path, sets="image"),
    GuideFlag(name="end_image_path", kind=Path, sets="end_image"),
    GuideFlag(
        name="video_size",
        kind=int,
        count=2,
        default=(256, 256),
        sets=lambda size: {"height": size[0], "width": size[1]},
        meaning="Height and width in pixels.",
    ),
    GuideFlag(name="video_seconds", kind=float, default=5.0, sets="video_seconds"),
    GuideFlag(name="video_sections", kind=int, sets="video_sections"),
    GuideFlag(name="fps", kind=float, default=30, sets="fps"),
    GuideFlag(name="latent_window_size", kind=int, default=9, sets="latent_window_size"),
    GuideFlag(name="latent_paddings", sets=_paddings, meaning="A number for each section: 0,0,0,0."),
    GuideFlag(name="one_frame_inference", sets="one_frame"),
    GuideFlag(name="one_frame_auto_resize", count="switch", default=False, sets="one_frame_auto_resize"),
    GuideFlag(name="control_image_path", kind=Path, count="many", sets="control_image"),
    GuideFlag(name="control_image_mask_path", kind=Path, count="many", sets="control_mask"),
    GuideFlag(name="seed", kind=int, sets="seed"),
    GuideFlag(name="from_file", kind=Path, sets="from_file"),
    GuideFlag(
        name="interactive",
        count="switch",
        default=False,
        meaning="Type prompts one after another; models are loaded once.",
    ),
)
_SAMPLING = (
    GuideFlag(name="infer_steps", kind=int, default=25, sets="steps"),
    GuideFlag(name="embedded_cfg_scale", kind=float, default=10.0, sets="distilled_guidance"),
    GuideFlag(name="guidance_scale", kind=float, default=1.0, sets="guidance_scale"),
    GuideFlag(name="guidance_rescale", kind=float, default=0.0, sets="guidance_rescale"),
    GuideFlag(name="flow_shift", kind=float, sets="flow_shift"),
    GuideFlag(
        name="sample_solver",
        default="unipc",
        choices=("unipc", "dpm++", "vanilla"),
        sets=lambda name: {"sampler": {"dpm++": "dpmpp_2m", "vanilla": "euler"}.get(name, name)},
        meaning="How noise levels are crossed; dpm++ is our dpmpp_2m, vanilla our euler.",
    ),
    GuideFlag(name="rope_scaling_factor", kind=float, default=0.5, sets="rope_scaling_factor"),
    GuideFlag(name="rope_scaling_timestep_threshold", kind=float, sets="rope_scaling_timestep_threshold"),
)
_OUTPUT = (
    GuideFlag(name="save_path", kind=Path, sets="out"),
    GuideFlag(
        name="output_type",
        default="video",
        choices=("video", "images", "latent", "both", "latent_images"),
        sets=lambda kind: {"format": "mp4" if kind == "video" else kind},
        meaning="What to write; latents are always kept beside it.",
    ),
    GuideFlag(name="latent_path", kind=Path, count="many", meaning="Only decode these saved latents."),
    GuideFlag(
        name="no_metadata",
        count="switch",
        default=False,
        sets=lambda is_without: {"metadata": not is_without},
        meaning="Do not write into files how they were made.",
    ),
    *AUTOENCODER_FLAGS,
    GuideFlag(name="bulk_decode", count="switch", default=False, sets="bulk_decode"),
)
_EXECUTION = (
    DEVICE_FLAG,
    GuideFlag(
        name="attn_mode",
        default="torch",
        choices=tuple(_KERNELS),
        sets=_attention,
        meaning="The kernel that computes attention; one that does not work here is replaced by torch's own.",
    ),
    replace(BLOCKS_TO_SWAP, default=0),
    GuideFlag(
        name="fp8",
        count="switch",
        default=False,
        meaning="Hold the weights of the blocks in fp8; without --fp8_scaled as they are, without scales.",
    ),
    GuideFlag(
        name="fp8_scaled",
        count="switch",
        default=False,
        meaning="Hold the weights of the blocks in fp8, scaled block by block, with --fp8 or without.",
    ),
    FP8_LLM_FLAG,
    *WEIGHTS_AND_SWAP_FLAGS,
    *COMPILE_FLAGS,
    *MAGCACHE_FLAGS,
)


def check_given(command: str, values: Values, names: Sequence[str], advice: Mapping[str, str]) -> None:
    """Raise ConfigError for each of the flags that is missing; those without advice are parts of a model."""
    missing = [name for name in names if values[name] is None]
    if missing:
        raise ConfigError(
            "\n".join(
                f"{command}: --{name}: is missing. {advice.get(name, 'Name its file, or give --model tiny.')}"
                for name in missing
            )
        )


def configure(values: Values, fields: Mapping[str, Any]) -> Sequence[GuideRun]:
    """One run, or one for each saved latent. Raises ConfigError."""
    latents: Sequence[Path] = values["latent_path"] or ()
    model: str = values["model"] or ("f1" if values["f1"] else "base")
    if not (values["dit"] or values["model"] or latents):
        raise ConfigError(f"{_NAME}: --dit: is missing. Name the transformer, or give --model tiny.")
    if values["save_path"] is None and values["save_merged_model"] is None:
        raise ConfigError(f"{_NAME}: --save_path: is missing. Name the folder for what is made.")
    weights = "fp8_scaled" if values["fp8_scaled"] else "fp8" if values["fp8"] else "full"
    execution = {**fields["execution"], **magcache_fields(_NAME, values), "weights": weights}
    said = {**fields, "model": model, "lora_multiplier": _multipliers(values), "execution": execution}
    config = from_mapping(FramePackGenerate, said, _NAME)
    configs = [replace(config, from_latent=path) for path in latents] or [config]
    return [GuideRun(config=each) for each in configs]


def _multipliers(values: Values) -> list[float]:
    """One for each LoRA: what the other program takes for those without is 1, not the last one given."""
    given: Sequence[float] = values["lora_multiplier"] if isinstance(values["lora_multiplier"], list) else ()
    missing = len(values["lora_weight"] or ()) - len(given)
    return [*given, *[1.0] * missing]


COMMANDS = {
    _NAME: GuideCommand(
        name=_NAME,
        about="Generate with FramePack, by the flags of musubi-tuner.",
        schema=FramePackGenerate,
        flags=(*_MODEL, *_LORA, *_CONTENT, *_SAMPLING, *_OUTPUT, *_EXECUTION),
        configure=configure,
    )
}
