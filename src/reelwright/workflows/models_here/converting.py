"""A network written in another form: other files, another number format, released names."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from reelwright import families
from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.layout_fit import detect_layout, fit_layout
from reelwright.checkpoint.loading import expected_shapes
from reelwright.checkpoint.network_files import is_one_file, write_network
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.scales import SCALE_WEIGHT
from reelwright.checkpoint.stored_network import StoredNetwork
from reelwright.checkpoint.stored_tensor import StoredTensor, staging_buffer
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError, ConfigError, FileError
from reelwright.core.events import Event, Notice, StageStarted
from reelwright.execution.weights import ROUNDINGS, format_in_file, saved_weight
from reelwright.protocols.models_configs import ConvertModel
from reelwright.workflows.lora_writing import check_new
from reelwright.workflows.models_here.finding import FoundModel, find_model
from reelwright.workflows.models_here.recognizing import LORA, Recognized, recognize_file

_OF_ONE_FILE = ("format", "sshs_", "modelspec.hash")
"""Beginnings of metadata that tell of the file that was read."""


def convert(config: ConvertModel) -> Iterator[Event]:
    """Write the network at `source` to `out`. Raises UserError before anything is written."""
    check_new(config.out, [config.source])
    if config.out.exists() and (config.out.is_file() or any(config.out.iterdir())):
        raise ConfigError(f"out: {config.out} is there already. Name another file or folder.")
    known = _recognized(config)
    stored = _describe(known, _place(config))
    if config.weights in ROUNDINGS and stored.roundable is None:
        raise ConfigError(
            f"weights: programs expect no {known.part} in {config.weights}. Leave it out, or use --dtype."
        )
    settings = {} if is_one_file(config.out) else stored.settings()
    yield Notice(f"{stored.path}: {known.part} of {known.family}.")
    yield StageStarted("convert")
    tensors, metadata = _read(stored, config)
    yield from write_network(tensors, config.out, settings, metadata, stored.stem)


def _place(config: ConvertModel) -> Path:
    """The part's own folder, where the source is that of a whole model, or a model's name."""
    part = config.part or "transformer"
    if config.family and not config.source.exists():
        model = find_model(config.family, str(config.source))
        if model is not None:
            return _part_of(model, part)
    return config.source / part if (config.source / part).is_dir() else config.source


def _part_of(model: FoundModel, part: str) -> Path:
    if part not in model.paths:
        raise FileError(
            f"{model.variant.name}: its {part} is not on this machine. Get it: {model.get_command}"
        )
    return model.paths[part]


def _recognized(config: ConvertModel) -> Recognized:
    place = _place(config)
    known = recognize_file(place, config.family, config.part)
    if not known:
        of = f" {config.part}" if config.part else " network"
        raise CheckpointError(
            f"{place}: no family here knows its tensors as a{of}. `reelwright models list --folder DIR`"
            " tells what files are."
        )
    if known[0].part == LORA:
        raise ConfigError(f"source: {place} is a LoRA. Use `reelwright lora convert`.")
    if len({each.part for each in known}) > 1:
        choices = ", ".join(f"--part {each.part}" for each in known)
        raise ConfigError(f"source: {place} may be several parts. Say which: {choices}.")
    return known[0]


def _describe(known: Recognized, place: Path) -> StoredNetwork:
    part = next(each for each in families.load(known.family).parts if each.name == known.part)
    assert part.describe is not None, "only networks are recognized"
    return part.describe(place)


def _read(stored: StoredNetwork, config: ConvertModel) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors under released names in the format that is wanted; and what the metadata tell."""
    network = stored.make()
    shapes = expected_shapes(network)
    is_rounded = config.weights in ROUNDINGS and stored.roundable is not None
    chosen = frozenset(stored.roundable(network)) if is_rounded and stored.roundable else frozenset[str]()
    with open_tensors(stored.path) as source:
        fit = fit_layout(source, detect_layout(source, stored.layouts, shapes), shapes)
        staging = staging_buffer()
        tensors: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            tensor = StoredTensor(source, fit.located[name], shape, staging)
            tensors |= _convert(name, tensor, stored, config, chosen)
        named = stored.layouts[0].to_file(tensors)
        if stored.keeps_unread and fit.layout == stored.layouts[0]:
            named |= _unread(source, fit.layout, config)
        metadata = {key: text for key, text in source.metadata.items() if not key.startswith(_OF_ONE_FILE)}
    return {stored.prefix + name: tensor for name, tensor in named.items()}, {**metadata, **stored.facts}


def _unread(source: TensorSource, layout: KeyMap, config: ConvertModel) -> dict[str, Tensor]:
    """Tensors that belong to the same network and that nothing here needs."""
    unread: dict[str, Tensor] = {}
    for raw_name in source.names():
        name = layout.without_prefix(raw_name)
        if layout.drops(name) and not layout.find(name):
            tensor = source.read(raw_name)
            is_converted = config.dtype != "auto" and tensor.is_floating_point()
            unread[name] = tensor.to(getattr(torch, config.dtype)) if is_converted else tensor
    return unread


def _convert(
    name: str, tensor: StoredTensor, stored: StoredNetwork, config: ConvertModel, chosen: frozenset[str]
) -> Mapping[str, Tensor]:
    """One tensor by our name, with its scale where it has one."""
    module, _, leaf = name.rpartition(".")
    if not tensor.dtype.is_floating_point:
        return {name: tensor.read(tensor.dtype, "cpu")}
    dtype = _dtype(name, tensor, stored, config)
    if leaf == "weight" and module in chosen:
        rounded = ROUNDINGS["fp8" if config.weights == "fp8" else "fp8_scaled"](tensor.read(dtype, "cpu"))
        return saved_weight(module, rounded.values, rounded.scale)
    has_place = not tensor.has_scale or stored.layouts[0].locate(f"{module}.{SCALE_WEIGHT}") is not None
    if config.weights == "auto" and format_in_file(tensor) != "full" and has_place:
        values, scale = tensor.read_quantized("cpu")
        return {name: values} if scale is None else saved_weight(module, values, scale)
    return {name: tensor.read(dtype, "cpu")}


def _dtype(name: str, tensor: StoredTensor, stored: StoredNetwork, config: ConvertModel) -> torch.dtype:
    if config.dtype == "auto":
        return tensor.full_dtype
    wanted: torch.dtype = getattr(torch, config.dtype)
    return torch.float32 if stored.keeps_float32(name, wanted) else wanted
