"""Muon for matrices, AdamW for everything else, as one optimizer."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial in X X^T: steep at 0, so that few rounds are enough (Jordan et al. 2024)."""
_NUM_ROUNDS = 5
_LEAST_NORM = 1e-7


class MuonWithAdamW(Optimizer):
    """Orthogonalized momentum for parameters of two dimensions (Jordan et al. 2024); others go to AdamW.

    Updates of matrices are scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training",
    2025), so that one learning rate serves both. A group with parameters of both sorts becomes two. What a
    group names as its `edges`, the first and last layers, goes to AdamW whatever its dimensions.
    """

    def __init__(
        self,
        params: Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
        nesterov: bool = True,
        flatten: bool = False,
    ) -> None:
        """`betas` are AdamW's.

        flatten: kernels of convolutions are matrices too, [out, everything else]. Raises ValueError for
        what is out of its range.
        """
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum: {momentum} is not from 0 to below 1")
        split = _split(params, flatten=flatten)
        others = [group for group in split if not group["is_matrix"]]
        # It knows what is out of range, and fills groups with all that it takes.
        self._adamw = (
            AdamW(others, lr=lr, weight_decay=weight_decay, betas=betas, fused=True) if others else None
        )
        of_matrices = {"momentum": momentum, "nesterov": nesterov}
        matrices = [{**of_matrices, **group} for group in split if group["is_matrix"]]
        filled = [] if self._adamw is None else self._adamw.param_groups
        super().__init__([*matrices, *filled], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both. `closure` computes the loss again, with gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["is_matrix"]:
                for parameter in group["params"]:
                    self._step_matrix(parameter, group)
        if self._adamw is not None:
            # Groups and states are this optimizer's: whoever loads, moves or replaces them does it here.
            self._adamw.state = self.state
            self._adamw.param_groups = [group for group in self.param_groups if not group["is_matrix"]]
            self._adamw.step()
        return loss

    def _step_matrix(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        gradient = parameter.grad
        if gradient is None:
            return
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer, momentum = state["momentum_buffer"], group["momentum"]
        buffer.lerp_(gradient, 1.0 - momentum)
        direction = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
        matrix = direction.flatten(1)
        update = orthogonalized(matrix).to(parameter.dtype).view_as(parameter)
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonalized(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors and singular values near 1, those from about 0.7 to 1.2.

    It is computed in bfloat16 on a GPU, where it is fast, and in float32 on a processor, where bfloat16 is
    a hundred times as slow. Values below a thousandth of the matrix's norm may stay smaller.
    """
    own = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    is_tall = own.shape[0] > own.shape[1]
    wide = own.mT if is_tall else own
    wide = wide / wide.norm().clamp(min=_LEAST_NORM)
    linear, cubic, quintic = _COEFFICIENTS
    for _ in range(_NUM_ROUNDS):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.mT if is_tall else wide


def _split(groups: Iterable[Mapping[str, Any]], *, flatten: bool) -> list[dict[str, Any]]:
    """Groups with parameters of one sort each."""
    split: list[dict[str, Any]] = []
    for group in groups:
        edges = {id(each) for each in group.get("edges", ())}
        plain = {key: value for key, value in group.items() if key != "edges"}
        for is_matrix in (True, False):
            parameters = [
                each
                for each in group["params"]
                if (id(each) not in edges and _is_matrix(each, flatten=flatten)) is is_matrix
            ]
            if parameters:
                name = group["name"] if is_matrix else f"{group['name']}, not matrices"
                split.append({**plain, "params": parameters, "is_matrix": is_matrix, "name": name})
    return split


def _is_matrix(parameter: Tensor, *, flatten: bool) -> bool:
    return parameter.ndim == 2 or (flatten and parameter.ndim > 2)
