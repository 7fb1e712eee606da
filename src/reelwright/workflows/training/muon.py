"""Muon for matrices, AdamW for everything else, as one optimizer."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Orthogonalized momentum for parameters of two dimensions (Jordan et al. 2024); others go to AdamW.

    Updates of matrices are scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training",
    2025), so that one learning rate serves both. A group with parameters of both sorts becomes two.
    """

    def __init__(
        self,
        params: Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        **of_matrices: object,
    ) -> None:
        """`betas` are AdamW's; `of_matrices` is what else torch.optim.Muon takes. Raises as both do."""
        self._inner: list[tuple[bool, Optimizer]] = []
        arguments: dict[str, Any] = {"adjust_lr_fn": "match_rms_adamw", **of_matrices}
        split = _split(params)
        matrices = [group for group in split if group["is_matrix"]]
        others = [group for group in split if not group["is_matrix"]]
        if matrices:
            self._inner.append((True, Muon(matrices, lr=lr, weight_decay=weight_decay, **arguments)))
        if others:
            adamw = AdamW(others, lr=lr, weight_decay=weight_decay, betas=betas, fused=True)
            self._inner.append((False, adamw))
        # Each group already has all that its algorithm takes.
        super().__init__(
            [group for _, inner in self._inner for group in inner.param_groups],
            {"lr": lr, "weight_decay": weight_decay},
        )
        self._link()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both. `closure` computes the loss again, with gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._link()
        for _, inner in self._inner:
            inner.step()
        return loss

    def _link(self) -> None:
        """Groups and states are this optimizer's: whoever loads, moves or replaces them does it here."""
        for is_matrix, inner in self._inner:
            inner.state = self.state
            inner.param_groups = [group for group in self.param_groups if group["is_matrix"] is is_matrix]


def _split(groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups with parameters of one sort each."""
    split: list[dict[str, Any]] = []
    for group in groups:
        for is_matrix in (True, False):
            parameters = [each for each in group["params"] if (each.ndim == 2) is is_matrix]
            if parameters:
                name = group["name"] if is_matrix else f"{group['name']}, not matrices"
                split.append({**group, "params": parameters, "is_matrix": is_matrix, "name": name})
    return split
