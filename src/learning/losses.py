"""What training minimises: on log-odds and trimaps, a photograph at a time, then the mean over photographs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from oxford_pet import BORDER, counted, foreground

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_function(name: str, dice_weight: float, border_weight: float, border: str = "pet") -> Loss:
    """A function of (B, H, W) log-odds and (B, H, W) trimaps, under the border rule `border`.

    `ce` and `bce` share their arithmetic: cross entropy over two classes is the binary one of the difference of
    their logits. What differs is the network, which then has two output channels.
    """
    share = {"bce": 0.0, "ce": 0.0, "dice": 1.0, "bce_dice": dice_weight}[name]

    def loss(logits: Tensor, trimaps: Tensor) -> Tensor:
        truth = foreground(trimaps, border).to(logits.dtype)
        weight = torch.where(trimaps == BORDER, border_weight, 1.0).to(logits.dtype) * counted(trimaps, border)
        total = logits.new_zeros(())
        if share < 1:
            total = total + (1 - share) * cross_entropy(logits, truth, weight).mean()
        if share > 0:
            total = total + share * soft_dice(logits, truth, weight).mean()
        return total

    return loss


def cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """(B,): weighted mean over the pixels of a photograph."""
    pixels = F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="none")
    return pixels.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)


def soft_dice(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """(B,): one minus Dice with probabilities in place of a mask; the ones keep empty masks finite."""
    probability = torch.sigmoid(logits)
    both = (weight * probability * truth).flatten(1).sum(1)
    each = (weight * (probability + truth)).flatten(1).sum(1)
    return 1 - (2 * both + 1) / (each + 1)
