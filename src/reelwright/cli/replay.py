"""`reelwright replay FILE`: make an output again from the record inside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reelwright.cli.command_line import read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.jobs.job import run_workflow


@dataclass(frozen=True, kw_only=True)
class ReplayLine:
    """Make an output again: the same bytes, given the same model, inputs and library versions."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A video, picture or latent that Reelwright wrote."""
    image: Path | None = None
    """Where the first frame lies now, if it was moved."""
    end_image: Path | None = None
    """Where the last frame lies now, if it was moved."""
    video: Path | None = None
    """Where the clip lies now, if it was moved."""
    control_video: Path | None = None
    """Where the clip that controls lies now, if it was moved."""
    extend: Path | None = None
    """Where the clip to go on from lies now, if it was moved."""
    bridge_to: Path | None = None
    """Where the clip to arrive at lies now, if it was moved."""
    story: Path | None = None
    """Where the storyboard lies now, if it was moved."""
    control_image: tuple[Path, ...] | None = None
    """Where the control images lie now, all of them, if they were moved."""
    control_mask: tuple[Path, ...] | None = None
    """Where their masks lie now, all of them, if they were moved."""
    lora: tuple[Path, ...] | None = None
    """Where the LoRAs lie now, all of them, if they were moved."""
    model: str | None = None
    """Where the model lies now, if it was moved."""
    dit: Path | None = None
    """Where the single file with the transformer lies now, if it was moved."""
    vae: Path | None = None
    """Where the single file with the autoencoder lies now, if it was moved."""
    text_encoder: Path | None = None
    """Where the text encoder lies now, if it was moved."""
    tokenizer: Path | None = None
    """Where the tokenizer lies now, if it was moved."""
    text_encoder_2: Path | None = None
    """Where the second text encoder lies now, if it was moved."""
    tokenizer_2: Path | None = None
    """Where its tokenizer lies now, if it was moved."""
    image_encoder: Path | None = None
    """Where the image encoder lies now, if it was moved."""
    lora: tuple[Path, ...] | None = None
    """Where the LoRAs lie now, all of them in their order, if they were moved."""
    step_cache_ratios: Path | None = None
    """Where the file of magnitude ratios lies now, if it was moved."""
    out: Path = Path("outputs")
    """Folder in which the run's own folder is made."""
    run: Path | None = None
    """The run's own folder, instead of a new one under `out`."""


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright replay` and return the exit code."""
    line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("replay", vars(line), sinks)


def parse(arguments: Sequence[str]) -> ReplayLine:
    """The file to make again and the flags. Raises ConfigError."""
    return read_command_line(ReplayLine, arguments, command="replay", about=str(ReplayLine.__doc__))
