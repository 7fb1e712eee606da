"""The models in use in this ComfyUI: one place for all nodes, so that a new prompt loads nothing again."""

from dataclasses import replace
from typing import Any

from reelwright import families
from reelwright.comfy import host
from reelwright.comfy.memory import ManagedSession, announce, make_room
from reelwright.core.config import to_mapping
from reelwright.execution.devices import choose_device
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.family import Family, Model, Session
from reelwright.protocols.presets import filled
from reelwright.workflows.clips.sessions import KeptSessions
from reelwright.workflows.planning.fitted import fitted

_NO_MATTER = ("prompt", "negative_prompt", "seed", "run", "preview_every")
"""Fields that no memory depends on."""


class SessionsInUse:
    """Sessions by model, known to ComfyUI's manager of memory, which may close them."""

    def __init__(self) -> None:
        self._kept = KeptSessions()
        self._managed: list[tuple[Session, ManagedSession]] = []
        self._left: list[ManagedSession] = []
        self._fits: dict[str, ExecutionConfig] = {}

    def open(
        self, family: Family, model: Model, config: GenerateConfig, *, only_to_decode: bool = False
    ) -> Session:
        """A session in use, or a new one, for which ComfyUI's own models and other sessions have left."""
        session = self._kept.open(family, model, config, only_to_decode=only_to_decode)
        device = choose_device(config.execution.device)
        managed = next((each for kept, each in self._managed if kept is session), None)
        make_room(device, managed)
        if managed is None:
            self._left.clear()
            managed = ManagedSession(device, self._close)
            self._managed.append((session, managed))
        announce(managed)
        return session

    def open_to_decode(self, family: Family, model: Model, config: GenerateConfig) -> Session:
        """The same, where it is of no concern how the denoiser runs."""
        return self.open(family, model, config, only_to_decode=True)

    def fit(self, family: str, config: GenerateConfig) -> GenerateConfig:
        """The configuration with options that fit into memory, chosen once for each size of clip.

        What is free is only known without a model in use: where it is asked for, all leave first.
        """
        config = filled(config, families.configs(family).PRESETS)
        device = choose_device(config.execution.device)
        wanted = config.execution.fit
        if wanted == "off" or (wanted == "auto" and device.type != "cuda"):
            return config
        asked = _what_matters(family, config)
        if asked not in self._fits:
            make_room(device, None)
            found, said = fitted(family, config)
            for line in said:
                host.tell(line)
            self._fits[asked] = replace(found.execution, fit="off")
        return replace(config, execution=self._fits[asked])

    def _close(self, managed: ManagedSession) -> None:
        """Let go of a session that the manager wants gone."""
        for session in [kept for kept, each in self._managed if each is managed]:
            self._kept.close(session)
        self._managed = [(kept, each) for kept, each in self._managed if each is not managed]
        self._left.append(managed)


def _what_matters(family: str, config: GenerateConfig) -> str:
    values: dict[str, Any] = to_mapping(config)
    return repr((family, sorted((name, value) for name, value in values.items() if name not in _NO_MATTER)))


SESSIONS = SessionsInUse()
