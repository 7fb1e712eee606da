"""What learns in an autoencoder, and how it becomes a folder that programs load."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reelwright.checkpoint.live_parameters import load_parameters
from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.core.events import Event, FileSaved
from reelwright.core.paths import atomic_folder
from reelwright.protocols.autoencoder_training import AutoencoderModel
from reelwright.protocols.training import ParameterGroup
from reelwright.workflows.autoencoder_training.latents import balanced_weights, measure_latents
from reelwright.workflows.autoencoder_training.network import AutoencoderNetwork

_OWN = "autoencoder."
_OPPONENT = "discriminator."
_SETTINGS = "config.json"


@dataclass(frozen=True, kw_only=True)
class AutoencoderTrainables:
    """`Trainables` of an autoencoder and its discriminator, of which only the former is saved as weights."""

    network: AutoencoderNetwork
    model: AutoencoderModel
    dtype: torch.dtype
    """Of saved files."""
    discriminator_rate: float
    """How many times as fast the discriminator learns."""
    measured_clips: Callable[[], Iterable[Tensor]] | None
    """Values [1, 3, F, H, W] by which the scale of latents is measured; None where the encoder stays."""
    balanced: bool = False
    """Save it with latents of mean 0 and deviation 1 in each channel."""

    def groups(self) -> Sequence[ParameterGroup]:
        learning = {name: each for name, each in self.network.named_parameters() if each.requires_grad}
        opponent = {name: each for name, each in learning.items() if name.startswith(_OPPONENT)}
        others = {name: each for name, each in learning.items() if name not in opponent}
        edges = frozenset(
            name
            for name in others
            if name.startswith(_OWN) and name.removeprefix(_OWN).startswith(self.model.edges)
        )
        groups = [ParameterGroup(name="autoencoder", parameters=others, edges=edges)]
        if opponent:
            factor = self.discriminator_rate
            against = ParameterGroup(
                name="discriminator", parameters=opponent, rate_factor=factor, is_opponent=True
            )
            groups.append(against)
        return groups

    def tensors(self) -> dict[str, Tensor]:
        return {name: each for name, each in self.network.named_parameters() if each.requires_grad}

    def load(self, tensors: Mapping[str, Tensor], /) -> None:
        load_parameters(self.tensors(), tensors)

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], /
    ) -> Iterator[Event]:
        """A folder in the diffusers layout, which commands take as --vae."""
        own = {name.removeprefix(_OWN): each for name, each in tensors.items() if name.startswith(_OWN)}
        state = {**self.network.autoencoder.state_dict(), **own}
        state = {name: each.detach().cpu() for name, each in state.items()}
        scale, folded = self._scale(own, state)
        state = {name: each.to(self.dtype) for name, each in {**state, **folded}.items()}
        with atomic_folder(place) as building:
            files = save_sharded(building, self.model.key_map.to_file(state), metadata=metadata)
            write_json(building / _SETTINGS, {**self.model.settings, "scaling_factor": scale})
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

    def _scale(
        self, values: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> tuple[float, dict[str, Tensor]]:
        """The scaling factor with these values as weights, and the weights that are to be saved otherwise."""
        if self.measured_clips is None:
            return self.model.scaling_factor, {}
        autoencoder = self.network.autoencoder
        live = {name: each for name, each in autoencoder.named_parameters() if name in values}
        kept = {name: each.detach().clone() for name, each in live.items()}
        with torch.no_grad():
            _put(live, values)
            spread = measure_latents(autoencoder, self.measured_clips())
            _put(live, kept)
        if not self.balanced:
            return spread.scale, {}
        model = self.model
        return 1.0, balanced_weights(state, model.latent_writer, model.latent_readers, spread)


def _put(live: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, each in live.items():
        each.copy_(values[name])
