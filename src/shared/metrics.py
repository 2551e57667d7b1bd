"""From probabilities to masks, and Dice and IoU from counts of pixels. Scores that training does not need stand in
scoring/scores.py, so that a change there retrains no network."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch

Scores = TypeVar("Scores", torch.Tensor, np.ndarray)


def is_pet(scores: Scores, threshold: Any) -> Scores:
    """The rule of a threshold. Of log-odds, 0 is a probability of one half."""
    return scores >= threshold


def confusion(predicted: torch.Tensor, truth: torch.Tensor, counted: torch.Tensor | None = None) -> torch.Tensor:
    """(B, 4) pixels of each pair of bool masks: true positive, false positive, false negative, true negative.

    Where `counted` is false, a pixel is none of them.
    """
    p, t = predicted.flatten(1), truth.flatten(1)
    pixels = torch.full((len(p),), p.shape[1], device=p.device)
    if counted is not None:
        c = counted.flatten(1)
        p, t, pixels = p & c, t & c, c.sum(1)
    both, positive, real = (p & t).sum(1), p.sum(1), t.sum(1)
    return torch.stack([both, positive - both, real - both, pixels - positive - real + both], 1)


def dice(counts: torch.Tensor) -> torch.Tensor:
    """2|P∩T| / (|P|+|T|) of each row of counts; 1 where both masks are empty."""
    tp, fp, fn = counts[..., 0].double(), counts[..., 1], counts[..., 2]
    return torch.where(tp + fp + fn > 0, 2 * tp / (2 * tp + fp + fn).clamp(min=1), 1.0)


def iou(counts: torch.Tensor) -> torch.Tensor:
    """|P∩T| / |P∪T| of each row of counts; 1 where both masks are empty."""
    tp, fp, fn = counts[..., 0].double(), counts[..., 1], counts[..., 2]
    return torch.where(tp + fp + fn > 0, tp / (tp + fp + fn).clamp(min=1), 1.0)
