"""Make a clip again from one of its sections on: in its own run, or in a new one beside it."""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reelwright import families
from reelwright.core.errors import ConfigError
from reelwright.core.events import Event
from reelwright.core.paths import cannot_write
from reelwright.core.run_folder import RunFolder
from reelwright.protocols.configs import GenerateConfig
from reelwright.workflows import generate
from reelwright.workflows.clips.making import SECTIONS_FOLDER
from reelwright.workflows.clips.recording import RECIPE


def run(
    family: str,
    config: GenerateConfig,
    section: int,
    prompt: str | None = None,
    seed: int | None = None,
    branch: Path | None = None,
) -> Iterator[Event]:
    """Make the sections again that were made after `section`, and that one with another prompt or seed.

    `config` is that of a run with its folder. Without a seed one is drawn, -1 takes the noise of the run.
    `branch` is the folder of a new run, which takes over the sections that stay; without it the run itself is
    changed, and what was there before stays among its sections. Raises ConfigError for runs of several clips,
    and of families without sections.
    """
    known = families.load(family)
    if known.redo is None:
        raise ConfigError(f"{family}: has no sections to redo. Generate the clip again with another --seed.")
    if config.num_videos > 1 or config.from_file or config.from_latent:
        raise ConfigError("redo: the run has several clips, or none of its own. Redo a run of one clip.")
    model = known.locate(config)
    resolved = known.resolve(config, model).config
    assert config.run is not None
    new_seed = secrets.randbelow(2**31) if seed is None else seed
    changed = known.redo(resolved, section, prompt, new_seed)
    if branch is None:
        yield from generate.run(family, replace(changed, run=config.run), replaces=True)
        return
    known.resolve(changed, model)  # raises for what cannot be made, before the new folder is
    _take_over_sections(config.run, branch, family)
    yield from generate.run(family, replace(changed, run=branch))


def _take_over_sections(old: Path, new: Path, family: str) -> None:
    if (new / RECIPE).exists():
        raise ConfigError(f"branch: {new} holds a run already. Name a new folder.")
    with RunFolder.create(new.parent, new, family):
        try:
            shutil.copytree(old / SECTIONS_FOLDER, new / SECTIONS_FOLDER, dirs_exist_ok=True)
        except FileNotFoundError:
            pass  # a run that was stopped before its first section: all are made
        except OSError as error:
            raise cannot_write(new, error) from error
