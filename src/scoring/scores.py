"""How good probabilities are: every score of the report, and intervals.

Scores of one photograph are averaged over photographs, except those named `_dataset`, which pool all pixels first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oxford_pet import counted, foreground
from scoring.predict import resized
from shared.metrics import confusion, dice, iou, is_pet

BOUNDARY_PIXELS = 2  # how far apart two contours may lie and still agree
RESAMPLES = 10_000  # of the bootstrap
BOOTSTRAP_SEED = 2012  # its own: an interval must not move with the training seed
POINTS = [(0.90, 100), (0.85, 80), (0.80, 60)]  # the course's: from this Dice, so many


class Scores(NamedTuple):
    """A row for each photograph, a column for each method."""

    counts: Tensor  # (N, M, 4): pixels that are true positive, false positive, false negative, true negative
    boundary_f1: Tensor  # (N, M)
    dice_native: Tensor  # (N, M): Dice at the photograph's own size

    @staticmethod
    def empty(photographs: int, methods: int) -> Scores:
        """To be filled."""
        shape = (photographs, methods)
        return Scores(torch.zeros(*shape, 4, dtype=torch.int64), *(torch.zeros(shape).double() for _ in range(2)))

    def of(self, method: int) -> Scores:
        """One method's; the axis of methods is gone."""
        return Scores(*(part[:, method] for part in self))

    def where(self, rows: Tensor) -> Scores:
        """Those of the photographs chosen by a mask."""
        return Scores(*(part[rows] for part in self))


# --- a photograph's scores --------------------------------------------------------------------------------------------


def score(maps: Tensor, thresholds: Tensor, trimaps: Tensor, native: Sequence[Tensor], border: str) -> Scores:
    """Of a batch: (B, M, H, W) probabilities, M thresholds, (B, H, W) trimaps, and those at the photographs' own size.

    At their own size the probabilities are resized, then thresholded. Contours are those of the pixels that count.
    """
    shape = maps.shape[:2]
    predicted = is_pet(maps, thresholds[:, None, None]).flatten(0, 1)
    every = trimaps.unsqueeze(1).expand_as(maps).flatten(0, 1)
    real, counts = foreground(every, border), counted(every, border)
    own_size = [dice(_native_counts(maps[i : i + 1], thresholds, own, border)) for i, own in enumerate(native)]
    return Scores(
        confusion(predicted, real, counts).view(*shape, 4).cpu(),
        boundary_f1(predicted & counts, real & counts).view(shape).cpu(),
        torch.stack(own_size).cpu(),
    )


def _native_counts(maps: Tensor, thresholds: Tensor, trimap: Tensor, border: str) -> Tensor:
    predicted = is_pet(resized(maps, *trimap.shape)[0], thresholds[:, None, None])
    every = trimap.to(maps.device).expand_as(predicted)
    return confusion(predicted, foreground(every, border), counted(every, border))


def precision(counts: Tensor) -> Tensor:
    """Share of the predicted pixels that are pet; with none predicted 1 if there is no pet, else 0."""
    tp, fp, fn = counts[..., 0].double(), counts[..., 1], counts[..., 2]
    return torch.where(tp + fp > 0, tp / (tp + fp).clamp(min=1), (fn == 0).double())


def recall(counts: Tensor) -> Tensor:
    """Share of the pet's pixels that were predicted; without a pet 1 if none was predicted, else 0."""
    return precision(counts[..., [0, 2, 1, 3]])


def accuracy(counts: Tensor) -> Tensor:
    """Share of the pixels that are right; 1 where no pixel counts."""
    every = counts.sum(-1)
    return torch.where(every > 0, (counts[..., 0] + counts[..., 3]).double() / every.clamp(min=1), 1.0)


def boundary_f1(predicted: Tensor, truth: Tensor) -> Tensor:
    """Do two (B, H, W) masks have the same contour, within BOUNDARY_PIXELS (Euclidean)?

    The contour is the mask's outermost pixels; where the picture cuts the mask off, its edge is contour. Precision is
    the share of the predicted contour that lies near the true one, recall the share of the true one near the
    predicted; 1 where neither mask has a contour, 0 where one has none.
    """
    return agreement(outlined(predicted), outlined(truth))


