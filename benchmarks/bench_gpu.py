"""How much of a GPU training uses: its arithmetic a second against what the card reaches in bf16 matrix products.

Both networks at full width as recipes/oxford.yaml trains them, augmentation and optimiser included, on noise.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch.utils.flop_counter import FlopCounterMode

import params
from learning.engine import Trainer
from measure import Row, Skip, hardware, in_turn, row
from models import network_class
from params import whole
from place import NETWORKS, ROOT, Place, noise, values
from table import short

SIDE, BATCH, STEPS = 256, 32, 20
MATRIX, PRODUCTS = 8192, 50


def rows(_: Place) -> Iterator[Row]:
    where = hardware()
    if where.type != "cuda":
        raise Skip("no GPU here")
    for name in NETWORKS:
        yield from used(name, where, SIDE, BATCH, STEPS, MATRIX)


def used(name: str, where: torch.device, side: int, batch: int, steps: int, matrix: int) -> Iterator[Row]:
    pixels = noise(batch * steps, side).to(where)
    modes = {
        f"{name}, {'deterministic' if deterministic else 'fast'}, {'compiled' if compiled else 'eager'}": epoch(
            name, pixels, batch, where, deterministic, compiled
        )
        for deterministic, compiled in product((True, False), (False, True))
    }
    taken = in_turn({"product": products(matrix, where), **modes}, 5)
    peaks = [2 * matrix**3 * PRODUCTS / seconds for seconds in taken.pop("product")]
    arithmetic = flops(name, side) * len(pixels)
    for mode, each in taken.items():
        rates = [arithmetic / seconds for seconds in each]
        ratios = [rate / peak for rate, peak in zip(rates, peaks, strict=True)]
        figures = (
            f"{short(len(pixels) / statistics.median(each))} photographs/s,"
            f" {short(statistics.median(rates) / 1e12)} against {short(statistics.median(peaks) / 1e12)} TFLOP/s"
        )
        work = f"{steps} steps of {batch} at {side} px, bf16"
        yield row("gpu", mode, f"bf16 products of {matrix} x {matrix}", ratios, figures, work)


def epoch(
    name: str, pixels: torch.Tensor, batch: int, where: torch.device, deterministic: bool, compiled: bool
) -> Callable[[], None]:
    recipe = params.read(ROOT / "recipes/oxford.yaml")["params"]
    own = {"train": {"batch_size": batch, "compile": compiled, "deterministic": deterministic}}
    chosen = whole.check(params.overlaid(params.overlaid(values(), recipe), own), "recipes/oxford.yaml").networks[name]
    trainer = Trainer(network_class(name)(), chosen.train, 0, where, [0.5] * 3, [0.25] * 3)

    def work() -> None:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = not deterministic
        trainer.fit(pixels, 0, lambda *_: None)

    return work


def products(side: int, where: torch.device) -> Callable[[], None]:
    first, second = (torch.randn(side, side, dtype=torch.bfloat16, device=where) for _ in range(2))

    def work() -> None:
        for _ in range(PRODUCTS):
            first @ second

    return work


def flops(name: str, side: int) -> int:
    """Of a photograph, forward and backward; nothing is computed for it."""
    with torch.device("meta"):
        network, image = network_class(name)(), torch.zeros(1, 3, side, side)
    with FlopCounterMode(display=False) as counter:
        network(image).sum().backward()
    return counter.get_total_flops()
