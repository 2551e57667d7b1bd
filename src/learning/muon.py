"""Muon (kellerjordan.github.io/posts/muon), for networks of convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NARROWEST = 8  # with fewer output channels than this, as the last kernel has, AdamW is used
LENGTH = 0.2  # the root mean square of AdamW's usual step, at a rate of 1 (arXiv 2502.16982)
ROUNDS = 5  # of the iteration
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the polynomial that draws every singular value towards 1


class Muon(torch.optim.AdamW):
    """Updates a kernel by its momentum, after all singular values of the update have been made about 1.

    So weak directions learn as fast as strong ones. The step is as long as AdamW's usually is, so that both can share
    a learning rate and a weight decay. Biases and norm weights are updated by AdamW. For a matrix, the update is that
    of torch.optim.Muon(adjust_lr_fn="match_rms_adamw"), which takes no kernels of convolutions.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float) -> None:
        kernels: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in parameters:
            (kernels if parameter.ndim > 1 and len(parameter) >= NARROWEST else others).append(parameter)
        groups: list[dict[str, Any]] = [{"params": kernels, "momentum": momentum}, {"params": others}]
        super().__init__(groups, lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # a closure would give the kernels new gradients, for AdamW
        kernels, _ = self.param_groups
        for kernel in kernels["params"]:
            if kernel.grad is not None:
                self.move(kernel, kernel.grad, kernels)
                kernel.grad = None  # so that AdamW leaves it alone
        super().step()

    def move(self, kernel: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
            state["step"] = torch.zeros(())  # AdamW restores no state without it
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(state["momentum"], group["momentum"])
        matrix = ahead.movedim(1, -1).flatten(1)  # a row for each output, in the order of channels_last
        update = balanced(matrix).unflatten(1, (*kernel.shape[2:], -1)).movedim(-1, 1)
        kernel.mul_(1 - group["lr"] * group["weight_decay"])
        kernel.add_(update, alpha=-group["lr"] * LENGTH * math.sqrt(max(matrix.shape)))


def balanced(matrix: Tensor) -> Tensor:
    """About U V^T where `matrix` is U S V^T, by the iteration of Newton and Schulz, which needs no decomposition."""
    if len(matrix) > matrix.shape[1]:
        return balanced(matrix.mT).mT
    wide = matrix.bfloat16()
    wide = wide / wide.norm().clamp(min=1e-7)
    own, cubed, fifth = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubed, alpha=fifth), wide, beta=own)
    return wide
