"""What each workflow may be told: the schema of its configuration, and its other arguments. No torch here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from reelwright import families
from reelwright.core.errors import ConfigError, suggestion
from reelwright.data.synthetic.config import SynthConfig
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.bench_config import BenchConfig
from reelwright.protocols.cache_configs import CachePruneConfig, CacheTask, CacheVerifyConfig
from reelwright.protocols.encoder_train_configs import EncoderTrainConfig
from reelwright.protocols.lint_config import LintConfig
from reelwright.protocols.lora_configs import LORA_ACTIONS
from reelwright.protocols.models_configs import MODELS_ACTIONS
from reelwright.protocols.plan_config import PlanConfig
from reelwright.protocols.preview_config import PreviewConfig
from reelwright.protocols.train_configs import LearningConfig

DENOISER, AUTOENCODER, ENCODERS = "denoiser", "autoencoder", "encoders"
"""Stages of training: which of the networks learns."""
STAGE = "stage"
"""The key that says so."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Nothing beside the configuration."""


@dataclass(frozen=True, kw_only=True)
class RedoOptions:
    """Which section of a run is made again, and what it is to show."""

    section: int
    """Counted from 0, or from the end by -1."""
    prompt: str | None = None
    """What it is to show now; without one as before."""
    seed: Annotated[int, Ge(-1)] | None = None
    """Where its noise starts now; -1 goes on with the noise of the run, none draws a seed."""
    branch: Path | None = None
    """The folder of a new run; without one the run itself changes."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """For what a plan is made."""

    plan: PlanConfig = field(default_factory=PlanConfig)
    """For which machine and which clips."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is measured."""

    bench: BenchConfig = field(default_factory=BenchConfig)
    """Which ways, and how often."""


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """Where drawn clips go."""

    out: Path = Path("synthetic")
    """The folder to write; what is there of the same recipe is kept."""


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What of the machine is looked at."""

    out: Path = Path("outputs")
    """Where outputs are to go, which needs room."""
    fits: bool = False
    """Ask with which options each model fits into free memory; this takes a while."""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """Which output is made again."""

    file: Path
    """A video, picture or latent that Reelwright wrote."""
    out: Path = Path("outputs")
    """Folder in which the run's own folder is made."""
    run: Path | None = None
    """The run's own folder, instead of a new one under `out`."""


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """Which output tells how it was made."""

    file: Path
    """A video, picture or latent that Reelwright wrote."""


@dataclass(frozen=True, kw_only=True)
class LastFrameOptions:
    """Of which clip the last frame is kept, and where."""

    file: Path
    """The clip."""
    picture: Path
    """The PNG to write."""


@dataclass(frozen=True, kw_only=True)
class Schemas:
    """By what the words of an order are read."""

    config: type[Any] | None = None
    """Of the argument `config`; None where there is none."""
    options: type[Any] = NoOptions
    """Its fields are the other arguments."""
    choice: Mapping[str, str] = field(default_factory=dict[str, str])
    """The option on which these schemas depend, and what it says; it is an argument too."""
    takes_family: bool = True


def workflow_names() -> tuple[str, ...]:
    """Those that an order can ask for."""
    return tuple(_WORKFLOWS)


def schemas_of(workflow: str, family: str, said: Mapping[str, Any]) -> Schemas:
    """What a workflow of a family may be told, where `said` holds all that is given: stage, kind, action.

    Raises ConfigError for workflows, families, stages and actions that are none.
    """
    if workflow not in _WORKFLOWS:
        raise ConfigError(
            f"workflow: {workflow!r}: unknown workflow. {suggestion(workflow, workflow_names())}"
        )
    return _WORKFLOWS[workflow](family, said)


def train_schema(family: str, stage: str, origin: str) -> type[LearningConfig]:
    """What a family's training of one of its networks may be told. Raises ConfigError."""
    configs = families.configs(family)
    schemas: dict[str, type[LearningConfig]] = {
        DENOISER: configs.TRAIN,
        AUTOENCODER: getattr(configs, "TRAIN_AUTOENCODER", AutoencoderTrainConfig),
        ENCODERS: getattr(configs, "TRAIN_ENCODERS", EncoderTrainConfig),
    }
    if stage not in schemas:
        raise ConfigError(f"{origin}: stage: {stage!r} is no stage of training. {suggestion(stage, schemas)}")
    return schemas[stage]


