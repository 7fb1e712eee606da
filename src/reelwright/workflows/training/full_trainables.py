"""The whole denoiser as what learns: every parameter, saved as released models are."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.checkpoint.live_parameters import load_parameters
from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.core.events import Event, FileSaved
from reelwright.core.paths import atomic_folder
from reelwright.execution.stacks import stacks_of
from reelwright.protocols.training import ParameterGroup, Trainables, TrainingModel

_SETTINGS = "config.json"


def full_trainables(denoiser: nn.Module, model: TrainingModel, dtype: torch.dtype) -> Trainables:
    """Let all of a denoiser learn, in place. `dtype` is that of saved files."""
    denoiser.requires_grad_(requires_grad=True)
    parameters = dict(denoiser.named_parameters())
    buffers = tuple(name for name in denoiser.state_dict() if name not in parameters)
    return _FullTrainables(denoiser=denoiser, model=model, dtype=dtype, buffers=buffers)


def described_by(trainables: Trainables, model: TrainingModel) -> Trainables:
    """The same, saved with what `model` says of itself; adapters are told of in their metadata."""
    return replace(trainables, model=model) if isinstance(trainables, _FullTrainables) else trainables


@dataclass(frozen=True, kw_only=True)
class _FullTrainables:
    """`Trainables` of a whole denoiser. Parameters are looked up each time, as they stand in it."""

    denoiser: nn.Module
    model: TrainingModel
    dtype: torch.dtype
    buffers: tuple[str, ...]
    """What is saved though it does not learn."""

    def groups(self) -> Sequence[ParameterGroup]:
        parameters = dict(self.denoiser.named_parameters())
        inside = {id(each) for stack in stacks_of(self.denoiser) for each in stack.parameters()}
        edges = frozenset(name for name, each in parameters.items() if inside and id(each) not in inside)
        return [ParameterGroup(name="denoiser", parameters=parameters, edges=edges)]

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.denoiser.named_parameters())

    def load(self, tensors: Mapping[str, Tensor], /) -> None:
        load_parameters(self.tensors(), tensors)

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], /
    ) -> Iterator[Event]:
        """A folder that loads like a released model."""
        buffers = {name: self.denoiser.get_buffer(name) for name in self.buffers}
        state = {name: self._rounded(tensor) for name, tensor in {**buffers, **tensors}.items()}
        with atomic_folder(place) as building:
            files = save_sharded(building, self.model.key_map.to_file(state), metadata=metadata)
            write_json(building / _SETTINGS, self.model.settings)
        for file in files:
            yield FileSaved("model", str(place / file.name))
        yield FileSaved("settings", str(place / _SETTINGS))

    def untrained(self) -> AbstractContextManager[bool]:
        """False: what it was is nowhere kept."""
        return nullcontext(enter_result=False)

    def after_step(self) -> None:
        """There are no limits."""

    def change(self) -> float:
        """NaN: the weights before are nowhere kept."""
        return math.nan

    def _rounded(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor
