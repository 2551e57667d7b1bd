"""A step of Muon after half of the channels were idle for long: train.py takes their tiny momentum for 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from learning.muon import Muon
from measure import Row, Skip, hardware, milliseconds
from models import build
from place import NETWORKS, Place, values

TINY = 1e-39  # below the least number that a processor computes with fast
WORK = "the network of params.yaml, one thread; half of the channels long idle"


def rows(_: Place) -> Iterator[Row]:
    if hardware().type == "cuda":
        raise Skip("it acts on a CPU only")
    for name in NETWORKS:
        network = build(name, 3, 1, {key: value for key, value in values()[name].items() if key != "train"})
        kernels = [kernel for kernel in network.parameters() if kernel.ndim > 1]
        optimizer = Muon(kernels, 1e-3, 1, 0.95)
        works = {
            f"step of Muon, {name}": stepping(optimizer, kernels, flush=True),
            "tiny numbers as they are": stepping(optimizer, kernels, flush=False),
        }
        yield from milliseconds("tiny", works, 5, WORK)


def stepping(optimizer: Muon, kernels: list[torch.nn.Parameter], flush: bool) -> Callable[[], None]:
    gradients = [torch.randn_like(kernel) for kernel in kernels]
    for gradient in gradients:
        gradient[len(gradient) // 2 :] = 0

    def step() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # `set_flush_denormal` has no power over threads that run already
        torch.set_flush_denormal(flush)
        for kernel, gradient in zip(kernels, gradients, strict=True):
            kernel.grad = gradient
            if "momentum" in (state := optimizer.state[kernel]):
                state["momentum"][len(kernel) // 2 :] = TINY
        optimizer.step()
        torch.set_flush_denormal(True)
        torch.set_num_threads(threads)

    return step
