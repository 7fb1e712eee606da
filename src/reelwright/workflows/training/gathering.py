"""Tensors that are spread over processes, put together."""

from collections.abc import Mapping

from torch import Tensor

from reelwright.checkpoint.live_parameters import whole


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each whole. All processes must ask for the same names in the same order.

    One that is spread over processes becomes a copy on the CPU, one after the other, so that the device
    never holds two of them; others are passed on as they are, live.
    """
    return {name: _whole(tensor) for name, tensor in tensors.items()}


def _whole(tensor: Tensor) -> Tensor:
    put_together = whole(tensor)
    return tensor if put_together is tensor else put_together.detach().cpu()
