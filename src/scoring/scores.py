"""How good probabilities are: every score of the report, the choice of a threshold, and intervals.

Scores of one photograph are averaged over photographs, except those named `_dataset`, which pool all pixels first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from oxford_pet import foreground
from scoring.predict import resized
from shared.metrics import confusion, dice, iou, is_pet

BATCH = 16  # photographs at once, fewer of those larger than USUAL, so that memory does not grow with their size
USUAL = 256
THRESHOLDS = [percent / 100 for percent in range(5, 96)]
EQUAL = 1e-9  # a difference of two mean Dice that is no more than this comes from rounding
BOUNDARY_PIXELS = 2  # how far apart two contours may lie and still agree
RESAMPLES = 10_000  # of the bootstrap
BOOTSTRAP_SEED = 2012  # its own: an interval must not move with the training seed
POINTS = [(0.90, 100), (0.85, 80), (0.80, 60)]  # the course's: from this Dice, so many

Methods = Callable[[Tensor], Tensor]  # (B, H, W, 3) photographs to (B, M, H, W) probabilities of M methods


class Pixels(Protocol):
    """A split at the size it is scored at: slices are (B, H, W, 4) uint8, red, green, blue and trimap."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Tensor: ...


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


def batches(pixels: Pixels) -> Iterator[Tensor]:
    if len(pixels):
        side = pixels[:1].shape[1]
        count = max(1, min(BATCH, BATCH * USUAL**2 // side**2))
        for start in range(0, len(pixels), count):
            yield pixels[start : start + count]


# --- a photograph's scores --------------------------------------------------------------------------------------------


def score(maps: Tensor, thresholds: Tensor, truth: Tensor, native: Sequence[Tensor]) -> Scores:
    """Of a batch: (B, M, H, W) probabilities, M thresholds, (B, H, W) masks, and masks at the photographs' own size.

    At their own size the probabilities are resized, then thresholded.
    """
    shape = maps.shape[:2]
    predicted = is_pet(maps, thresholds[:, None, None]).flatten(0, 1)
    real = truth.unsqueeze(1).expand_as(maps).flatten(0, 1)
    own_size = [dice(_native_counts(maps[i : i + 1], thresholds, mask)) for i, mask in enumerate(native)]
    return Scores(
        confusion(predicted, real).view(*shape, 4).cpu(),
        boundary_f1(predicted, real).view(shape).cpu(),
        torch.stack(own_size).cpu(),
    )


def _native_counts(maps: Tensor, thresholds: Tensor, mask: Tensor) -> Tensor:
    predicted = is_pet(resized(maps, *mask.shape)[0], thresholds[:, None, None])
    return confusion(predicted, mask.to(maps.device).expand_as(predicted))


def precision(counts: Tensor) -> Tensor:
    """Share of the predicted pixels that are pet; with none predicted 1 if there is no pet, else 0."""
    tp, fp, fn = counts[..., 0].double(), counts[..., 1], counts[..., 2]
    return torch.where(tp + fp > 0, tp / (tp + fp).clamp(min=1), (fn == 0).double())


def recall(counts: Tensor) -> Tensor:
    """Share of the pet's pixels that were predicted; without a pet 1 if none was predicted, else 0."""
    return precision(counts[..., [0, 2, 1, 3]])


def accuracy(counts: Tensor) -> Tensor:
    return (counts[..., 0] + counts[..., 3]).double() / counts.sum(-1)


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


# --- thresholds -------------------------------------------------------------------------------------------------------


def threshold_curves(methods: Methods, pixels: Pixels, on_batch: Callable[[int], object]) -> Tensor:
    """(M, T): each method's mean Dice over a split at each of THRESHOLDS."""
    total = torch.zeros(1)
    for batch in batches(pixels):
        maps = methods(batch[..., :3])
        total = total + dice_by_threshold(maps, foreground(batch[..., 3]).to(maps.device)).sum(0).cpu()
        on_batch(len(batch))
    return total / len(pixels)


def dice_by_threshold(maps: Tensor, truth: Tensor) -> Tensor:
    """(B, M, T) Dice of (B, M, H, W) probabilities at each of THRESHOLDS: one histogram instead of T comparisons."""
    steps, cells = len(THRESHOLDS), maps.shape[0] * maps.shape[1]
    reached = torch.bucketize(maps, maps.new_tensor(THRESHOLDS), right=True)  # how many thresholds a pixel reaches
    cell = torch.arange(cells, device=maps.device).view(*maps.shape[:2], 1, 1)
    index = (cell * 2 + truth.unsqueeze(1)) * (steps + 1) + reached
    histogram = torch.bincount(index.flatten(), minlength=cells * 2 * (steps + 1)).view(*maps.shape[:2], 2, steps + 1)
    at_least = histogram.flip(-1).cumsum(-1).flip(-1)
    false_positive, true_positive = at_least[..., 1:].unbind(2)
    false_negative = at_least[:, :, 1, :1] - true_positive
    return dice(torch.stack([true_positive, false_positive, false_negative], -1))


def best_threshold(curve: Tensor) -> float:
    """Where the curve is highest; of equals the one nearest to 0.5."""
    least = curve.max() - EQUAL
    return min((t for t, value in zip(THRESHOLDS, curve, strict=True) if value >= least), key=lambda t: abs(t - 0.5))


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
    """(name, kind, mask over rows): all photographs, each species there is, each breed in alphabetical order."""
    breeds = sorted({row["breed"] for row in rows}, key=lambda breed: (breed.lower(), breed))
    chosen = [("all", "all", [True] * len(rows))]
    chosen += [(f"{kind}s", "species", [row["species"] == kind for row in rows]) for kind in ("cat", "dog")]
    chosen += [(breed, "breed", [row["breed"] == breed for row in rows]) for breed in breeds]
    return [(name, kind, torch.tensor(mask)) for name, kind, mask in chosen if any(mask)]
