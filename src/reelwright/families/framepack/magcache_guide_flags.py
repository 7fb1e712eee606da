"""The step cache's flags of musubi-tuner's `fpack_generate_video.py` (specs: FramePack 8.6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from reelwright.core.errors import ConfigError
from reelwright.protocols.guide_flags import GuideFlag, Values

CALIBRATION_FILE = "magcache_ratios.json"
_OPTIONS = {
    "magcache_retention_ratio": "step_cache_start",
    "magcache_threshold": "step_cache_threshold",
    "magcache_k": "step_cache_max_skips",
}
MAGCACHE_FLAGS = (
    GuideFlag(
        name="magcache_mag_ratios",
        meaning="Leave out steps that change little, as these ratios of magnitudes tell, one for each step of"
        " any number of steps, with commas between; 0 takes the released ones.",
    ),
    GuideFlag(
        name="magcache_retention_ratio",
        kind=float,
        default=0.2,
        meaning="The first part of the steps, in which nothing is left out.",
    ),
    GuideFlag(name="magcache_threshold", kind=float, default=0.24, meaning="How much error may be left in."),
    GuideFlag(name="magcache_k", kind=int, default=6, meaning="How many steps in a row may be left out."),
    GuideFlag(
        name="magcache_calibration",
        count="switch",
        default=False,
        meaning=f"Leave nothing out; measure the ratios and write {CALIBRATION_FILE} into --save_path.",
    ),
)


def magcache_fields(command: str, values: Values) -> Mapping[str, object]:
    """What the flags set of how a model runs. Raises ConfigError for those that would have no effect."""
    folder: Path | None = values["save_path"]
    if values["magcache_calibration"]:
        if folder is None:
            raise ConfigError(f"{command}: --magcache_calibration: writes into --save_path. Name a folder.")
        return {"step_cache_calibrate": folder / CALIBRATION_FILE}
    if values["magcache_mag_ratios"] is not None:
        options = {field: values[flag] for flag, field in _OPTIONS.items()}
        listed = _ratios(command, values["magcache_mag_ratios"])
        return {"step_cache": "magcache", "step_cache_ratio_list": listed, **options}
    defaults = {flag.name: flag.default for flag in MAGCACHE_FLAGS}
    for name in (name for name in _OPTIONS if values[name] != defaults[name]):
        raise ConfigError(
            f"{command}: --{name}: is for the step cache. Give --magcache_mag_ratios too; 0 takes the"
            " released ratios."
        )
    return {}


def _ratios(command: str, text: str) -> Sequence[float]:
    """Empty for 0, which stands for the released ones."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"{command}: --magcache_mag_ratios: {text!r} is no list of numbers. Write one for each step, as"
            " 1.0,1.06,1.29, or 0 for the released ones."
        ) from error
    return () if numbers == [0.0] else numbers
