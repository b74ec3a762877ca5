"""Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon): momentum, made orthogonal.

Matrices of one shape are one stack, so that a step is a handful of products; and the rate is a tensor. Both
let a GPU record a whole training step and play it again, which torch's own Muon, matrix by matrix with rates
that are numbers, does not.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

STEPS = ((3.4445, -4.7750, 2.0315),) * 5  # of the Newton-Schulz iteration, the author's


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (half-)orthogonal matrices of a stack (n, rows, columns), about: singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in STEPS:
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """For matrices only. lr: a tensor of one number, on the device of the parameters."""

    def __init__(
        self, params: Iterable[Tensor], lr: Tensor, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for one in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in one["params"]:
                shapes.setdefault(parameter.shape, []).append(parameter)
            for (rows, columns), same in shapes.items():
                slopes = torch.stack([p.grad for p in same])  # type: ignore[misc]
                state = self.state[same[0]]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(slopes)
                state["momentum"].lerp_(slopes, 1 - one["momentum"])
                ahead = slopes.lerp(state["momentum"], one["momentum"])
                step = orthogonal(ahead) * (one["lr"] * max(1.0, rows / columns) ** 0.5)
                for parameter, part in zip(same, step.unbind(), strict=True):
                    parameter.mul_(1 - one["lr"] * one["decay"]).sub_(part)
