"""Muon (kellerjordan.github.io/posts/muon), for networks of convolutions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NARROWEST = 8  # with fewer rows than this, as the last kernel has, AdamW is used
LENGTH = 0.2  # the root mean square of AdamW's usual step, at a rate of 1 (arXiv 2502.16982)
ROUNDS = (3, 2)  # of the iteration; between them it begins anew
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
        # On a CPU `foreach` takes square roots from MKL, whose last bits differ between makes. Those of `fused` do not.
        super().__init__(groups, lr, weight_decay=weight_decay, fused=True)
        # A fused AdamW leaves out a step in which fp16 overflowed. Here GradScaler shall do it, for the kernels too.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # a closure would give the kernels new gradients, for AdamW
        kernels, _ = self.param_groups
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for kernel in kernels["params"]:
            if kernel.grad is not None:
                matrix = as_matrix(self.ahead(kernel, kernel.grad, kernels["momentum"]))
                alike[matrix.shape].append((kernel, matrix))
                kernel.grad = None  # so that AdamW leaves it alone
        for shape, pairs in alike.items():  # one product for many small kernels takes less time than many products
            length = kernels["lr"] * LENGTH * math.sqrt(max(shape))
            for (kernel, _), update in zip(pairs, balanced(torch.stack([matrix for _, matrix in pairs])), strict=True):
                kernel.mul_(1 - kernels["lr"] * kernels["weight_decay"])
                kernel.add_(update.unflatten(1, (*kernel.shape[2:], -1)).movedim(-1, 1), alpha=-length)
        super().step()

    def ahead(self, kernel: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """The momentum after this gradient, one step ahead (Nesterov)."""
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
            state["step"] = torch.zeros(())  # AdamW restores no state without it
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum)


def as_matrix(kernel: Tensor) -> Tensor:
    """A row for each output channel (of a transposed convolution: each input), in the order of channels_last."""
    return kernel.movedim(1, -1).flatten(1)


def balanced(matrices: Tensor) -> Tensor:
    """About U V^T for each matrix U S V^T, by the iteration of Newton and Schulz, which needs no decomposition.

    A round multiplies the matrix from the left by a polynomial of its Gram matrix, and the next Gram matrix follows
    from the last. So the rounds work on small squares alone, which is fast enough for full precision on any processor.
    They begin anew from the matrix once, before the squares' rounding errors are felt.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return balanced(matrices.mT).mT
    wide = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for rounds in ROUNDS:
        gram = wide @ wide.mT
        step = product = polynomial(gram)
        for _ in range(rounds - 1):
            gram = step @ gram @ step
            step = polynomial(gram)
            product = step @ product
        wide = product @ wide
    return wide


def polynomial(gram: Tensor) -> Tensor:
    """What a round multiplies the matrix by."""
    own, cubed, fifth = COEFFICIENTS
    result = torch.baddbmm(gram, gram, gram, beta=cubed, alpha=fifth)
    result.diagonal(dim1=-2, dim2=-1).add_(own)
    return result
