"""Which runs are measured, and what each of them is told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reelwright import families
from reelwright.core.errors import ConfigError
from reelwright.core.locations import read_lines
from reelwright.core.prompt_lines import is_blank, with_option
from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.wording import caption
from reelwright.protocols.bench_config import BenchConfig
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.policy_configs import Preset
from reelwright.protocols.presets import LEAST_PSNR, exactly, filled, with_preset

BASELINE = "exact"
GIVEN = "given"
_OTHER_WORK = ("from_latent", "save_merged_model", "story")
_WARM_UP_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run, by name."""

    name: str
    config: GenerateConfig
    least_psnr: float = 0.0
    """Decibels that it has to keep; 0 where nothing was promised."""


def baseline_of(family: str, config: GenerateConfig) -> Variant:
    """The run that all others are compared with; where it runs stays as it was told."""
    return Variant(name=BASELINE, config=exactly(config, families.configs(family).PRESETS))


def variants_of(family: str, config: GenerateConfig, bench: BenchConfig) -> list[Variant]:
    """What to run beside the baseline. Raises ConfigError if nothing is left to compare."""
    table, exact = families.configs(family).PRESETS, baseline_of(family, config).config
    given = filled(config, table)
    if not bench.presets and given != exact:
        return [Variant(name=given.execution.preset or GIVEN, config=given, least_psnr=_promised(given))]
    asked: Sequence[Preset] = bench.presets or tuple(LEAST_PSNR)
    chosen: list[Preset] = [preset for preset in dict.fromkeys(asked) if preset != BASELINE]
    if not chosen:
        raise ConfigError("presets: exact is what others are compared with. Add balanced or fast.")
    return [
        Variant(name=preset, config=with_preset(exact, preset, table), least_psnr=LEAST_PSNR[preset])
        for preset in chosen
    ]


def _promised(config: GenerateConfig) -> float:
    return LEAST_PSNR[config.execution.preset] if config.execution.preset is not None else 0.0


def check_bench(config: GenerateConfig) -> None:
    """Raise ConfigError for what makes no clips to compare."""
    for name in _OTHER_WORK:
        if getattr(config, name, None):
            raise ConfigError(f"{name}: bench makes clips of prompts. Leave it out.")


def prompt_lines(family: str, config: GenerateConfig, bench: BenchConfig) -> list[str]:
    """Lines of a file of prompts; the first one only warms up."""
    if config.from_file is not None:
        lines = [text for _, text in read_lines(str(config.from_file)) if not is_blank(text)]
    elif config.prompt:
        lines = [" ".join(config.prompt.split())]
    else:
        lines = [caption(describe(config.seed, index)) for index in range(bench.prompts)]
    try:
        options = families.configs(family).PROMPT_OPTIONS
        return [with_option(lines[0], "steps", _WARM_UP_STEPS, options), *lines]
    except (IndexError, ValueError) as error:
        raise ConfigError(
            f"from_file: {config.from_file}: {error}. Write one prompt on each line."
        ) from error


def told(variant: Variant, prompts: Path, folder: Path) -> GenerateConfig:
    """What `generate` is told: frames without loss, and nothing but them and latents."""
    quiet = {"contact_sheet": False, "preview_every": 0, "format": "png", "prompt": "", "num_videos": 1}
    if hasattr(variant.config, "preview_sections"):
        quiet["preview_sections"] = False
    return replace(variant.config, **quiet, from_file=prompts, run=folder)