class Outline(NamedTuple):
    contour: Tensor  # (B, H, W)
    near: Tensor  # what lies within BOUNDARY_PIXELS of it


def outlined(masks: Tensor) -> Outline:
    line = contour(masks)
    return Outline(line, dilated(line))


def agreement(ours: Outline, theirs: Outline) -> Tensor:
    near_theirs, near_ours = pixels(ours.contour & theirs.near), pixels(theirs.contour & ours.near)
    our_length, their_length = pixels(ours.contour), pixels(theirs.contour)
    p, r = near_theirs.double() / our_length.clamp(min=1), near_ours.double() / their_length.clamp(min=1)
    harmonic = torch.where(p + r > 0, 2 * p * r / (p + r).clamp(min=1e-12), 0.0)
    return torch.where(our_length + their_length > 0, harmonic, 1.0)


def pixels(masks: Tensor) -> Tensor:
    """How many of each mask are true."""
    return masks.flatten(1).sum(1, dtype=torch.int32)  # a third of the time that the default, int64, takes


def contour(masks: Tensor) -> Tensor:
    """Pixels of the mask that touch a pixel outside of it, or the picture's edge, with one of their four sides."""
    x = torch.nn.functional.pad(masks, (1, 1, 1, 1))
    return masks & ~(x[:, :-2, 1:-1] & x[:, 2:, 1:-1] & x[:, 1:-1, :-2] & x[:, 1:-1, 2:])


def dilated(masks: Tensor) -> Tensor:
    """Every pixel within BOUNDARY_PIXELS of the mask."""
    reach = BOUNDARY_PIXELS
    height, width = masks.shape[-2:]
    x = torch.nn.functional.pad(masks, (reach,) * 4)
    result = torch.zeros_like(masks)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down**2 + right**2 <= reach**2:
                result |= x[:, reach + down :, reach + right :][:, :height, :width]
    return result


# --- a split's scores -------------------------------------------------------------------------------------------------


def averages(scores: Scores) -> dict[str, float]:
    """Of one method's scores."""
    counts, pooled = scores.counts, scores.counts.sum(0)
    found = {
        "dice": dice(counts).mean(),
        "iou": iou(counts).mean(),
        "dice_dataset": dice(pooled),
        "iou_dataset": iou(pooled),
        "precision": precision(counts).mean(),
        "recall": recall(counts).mean(),
        "accuracy": accuracy(counts).mean(),
        "boundary_f1": scores.boundary_f1.mean(),
        "dice_native": scores.dice_native.mean(),
    }
    return {name: float(value) for name, value in found.items()}


def with_interval(dices: Tensor) -> dict[str, float]:
    """A mean Dice, or a mean difference of two, with its 95% interval: percentiles over resampled photographs.

    Every call over equally many photographs draws the same ones, so methods are compared on the same samples.
    """
    values, draw = dices.numpy(), np.random.Generator(np.random.PCG64(BOOTSTRAP_SEED))
    means = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"dice": float(values.mean()), "dice_low": float(low), "dice_high": float(high)}


def points(mean_dice: float) -> int:
    """The course's points."""
    return next((earned for least, earned in POINTS if mean_dice >= least), 0)


def groups(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str, Tensor]]:
    """(name, kind, mask over rows): all photographs, each species there is, each breed in alphabetical order.

    A dataset of names alone knows neither species nor breeds.
    """
    breeds = sorted({row["breed"] for row in rows} - {""}, key=lambda breed: (breed.lower(), breed))
    chosen = [("all", "all", [True] * len(rows))]
    chosen += [(f"{kind}s", "species", [row["species"] == kind for row in rows]) for kind in ("cat", "dog")]
    chosen += [(breed, "breed", [row["breed"] == breed for row in rows]) for breed in breeds]
    return [(name, kind, torch.tensor(mask)) for name, kind, mask in chosen if any(mask)]
