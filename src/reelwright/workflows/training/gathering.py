"""Tensors that are spread over processes, put together."""

from collections.abc import Callable, Mapping

from torch import Tensor


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each whole. All processes must ask for the same names in the same order.

    One that is spread over processes becomes a copy on the CPU, one after the other, so that the device
    never holds two of them; others are passed on as they are, live.
    """
    return {name: _whole(tensor) for name, tensor in tensors.items()}


def _whole(tensor: Tensor) -> Tensor:
    # By what it can do: builds of torch without processes have no class of such tensors.
    put_together: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if put_together is None else put_together().detach().cpu()
