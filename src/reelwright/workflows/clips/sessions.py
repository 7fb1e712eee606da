"""Models in use: opened for a run and gone with it, or kept from one run to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.core.config import to_mapping
from reelwright.protocols.configs import AutoencodingConfig, GenerateConfig
from reelwright.protocols.family import Family, Model, Session

OpenSession = Callable[[Family, Model, GenerateConfig], Session]
_OF_NO_MODEL = ("from_file", "from_latent", "save_merged_model", "out", "run")
"""Fields that are the same for all clips of a run, but decide nothing in its networks."""
_EXECUTION = "execution"


def start_session(family: Family, model: Model, config: GenerateConfig) -> Session:
    """Take a model into use for one run."""
    return family.start(model, config.execution)


@dataclass(frozen=True, kw_only=True)
class _Demand:
    """Which networks are wanted, and how they are to run."""

    family: str
    fingerprints: Mapping[str, str]
    facts: Mapping[str, object]
    choices: Mapping[str, Any]

    def is_met_by(self, other: "_Demand") -> bool:
        """Whether networks are the same, and run alike as far as anything is said of it here."""
        same_networks = (self.family, self.fingerprints, self.facts) == (
            other.family,
            other.fingerprints,
            other.facts,
        )
        return same_networks and all(other.choices.get(name) == said for name, said in self.choices.items())


class KeptSessions:
    """Sessions that stay until they are closed, and serve every run of the same model that runs alike."""

    def __init__(self) -> None:
        self._kept: list[tuple[_Demand, Session]] = []

    def open(
        self, family: Family, model: Model, config: GenerateConfig, *, only_to_decode: bool = False
    ) -> Session:
        """A session that is kept, or else a new one.

        only_to_decode: one will do that runs its denoiser otherwise.
        """
        demand = _Demand(
            family=family.name,
            fingerprints=dict(model.fingerprints),
            facts=_plain_facts(model),
            choices=_choices(family.name, config, only_to_decode=only_to_decode),
        )
        for met, session in self._kept:
            if demand.is_met_by(met):
                return session
        session = start_session(family, model, config)
        whole = replace(demand, choices=_choices(family.name, config))
        self._kept.append((whole, session))
        return session

    def close(self, session: Session) -> None:
        """Let go of a session and of all that it has loaded."""
        self._kept = [(demand, kept) for demand, kept in self._kept if kept is not session]


def _choices(family: str, config: GenerateConfig, *, only_to_decode: bool = False) -> dict[str, Any]:
    """What a configuration says of the networks: all that is the same for the clips of a run, by name."""
    options = families.configs(family).PROMPT_OPTIONS
    mapping = to_mapping(config)
    execution: Mapping[str, Any] = mapping.pop(_EXECUTION)
    decoding = {field.name for field in fields(AutoencodingConfig)}
    chosen = {name: value for name, value in mapping.items() if options[name].refusal}
    said = {name: value for name, value in execution.items() if name in decoding or not only_to_decode}
    return {name: value for name, value in chosen.items() if name not in _OF_NO_MODEL} | {
        f"{_EXECUTION}.{name}": value for name, value in said.items()
    }


def _plain_facts(model: Model) -> dict[str, object]:
    """What a family has decided about a checkpoint, which two models with the same files may differ in."""
    plain = str | int | float | Enum | Path
    return {name: value for name, value in vars(model).items() if isinstance(value, plain)}
