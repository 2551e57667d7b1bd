"""Dice and IoU on binary masks, from counts of pixels."""

from __future__ import annotations

import torch


def confusion(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """(B, 4) pixels of each pair of bool masks: true positive, false positive, false negative, true negative."""
    p, t = predicted.flatten(1), truth.flatten(1)
    both, positive, real = (p & t).sum(1), p.sum(1), t.sum(1)
    return torch.stack([both, positive - both, real - both, p.shape[1] - positive - real + both], 1)


def dice(counts: torch.Tensor) -> torch.Tensor:
    """2|P∩T| / (|P|+|T|) of each row of counts; 1 where both masks are empty."""
    tp, fp, fn = counts[..., 0].double(), counts[..., 1], counts[..., 2]
    return torch.where(tp + fp + fn > 0, 2 * tp / (2 * tp + fp + fn).clamp(min=1), 1.0)


def iou(counts: torch.Tensor) -> torch.Tensor:
    """|P∩T| / |P∪T| of each row of counts; 1 where both masks are empty."""
    tp, fp, fn = counts[..., 0].double(), counts[..., 1], counts[..., 2]
    return torch.where(tp + fp + fn > 0, tp / (tp + fp + fn).clamp(min=1), 1.0)
