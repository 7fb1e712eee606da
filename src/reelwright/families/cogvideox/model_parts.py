"""The folder of a model, of which a command looks for the parts that it needs and for no other."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from reelwright.core.errors import CheckpointError
from reelwright.families.cogvideox.checkpoints import (
    FOLDER_ADVICE,
    guess_dtype,
    read_transformer_config,
)
from reelwright.families.cogvideox.config import TRANSFORMERS, VARIANTS, TransformerConfig
from reelwright.protocols.model_folder import find_root, find_variant, weight_notices

ReleasedDtype = Literal["float32", "bfloat16", "float16"]


class NamesModel(Protocol):
    """What a configuration says of a model, whatever command it is for."""

    @property
    def model(self) -> str: ...

    @property
    def dit(self) -> Path | None: ...

    @property
    def offline(self) -> bool: ...


class ModelFolder:
    """The folder of a model, of which no more is looked for, or downloaded, than is asked for."""

    def __init__(self, config: NamesModel, patterns: Sequence[str]) -> None:
        self._config = config
        self._variant = find_variant(config.model, VARIANTS)
        self._is_described = config.dit is not None or config.model in TRANSFORMERS
        self._patterns = [*patterns, *([] if self._is_described else ["transformer/config.json"])]

    @cached_property
    def transformer(self) -> TransformerConfig:
        """That of the single file or the folder; the released models are known by name."""
        if self._config.dit is not None:
            return read_transformer_config(self._config.dit)
        if self._is_described:
            return TRANSFORMERS[self._config.model]
        return read_transformer_config(self.root / "transformer")

    @property
    def released_dtype(self) -> ReleasedDtype:
        return self._variant.dtype if self._variant else guess_dtype(self.transformer)

    @property
    def notices(self) -> tuple[str, ...]:
        return weight_notices(self._config.model, self.root)

    def part(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            raise CheckpointError(f"{path}: is missing. {FOLDER_ADVICE}")
        return path

    @cached_property
    def root(self) -> Path:
        return find_root(self._config.model, self._variant, self._patterns, offline=self._config.offline)
