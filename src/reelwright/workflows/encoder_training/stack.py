"""All text encoders of a model as one network that learns, and how it becomes files."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.checkpoint.live_parameters import load_parameters
from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.core.events import Event, FileSaved
from reelwright.core.paths import atomic_folder
from reelwright.protocols.encoder_training import EncoderModel
from reelwright.protocols.training import Batch, Losses, ParameterGroup

_SETTINGS = "config.json"
_EMBEDDINGS = re.compile(r"embed|shared|relative_attention_bias")
"""What brings tokens and positions in, by its name in any of the encoders."""


class EncoderStack(nn.Module):
    """Asks each encoder about a batch of captions."""

    def __init__(self, learners: Mapping[str, nn.Module]) -> None:
        """learners: by the folder of each encoder."""
        super().__init__()
        self.learners = nn.ModuleDict(learners)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the captions, [B], by encoder. What is drawn follows from the items' seeds."""
        return {
            name: learner(batch.lists[name], [torch.Generator().manual_seed(seed) for seed in batch.seeds])
            for name, learner in self.learners.items()
        }


@dataclass(frozen=True, kw_only=True)
class EncoderTask:
    """The losses of all encoders count alike; none has a parameter of another."""

    def losses(self, network: nn.Module, batch: Batch, _number: int, /) -> Losses:
        by_encoder: dict[str, Tensor] = network(batch)
        sums = {name: losses_B.sum() for name, losses_B in by_encoder.items()}
        return Losses(
            total=torch.stack(list(sums.values())).sum(),
            parts={name: loss.detach() for name, loss in sums.items()},
        )


@dataclass(frozen=True, kw_only=True)
class EncoderTrainables:
    """All parameters, a folder for each encoder, called as in a whole model."""

    stack: EncoderStack
    model: EncoderModel
    dtype: torch.dtype
    """Of saved files."""

    def groups(self) -> Sequence[ParameterGroup]:
        return [self._group(name) for name in self.stack.learners]

    def tensors(self) -> dict[str, Tensor]:
        return {name: each for group in self.groups() for name, each in group.parameters.items()}

    def load(self, tensors: Mapping[str, Tensor], /) -> None:
        load_parameters(self.tensors(), tensors)

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], /
    ) -> Iterator[Event]:
        """A folder that holds the encoders' folders, to be laid over those of a model."""
        saved: list[str] = []
        with atomic_folder(place) as building:
            for encoder in self.model.encoders:
                start = f"{encoder.folder}."
                own = {
                    name.removeprefix(start): tensor.detach().cpu().to(self.dtype)
                    for name, tensor in tensors.items()
                    if name.startswith(start)
                }
                folder = building / encoder.folder
                files = save_sharded(folder, encoder.files(own), stem="model", metadata=metadata)
                write_json(folder / _SETTINGS, encoder.settings())
                saved += [f"{encoder.folder}/{name}" for name in (*(file.name for file in files), _SETTINGS)]
        for name in saved:
            kind = "settings" if name.endswith(_SETTINGS) else "model"
            yield FileSaved(f"{name.partition('/')[0]} {kind}", str(place / name))

    def untrained(self) -> AbstractContextManager[bool]:
        """False: what they were is nowhere kept."""
        return nullcontext(enter_result=False)

    def after_step(self) -> None:
        """There are no limits."""

    def change(self) -> float:
        """NaN: the weights before are nowhere kept."""
        return math.nan

    def _group(self, name: str) -> ParameterGroup:
        named = self.stack.learners[name].named_parameters()
        parameters = {f"{name}.{own}": parameter for own, parameter in named}
        edges = frozenset(own for own in parameters if _EMBEDDINGS.search(own))
        return ParameterGroup(name=name, parameters=parameters, edges=edges)
