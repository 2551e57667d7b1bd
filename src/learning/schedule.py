"""The learning rate as a function of time and of what validation has said so far: nothing to save or restore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

from params.training import Train

RISE = 0.3  # share of a one-cycle schedule in which the rate rises
START = 25  # a one-cycle schedule begins at lr / 25


def learning_rate(settings: Train, epoch: int, fraction: float, valid_dice: Sequence[float]) -> float:
    """The rate in `epoch` (from 0) when `fraction` of its steps, this one included, are done."""
    time = epoch + fraction
    warm = min(1.0, time / settings.warmup) if settings.warmup else 1.0
    begin = min(settings.warmup, settings.epochs)
    progress = max(0.0, time - begin) / max(settings.epochs - begin, 1e-9)
    high, low = settings.lr, settings.lr_min
    match settings.schedule:
        case "cosine":
            rate = _cosine(high, low, progress)
        case "one_cycle" if progress < RISE:
            rate = _cosine(high / START, high, progress / RISE)
        case "one_cycle":
            rate = _cosine(high, low, (progress - RISE) / (1 - RISE))
        case "step":
            rate = max(low, high * settings.gamma ** (epoch // settings.step_size))
        case "exponential":
            rate = max(low, high * settings.gamma**epoch)
        case "plateau":
            rate = max(low, high * settings.gamma ** drops(valid_dice, settings.plateau_patience))
        case "constant":
            rate = high
        case _:
            assert_never(settings.schedule)
    return warm * rate


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def drops(valid_dice: Sequence[float], patience: int) -> int:
    """How often more than `patience` epochs in a row brought no better validation Dice."""
    best, waited, count = -math.inf, 0, 0
    for dice in valid_dice:
        waited = 0 if dice > best else waited + 1
        best = max(best, dice)
        if waited > patience:
            count, waited = count + 1, 0
    return count
