"""What a family brings to have its text encoders trained on captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class TextLearner(Protocol):
    """A text encoder and what it is asked: a module whose parameters are the encoder's alone."""

    def __call__(self, rows: Sequence[Tensor], generators: Sequence[torch.Generator], /) -> Tensor:
        """The loss of each caption, [B]. rows: its tokens; generators: one for each, for what is drawn."""
        ...


class LearnedEncoder(Protocol):
    """One text encoder of a model, found and checked, with nothing loaded."""

    @property
    def folder(self) -> str:
        """Of the encoder in a whole model."""
        ...

    def tokenize(self, caption: str, /) -> list[int]: ...

    def open(self, seed: int | None, /) -> nn.Module:
        """A `TextLearner` in float32 on the processor; its weights are drawn where there is a seed."""
        ...

    def files(self, tensors: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """The learner's parameters by the names of released files."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What stands in the config.json beside them."""
        ...


@dataclass(frozen=True, kw_only=True)
class EncoderModel:
    """The text encoders of a model, by the order in which they are told of."""

    encoders: tuple[LearnedEncoder, ...]
    fingerprints: Mapping[str, str]
    """Part of the model -> short name of its files' content."""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EncoderTraining:
    """A family's function for it."""

    locate: Callable[[Any], EncoderModel]
    """From the family's configuration. Raises UserError."""
