"""The probability from which a pixel counts as pet, chosen where the mean Dice of a split is highest.

Training chooses it on validation for the weights that it keeps, evaluation by the same rule for whatever it scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from oxford_pet import counted, foreground
from shared.metrics import dice

BATCH = 16  # photographs at once, fewer of those larger than USUAL, so that memory does not grow with their size
USUAL = 256
THRESHOLDS = [percent / 100 for percent in range(5, 96)]
EQUAL = 1e-9  # a difference of two mean Dice that is no more than this comes from rounding

Methods = Callable[[Tensor], Tensor]  # (B, H, W, 3) photographs to (B, M, H, W) probabilities of M methods


class Pixels(Protocol):
    """A split at the size it is scored at: slices are (B, H, W, 4) uint8, red, green, blue and trimap."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Tensor: ...


def batches(pixels: Pixels) -> Iterator[Tensor]:
    if len(pixels):
        side = pixels[:1].shape[1]
        count = max(1, min(BATCH, BATCH * USUAL**2 // side**2))
        for start in range(0, len(pixels), count):
            yield pixels[start : start + count]


def threshold_curves(methods: Methods, pixels: Pixels, border: str, on_batch: Callable[[int], object]) -> Tensor:
    """(M, T): each method's mean Dice over a split at each of THRESHOLDS, under a border rule."""
    total = torch.zeros(1)
    for batch in batches(pixels):
        maps = methods(batch[..., :3])
        total = total + dice_by_threshold(maps, batch[..., 3].to(maps.device), border).sum(0).cpu()
        on_batch(len(batch))
    return total / len(pixels)


def dice_by_threshold(maps: Tensor, trimaps: Tensor, border: str) -> Tensor:
    """(B, M, T) Dice of (B, M, H, W) probabilities at each of THRESHOLDS: one histogram instead of T comparisons."""
    background, pet, ignored = range(3)
    truth = torch.where(foreground(trimaps, border), pet, background)
    truth = torch.where(counted(trimaps, border), truth, ignored)
    steps, cells = len(THRESHOLDS), maps.shape[0] * maps.shape[1]
    reached = torch.bucketize(maps, maps.new_tensor(THRESHOLDS), right=True)  # how many thresholds a pixel reaches
    cell = torch.arange(cells, device=maps.device).view(*maps.shape[:2], 1, 1)
    index = (cell * 3 + truth.unsqueeze(1)) * (steps + 1) + reached
    histogram = torch.bincount(index.flatten(), minlength=cells * 3 * (steps + 1)).view(*maps.shape[:2], 3, steps + 1)
    at_least = histogram.flip(-1).cumsum(-1).flip(-1)
    false_positive, true_positive, _ = at_least[..., 1:].unbind(2)
    false_negative = at_least[:, :, pet, :1] - true_positive
    return dice(torch.stack([true_positive, false_positive, false_negative], -1))


def best_threshold(curve: Tensor) -> float:
    """Where the curve is highest; of equals the one nearest to 0.5."""
    least = curve.max() - EQUAL
    return min((t for t, value in zip(THRESHOLDS, curve, strict=True) if value >= least), key=lambda t: abs(t - 0.5))
