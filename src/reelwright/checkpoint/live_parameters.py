"""Values in and out of a network's parameters, also of those that are cut over several processes."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from reelwright.core.errors import CheckpointError

_NUM_SHOWN = 3
_OTHER = "They are of another training: use its method and its settings of adapters, or start anew."


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process; all of them must ask at the same time."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def load_parameters(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Put whole values into the parameters of these names.

    Raises CheckpointError, with nothing changed, unless names and shapes are the same.
    """
    if missing := sorted(parameters.keys() - values.keys()):
        raise CheckpointError(f"{_listed(missing)}: no values are given. {_OTHER}")
    if strange := sorted(values.keys() - parameters.keys()):
        raise CheckpointError(f"{_listed(strange)}: nothing learns under these names. {_OTHER}")
    for name, parameter in parameters.items():
        if parameter.shape != values[name].shape:
            raise CheckpointError(
                f"{name}: is {list(parameter.shape)}, the values are {list(values[name].shape)}. {_OTHER}"
            )
    for name, parameter in parameters.items():
        put(parameter, values[name])


@torch.no_grad()
def put(parameter: Tensor, value: Tensor) -> None:
    """Copy a whole value into a parameter, which keeps its number format and place."""
    if isinstance(parameter, DTensor):
        value = value.to(parameter.device)
        value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
    parameter.copy_(value)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NUM_SHOWN])
    return f"{shown}, … ({len(names)})" if len(names) > _NUM_SHOWN else shown
