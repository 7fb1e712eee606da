"""What a run folder says of its run, so that it can be gone on with. No torch here."""

from dataclasses import dataclass, replace
from pathlib import Path

from reelwright import families
from reelwright.core.config import read_recipe, read_toml
from reelwright.core.errors import ConfigError, nearest, suggestion
from reelwright.jobs.schemas import DENOISER, train_schema
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.train_configs import LearningConfig

RECIPE = "recipe.toml"
_WORKFLOWS = ("generate", "train")
"""Those whose runs can be gone on with."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """What a run folder says of its run."""

    workflow: str
    family: str
    config: GenerateConfig | LearningConfig


def read_run(folder: Path) -> StoredRun:
    """The run that a folder holds, to go on in that folder. Raises ConfigError."""
    recipe = folder / RECIPE
    if not recipe.is_file():
        raise ConfigError(f"{folder}: is no run folder, it has no {RECIPE}. {_neighbor(folder)}")
    facts = read_toml(recipe)
    workflow, family = (_identity(facts, key, recipe) for key in ("workflow", "family"))
    if workflow not in _WORKFLOWS:
        raise ConfigError(
            f"{recipe}: workflow: {workflow!r}: unknown workflow. {suggestion(workflow, _WORKFLOWS)}"
        )
    if workflow == "train":
        schema = train_schema(family, str(facts.get("stage", DENOISER)), str(recipe))
    else:
        schema = families.configs(family).GENERATE
    config: GenerateConfig | LearningConfig = read_recipe(recipe, schema)
    return StoredRun(workflow=workflow, family=family, config=replace(config, run=folder))


def free_branch(run: Path) -> Path:
    """The first folder beside a run that a branch of it can have."""
    free = (run.with_name(f"{run.name}-branch{number}") for number in ("", *range(2, 1000)))
    return next(folder for folder in free if not folder.exists())


def _identity(facts: dict[str, object], key: str, recipe: Path) -> str:
    said = facts.get(key)
    if not isinstance(said, str):
        raise ConfigError(
            f"{recipe}: {key}: is missing, so this is no recipe of a run. Give it to `reelwright generate`."
        )
    return said


def _neighbor(folder: Path) -> str:
    """Which run folder may have been meant: the one that `folder` lies in, the last inside, or one beside."""
    inside = _runs(folder)
    beside = {path.name: path for path in _runs(folder.parent)}
    if (folder.parent / RECIPE).is_file():
        return f"Did you mean {folder.parent}?"
    if inside:
        return f"Its last run is {inside[-1]}."
    if close := nearest(folder.name, beside):
        return f"Did you mean {beside[close]}?"
    return "Name the folder that a run printed, as outputs/<date>_<name>."


def _runs(folder: Path) -> list[Path]:
    """The run folders in a folder, by name, which begins with the date."""
    return [recipe.parent for recipe in sorted(folder.glob(f"*/{RECIPE}"))]
