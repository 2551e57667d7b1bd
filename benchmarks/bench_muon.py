"""A step of Muon against one of AdamW, and against torch's Muon on kernels that are matrices already."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from learning.muon import Muon, as_matrix
from measure import Row, hardware, races
from models import build
from place import NETWORKS, Place, values


def rows(_: Place) -> Iterator[Row]:
    where = hardware()
    for name in NETWORKS:
        network = build(name, 3, 1, {key: value for key, value in values()[name].items() if key != "train"})
        parameters = list(network.to(where, memory_format=torch.channels_last).parameters())  # type: ignore[call-overload]
        kernels = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim == 1]
        matrices = [nn.Parameter(as_matrix(kernel.detach())) for kernel in kernels]
        theirs = [torch.optim.Muon(matrices, 1e-3, adjust_lr_fn="match_rms_adamw"), torch.optim.AdamW(others, 1e-3)]
        works = {
            f"step of Muon, {name}": stepping([Muon(parameters, 1e-3, 0.1, 0.95)], parameters),
            "AdamW": stepping([torch.optim.AdamW(parameters, 1e-3, fused=True)], parameters),
            "torch's Muon": stepping(theirs, [*matrices, *others]),
        }
        work = f"the network of params.yaml, {sum(map(Tensor.numel, parameters)):,} parameters"
        yield from races("muon", works, 7, work, "steps/s")


def stepping(optimizers: list[torch.optim.Optimizer], parameters: list[nn.Parameter]) -> Callable[[], int]:
    gradients = [torch.randn_like(parameter) for parameter in parameters]

    def step() -> int:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
        return 1

    return step
