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


def threshold_curves(
    methods: Methods, pixels: Pixels, on_batch: Callable[[int], object], border: str = "pet"
) -> Tensor:
    """(M, T): each method's mean Dice over a split at each of THRESHOLDS."""
    total = torch.zeros(1)
    for batch in batches(pixels):
        maps = methods(batch[..., :3])
        trimaps = batch[..., 3].to(maps.device)
        seen = counted(trimaps, border) if border == "ignore" else None
        total = total + dice_by_threshold(maps, foreground(trimaps, border), seen).sum(0).cpu()
        on_batch(len(batch))
    return total / len(pixels)


def dice_by_threshold(maps: Tensor, truth: Tensor, counted: Tensor | None = None) -> Tensor:
    """(B, M, T) Dice of (B, M, H, W) probabilities at each of THRESHOLDS: one histogram instead of T comparisons.

    Where `counted` is false, a pixel does not count.
    """
    steps, cells = len(THRESHOLDS), maps.shape[0] * maps.shape[1]
    reached = torch.bucketize(maps, maps.new_tensor(THRESHOLDS), right=True)  # how many thresholds a pixel reaches
    cell = torch.arange(cells, device=maps.device).view(*maps.shape[:2], 1, 1)
    index = (cell * 2 + truth.unsqueeze(1)) * (steps + 1) + reached
    if counted is not None:
        index = index[counted.unsqueeze(1).expand_as(index)]
    histogram = torch.bincount(index.flatten(), minlength=cells * 2 * (steps + 1)).view(*maps.shape[:2], 2, steps + 1)
    at_least = histogram.flip(-1).cumsum(-1).flip(-1)
    false_positive, true_positive = at_least[..., 1:].unbind(2)
    false_negative = at_least[:, :, 1, :1] - true_positive
    return dice(torch.stack([true_positive, false_positive, false_negative], -1))


def best_threshold(curve: Tensor) -> float:
    """Where the curve is highest; of equals the one nearest to 0.5."""
    least = curve.max() - EQUAL
    return min((t for t, value in zip(THRESHOLDS, curve, strict=True) if value >= least), key=lambda t: abs(t - 0.5))