def cache_schema(family: str, kind: str) -> type[CacheTask]:
    """What a family's encoding of latents or text may be told. Raises ConfigError."""
    names = {"latents": "CACHE_LATENTS", "text": "CACHE_TEXT"}
    return getattr(families.configs(family), names[_chosen("kind", kind, names)])


UPKEEP: Mapping[str, type[CacheTask]] = {
    "verify": CacheVerifyConfig,
    "prune": CachePruneConfig,
    "stats": CacheTask,
}
"""What looking after caches may be told, by action."""


def _generate(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(config=families.configs(family).GENERATE)


def _redo(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(config=families.configs(family).GENERATE, options=RedoOptions)


def _train(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(config=train_schema(family, str(said.get(STAGE, DENOISER)), "train"))


def _cache(family: str, said: Mapping[str, Any]) -> Schemas:
    kind = str(said.get("kind", ""))
    return Schemas(config=cache_schema(family, kind), choice={"kind": kind})


def _cache_upkeep(family: str, said: Mapping[str, Any]) -> Schemas:
    action = _chosen("action", str(said.get("action", "")), UPKEEP)
    return Schemas(config=UPKEEP[action], choice={"action": action})


def _plan(family: str, said: Mapping[str, Any]) -> Schemas:
    schemas: dict[str, Callable[[], type[Any]]] = {
        "generate": lambda: families.configs(family).GENERATE,
        "train": lambda: train_schema(family, DENOISER, "plan"),
        "cache": lambda: cache_schema(family, "latents"),
    }
    command = _chosen("command", str(said.get("command", "")), schemas)
    return Schemas(config=schemas[command](), options=PlanOptions, choice={"command": command})


def _bench(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(config=families.configs(family).GENERATE, options=BenchOptions)


def _lint(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(config=LintConfig, options=_options_with(clips=families.configs(family).CLIPS))


def _preview(family: str, said: Mapping[str, Any]) -> Schemas:
    clips = families.configs(family).CLIPS
    return Schemas(options=_options_with(preview=PreviewConfig, clips=clips))


def _lora(family: str, said: Mapping[str, Any]) -> Schemas:
    action = _chosen("action", str(said.get("action", "")), LORA_ACTIONS)
    return Schemas(options=LORA_ACTIONS[action], choice={"action": action}, takes_family=False)


def _models(family: str, said: Mapping[str, Any]) -> Schemas:
    action = _chosen("action", str(said.get("action", "")), MODELS_ACTIONS)
    return Schemas(options=MODELS_ACTIONS[action], choice={"action": action}, takes_family=False)


def _synth(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(config=SynthConfig, options=SynthOptions, takes_family=False)


def _doctor(family: str, said: Mapping[str, Any]) -> Schemas:
    if family:
        families.configs(family)  # raises for a name that is not known
    return Schemas(options=DoctorOptions)


def _replay(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(options=ReplayOptions, takes_family=False)


def _record(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(options=RecordOptions, takes_family=False)


def _last_frame(family: str, said: Mapping[str, Any]) -> Schemas:
    return Schemas(options=LastFrameOptions, takes_family=False)


_WORKFLOWS: Mapping[str, Callable[[str, Mapping[str, Any]], Schemas]] = {
    "generate": _generate,
    "redo": _redo,
    "train": _train,
    "cache": _cache,
    "cache_upkeep": _cache_upkeep,
    "plan": _plan,
    "bench": _bench,
    "lint": _lint,
    "preview": _preview,
    "lora": _lora,
    "models": _models,
    "synth": _synth,
    "doctor": _doctor,
    "replay": _replay,
    "check": _generate,
    "record": _record,
    "last_frame": _last_frame,
}


def _options_with(**groups: type[Any]) -> type[Any]:
    """A schema of groups that all have defaults."""
    fields = [(name, group, field(default_factory=group)) for name, group in groups.items()]
    return make_dataclass("Options", fields, frozen=True, kw_only=True)


def _chosen(name: str, value: str, known: Mapping[str, object]) -> str:
    if value not in known:
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(known)}. {suggestion(value, known)}")
    return value
