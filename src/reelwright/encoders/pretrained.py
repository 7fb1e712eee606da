"""What all encoders share: a network of transformers, described, checked, loaded at first use, released."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.lane import Lane, run_along
from reelwright.checkpoint.layout_fit import Shape
from reelwright.checkpoint.left_in_file import LeaveInFile, make_room
from reelwright.checkpoint.loading import Hold, expected_shapes, load_network
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.settings_files import read_json, settings_beside
from reelwright.checkpoint.stored_network import StoredNetwork
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.encoders.quiet_networks import import_networks

if TYPE_CHECKING:
    import transformers

C = TypeVar("C", bound="transformers.PreTrainedConfig")
N = TypeVar("N", bound="transformers.PreTrainedModel")


@dataclass(frozen=True, kw_only=True)
class NetworkKind(Generic[C, N]):
    """What tells one kind of network from another; functions, because transformers imports networks late."""

    title: str
    """As in "this is not a T5 text encoder"."""
    example: str
    """The name of a single file that holds one."""
    model_types: tuple[str, ...]
    """What config.json may call it."""
    layouts: tuple[KeyMap, ...]
    settings: Callable[[Mapping[str, Shape]], dict[str, Any]]
    """The settings that shapes by our names tell; KeyError or ValueError if it is another network, and
    CheckpointError without the file's name if they do not tell enough."""
    config: Callable[[dict[str, Any]], C]
    shapes: Callable[[C], Mapping[str, Shape]]
    """Of the tensors that the network needs, by our names. ValueError if the sizes do not go together.

    Files are checked against these, since transformers takes seconds to import a network.
    """
    network: Callable[[C], N]
    finish: Callable[[N], None] = lambda network: None
    """Take off the parts whose output is never read, and compute the buffers that no file holds."""
    keeps_float32: Callable[[str, torch.dtype], bool] = lambda name, dtype: False
    """Whether a tensor, by our name, must stay in float32 when the others are loaded as dtype."""
    section: str = ""
    """Where the config.json of a larger model keeps the settings of this part."""
    released_prefix: str = ""
    """What stands before every name in released files."""
    stack: str = ""
    """The list of layers that hold most of the weights, of a network so large that they may come one by
    one."""


