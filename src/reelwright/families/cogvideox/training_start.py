"""Where the weights of a denoiser in training come from: files, a seed, or those of a narrower denoiser."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from reelwright.checkpoint.fingerprint import fingerprint_part, fingerprint_text
from reelwright.core.errors import ConfigError
from reelwright.families.cogvideox.checkpoints import (
    Layout,
    check_transformer,
    load_transformer,
    read_transformer_config,
)
from reelwright.families.cogvideox.config import CogVideoXTrain, TransformerConfig
from reelwright.families.cogvideox.initialization import (
    drawn_transformer,
    widened_config,
    widened_transformer,
)
from reelwright.families.cogvideox.model_parts import ModelFolder
from reelwright.families.cogvideox.transformer import CogVideoXTransformer


@dataclass(frozen=True, kw_only=True)
class Start:
    """A denoiser before its first step, found and checked, with nothing loaded."""

    transformer_path: Path
    """Of weights, if there are any."""
    transformer: TransformerConfig
    """Sizes of the weights in files."""
    trained: TransformerConfig
    """Sizes of the denoiser that is trained."""
    is_drawn: bool
    fingerprint: str
    notices: tuple[str, ...] = ()

    def load(self, device: torch.device, dtype: torch.dtype, seed: int) -> CogVideoXTransformer:
        """The denoiser; those of `seed` are the same on any machine."""
        if self.is_drawn:
            drawn = drawn_transformer(self.trained, seed)
            return drawn.to(device, dtype).requires_grad_(requires_grad=False).eval()
        denoiser = load_transformer(self, device, dtype)
        if self.trained == self.transformer:
            return denoiser
        return widened_transformer(denoiser, self.trained, seed).requires_grad_(requires_grad=False).eval()


def start_folder(config: CogVideoXTrain) -> ModelFolder:
    """The folder of the model, of which training needs the denoiser and its schedule, or less."""
    wanted = ["scheduler/*"] if config.init == "random" else ["transformer/*", "scheduler/*"]
    described = replace(config, dit=config.init_config or config.dit)
    return ModelFolder(described, [] if config.dit else wanted)


def find_start(config: CogVideoXTrain, folder: ModelFolder) -> Start:
    """Raises UserError for files that are none of a denoiser, and for a start that cannot be."""
    if config.init == "random":
        return _drawn(folder.transformer, config)
    path = config.dit or folder.part("transformer")
    stored = read_transformer_config(path)
    check_transformer(path, stored)
    return Start(
        transformer_path=path,
        transformer=stored,
        trained=_widened(stored, config) if config.init == "widened" else stored,
        is_drawn=False,
        fingerprint=fingerprint_part(path),
        notices=() if config.dit else folder.notices,
    )


def _drawn(transformer: TransformerConfig, config: CogVideoXTrain) -> Start:
    return Start(
        transformer_path=config.init_config or config.dit or Path(config.model),
        transformer=transformer,
        trained=transformer,
        is_drawn=True,
        fingerprint=fingerprint_text(f"drawn {json.dumps(transformer.settings(), sort_keys=True)}"),
        notices=("init: the weights of the denoiser are drawn from the seed; it knows nothing yet.",),
    )


def _widened(stored: TransformerConfig, config: CogVideoXTrain) -> TransformerConfig:
    if stored.condition_channels:
        raise ConfigError(
            f"init: {config.dit or config.model} reads {stored.in_channels} channels already. Leave out"
            " --init widened, or start from a text-to-video model."
        )
    if config.condition == "auto":
        raise ConfigError(
            "init: widened to read what? Say --condition image, control or inpaint (a first frame in a mask)."
        )
    if config.condition == "control" and stored.is_second_generation:
        raise ConfigError(
            "condition: programs take a model of 1.5 with more channels for an image model. Widen one of 1.0"
            " for control clips."
        )
    return widened_config(stored, Layout(config.condition))
