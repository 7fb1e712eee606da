"""The flags of musubi-tuner's programs that make caches, and what they are here (specs: FramePack 4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.families.framepack.config import (
    VARIANTS,
    FramePackCacheLatents,
    FramePackCacheText,
    TrainingMode,
)
from reelwright.families.framepack.guide_flags import (
    AUTOENCODER_FLAGS,
    DEVICE_FLAG,
    FP8_LLM_FLAG,
    TEXT_ENCODER_FLAGS,
    check_given,
)
from reelwright.protocols.guide_flags import GuideCommand, GuideFlag, GuideRun, Values
from reelwright.protocols.preview_config import PreviewConfig

_LATENTS, _TEXT = "fpack_cache_latents", "fpack_cache_text_encoder_outputs"
_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
_PREVIEWS = {"image": "sheet", "video": "video", "console": "console"}
_ASSETS = Path(__file__).parents[2] / "assets"

_SHARED = (
    GuideFlag(name="dataset_config", kind=Path, sets="dataset"),
    GuideFlag(name="model", meaning="A variant's name, a folder or a hub id, for parts that are not given."),
    DEVICE_FLAG,
    GuideFlag(name="batch_size", kind=int, sets="batch_size"),
    GuideFlag(name="num_workers", kind=int, sets="num_workers"),
    GuideFlag(
        name="skip_existing",
        count="switch",
        default=False,
        sets=lambda skips: {"force": not skips},
        meaning="Leave what is there and was made of the same; without it everything is encoded again.",
    ),
    GuideFlag(
        name="keep_cache",
        count="switch",
        default=False,
        sets=lambda keeps: {"prune": not keeps},
        meaning="Leave files that belong to no item; without it they are removed at the end.",
    ),
)
_OF_LATENTS = (
    GuideFlag(name="vae", kind=Path, sets="vae"),
    GuideFlag(name="image_encoder", kind=Path, sets="image_encoder"),
    GuideFlag(name="f1", count="switch", default=False, meaning="Lay sections out for FramePack-F1."),
    GuideFlag(
        name="one_frame", count="switch", default=False, meaning="Pictures with their control pictures."
    ),
    GuideFlag(name="one_frame_no_2x", count="switch", default=False, sets="one_frame_no_2x"),
    GuideFlag(name="one_frame_no_4x", count="switch", default=False, sets="one_frame_no_4x"),
    *AUTOENCODER_FLAGS,
    GuideFlag(
        name="vae_dtype",
        choices=(*_DTYPES.values(), *_DTYPES),
        sets=lambda name: {} if name is None else {"execution.dtype": _DTYPES.get(name, name)},
        meaning="The number format to compute in, of the image encoder too; files hold float16.",
        notice="is the number format to compute in, of the image encoder too; files hold float16 as ever.",
    ),
    GuideFlag(
        name="disable_cudnn_backend",
        count="switch",
        default=False,
        sets=lambda is_without: {"cudnn": not is_without},
        meaning="Convolve without cuDNN.",
    ),
)
_OF_PREVIEWS = (
    GuideFlag(
        name="debug_mode",
        choices=tuple(_PREVIEWS),
        meaning="Encode nothing; show what would be trained on: contact sheets, clips, or in the terminal.",
    ),
    GuideFlag(name="console_width", kind=int, default=80, meaning="Characters of a row in the terminal."),
    GuideFlag(name="console_back", meaning="Color behind the text in the terminal."),
    GuideFlag(name="console_num_images", kind=int, meaning="Show at most so many clips or pictures."),
)


def configure_latents(values: Values, fields: Mapping[str, Any]) -> Sequence[GuideRun]:
    """A run that encodes, or one that shows. Raises ConfigError."""
    needed = () if values["model"] or values["debug_mode"] else ("vae", "image_encoder")
    _check_given(_LATENTS, values, ("dataset_config", *needed))
    said = {**fields, "model": values["model"] or "base", "mode": _mode(values)}
    config = from_mapping(FramePackCacheLatents, said, _LATENTS)
    if values["debug_mode"]:
        return [
            GuideRun(
                config=_with_some_parts(config, values),
                config_name="clips",
                workflow="preview",
                arguments={"preview": _preview(values)},
            )
        ]
    return [GuideRun(config=config, workflow="cache", arguments={"kind": "latents"})]


def configure_text(values: Values, fields: Mapping[str, Any]) -> Sequence[GuideRun]:
    """One run. Raises ConfigError."""
    needed = () if values["model"] else ("text_encoder1", "text_encoder2")
    _check_given(_TEXT, values, ("dataset_config", *needed))
    config = from_mapping(FramePackCacheText, {**fields, "model": values["model"] or "base"}, _TEXT)
    return [GuideRun(config=config, workflow="cache", arguments={"kind": "text"})]


def _check_given(command: str, values: Values, names: Sequence[str]) -> None:
    check_given(command, values, names, {"dataset_config": "Name the file of data sets."})


def _mode(values: Values) -> TrainingMode:
    if values["f1"] and values["one_frame"]:
        raise ConfigError(
            f"{_LATENTS}: --f1: single pictures are trained with FramePack, not F1. Leave out --f1 or"
            " --one_frame."
        )
    if values["one_frame"]:
        return "one_frame"
    return "f1" if values["f1"] else "base"


def _preview(values: Values) -> PreviewConfig:
    said = {
        "view": _PREVIEWS[values["debug_mode"]],
        "console_width": values["console_width"],
        "console_back": values["console_back"],
        "num_clips": values["console_num_images"],
    }
    return from_mapping(
        PreviewConfig, {name: value for name, value in said.items() if value is not None}, _LATENTS
    )


def _with_some_parts(config: FramePackCacheLatents, values: Values) -> FramePackCacheLatents:
    """To show is not to encode: parts of the embedded model stand in for those that were not given."""
    if values["model"]:
        return config
    (embedded,) = (_ASSETS / each.embedded for each in VARIANTS if each.embedded)
    return replace(config, vae=config.vae or embedded, image_encoder=config.image_encoder or embedded)


COMMANDS = {
    _LATENTS: GuideCommand(
        name=_LATENTS,
        about="Encode clips or pictures for FramePack, by the flags of musubi-tuner.",
        schema=FramePackCacheLatents,
        flags=(*_SHARED, *_OF_LATENTS, *_OF_PREVIEWS),
        configure=configure_latents,
    ),
    _TEXT: GuideCommand(
        name=_TEXT,
        about="Encode captions for FramePack, by the flags of musubi-tuner.",
        schema=FramePackCacheText,
        flags=(*_SHARED, *TEXT_ENCODER_FLAGS, FP8_LLM_FLAG),
        configure=configure_text,
    ),
}