class Pretrained(Generic[C, N]):
    """The network of a folder with weights and config.json, of one shard of it, or of a single file.

    It is in memory from its first use until it is released.
    """

    is_kept = False
    """Whether it only leaves the device when it is released, so that no file is read for its next use."""
    is_streamed = False
    """Whether layers stay in their file and come to the device one by one, wherever there is a stack."""
    hold: Hold | None = None
    """What takes weights while they are read, to put them there in another way."""
    rounding = ""
    """How `hold` rounds weights, for records of what was encoded; empty if it does not."""

    def __init__(self, path: Path, kind: NetworkKind[C, N]) -> None:
        self.path = path
        self.network: N | None = None
        self._kind = kind
        self._loaded_for: tuple[torch.device, torch.dtype] | None = None

    @cached_property
    def config(self) -> C:
        """Raises CheckpointError if neither config.json nor the tensors describe such a network."""
        described = settings_beside(self.path)
        if described is not None:
            return _read_config(described, self._kind)
        with open_tensors(self.path) as source:
            return self._kind.config(_describe(source, self._kind))

    def check(self) -> None:
        """Raise CheckpointError if a file is missing or damaged, or holds another network."""
        self.stored().check()

    def stored(self) -> StoredNetwork:
        """The network as its files have it. Raises CheckpointError where they do not describe it."""
        config = self.config
        return StoredNetwork(
            path=self.path,
            make=self._empty,
            layouts=self._kind.layouts,
            shapes=self._shapes,
            settings=config.to_diff_dict,
            keeps_float32=self._kind.keeps_float32,
            keeps_unread=True,
            prefix=self._kind.released_prefix,
            stem="model",
        )

    def loaded(self, device: torch.device, dtype: torch.dtype) -> N:
        """The network with its weights in `dtype` on `device`, loaded unless it is there already."""
        if self.network is not None and self._loaded_for == (device, dtype):
            nn.Module.to(self.network, device)
            return self.network
        self.network = None
        network = self._empty()
        before = expected_shapes(network)
        self._kind.finish(network)
        lost = before.keys() - expected_shapes(network)
        load_network(
            network,
            self.path,
            [_without(layout, lost) for layout in self._kind.layouts],
            device=device,
            dtype=dtype,
            keep_float32=lambda name: self._kind.keeps_float32(name, dtype),
            hold=self._left_in_file(device) or self.hold,
        )
        nn.Module.to(network, device)  # the buffers that were computed
        self._stream(network, device)
        self.network = network
        self._loaded_for = (device, dtype)
        return self.network

    def to_train(self, seed: int | None) -> N:
        """Another network in float32 on the processor, with the parts that are never read in use.

        Its weights are drawn where there is a seed, and then no file but config.json is needed.
        """
        import_networks()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            network = self._kind.network(self.config)
        if seed is None:
            cpu = torch.device("cpu")
            load_network(network, self.path, self._kind.layouts, device=cpu, dtype=torch.float32)
        return network

    def to_file(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a network as `to_train` gives it by the names of released files."""
        named = self._kind.layouts[0].to_file(tensors)
        return {self._kind.released_prefix + name: tensor for name, tensor in named.items()}

    def release(self) -> None:
        """Give back the network's memory, or that of the device; the next use takes it again."""
        if self.is_kept and self.network is not None and not self._is_in_file:
            nn.Module.to(self.network, "cpu")
        else:
            self.network = None

    @property
    def _is_in_file(self) -> bool:
        return self.is_streamed and bool(self._kind.stack)

    def _left_in_file(self, device: torch.device) -> Hold | None:
        """What leaves the layers in their file, if they are to be."""
        if not self._is_in_file:
            return None
        within = f"{self._kind.stack}."

        def choose(network: nn.Module) -> frozenset[str]:
            return frozenset(name for name, _ in network.named_parameters() if name.startswith(within))

        return LeaveInFile(self.path, choose, device)

    def _stream(self, network: N, device: torch.device) -> None:
        """Have layers that were left in their file come when they are needed: two are there at a time."""
        if not self._is_in_file:
            return
        layers = list(network.get_submodule(self._kind.stack).children())
        rooms = {place: make_room(layer, device) for place, layer in enumerate(layers)}
        run_along(Lane(rooms, device), network, layers)

    def _shapes(self) -> Mapping[str, Shape]:
        try:
            return self._kind.shapes(self.config)
        except (ValueError, ZeroDivisionError) as error:  # sizes as in a config.json of another network
            raise CheckpointError(
                f"{self.path}: its settings are of no {self._kind.title} ({error}). Give the folder of one."
            ) from error

    def _empty(self) -> N:
        self._shapes()  # refuses what transformers would, in words of ours
        import_networks()
        with torch.device("meta"):
            return self._kind.network(self.config)


def rounded_as(encoder: Pretrained[Any, Any]) -> dict[str, str]:
    """What keys of features must tell of the rounding of weights; nothing where there is none."""
    return {"text_weights": encoder.rounding} if encoder.rounding else {}


def part_of(path: Path, folder_name: str) -> Path:
    """The folder of a part, where `path` is that of a whole model; else `path`."""
    return path / folder_name if (path / folder_name).is_dir() else path


def count_layers(shapes: Mapping[str, Shape], stack: str) -> int:
    """How many layers the stack of that name has."""
    return len(
        {name.removeprefix(f"{stack}.").split(".")[0] for name in shapes if name.startswith(f"{stack}.")}
    )


def count_heads(width: int, head_size: int) -> int:
    """Of an attention layer in a single file, which does not tell them: those of released networks.

    Raises CheckpointError if there is no such number, without the name of the file.
    """
    if width % head_size:
        raise CheckpointError(
            f"{width} channels are no whole number of heads of {head_size} channels, which released files"
            " have, and the file does not tell its own. Give the folder that has its config.json."
        )
    return width // head_size


def _without(layout: KeyMap, our_names: Iterable[str]) -> KeyMap:
    """The layout of files that hold tensors which a network has no more."""
    places = [place.file_name for name in our_names if (place := layout.locate(name))]
    return replace(layout, dropped=(*layout.dropped, *places))


def _read_config(path: Path, kind: NetworkKind[C, N]) -> C:
    settings = read_json(path)
    settings = settings.get(kind.section, settings)
    try:
        model_type = settings.get("model_type", kind.model_types[0])
        if model_type not in kind.model_types:
            raise CheckpointError(
                f"{path}: is of {model_type}; a {kind.title} is needed. Give its folder, or a file such as"
                f" {kind.example}."
            )
        return kind.config(settings)
    except (ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Fetch it again.") from error


def _describe(source: TensorSource, kind: NetworkKind[C, N]) -> dict[str, Any]:
    """The settings that the tensors of a single file tell."""
    shapes = {_our_name(name, kind.layouts): shape for name, shape in source.shapes().items()}
    try:
        return kind.settings(shapes)
    except CheckpointError as error:
        raise CheckpointError(f"{source.origin}: {error}") from error
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{source.origin}: this is not a {kind.title}; its first tensors are"
            f" {', '.join(source.names()[:3])}. Give one such as {kind.example}."
        ) from error


def _our_name(file_name: str, layouts: tuple[KeyMap, ...]) -> str:
    """Our name of a file's tensor in the first layout that knows it."""
    for layout in layouts:
        for found in layout.find(layout.without_prefix(file_name)):
            return found.ours
    return file_name
