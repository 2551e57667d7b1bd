"""The scores against outside truth, on random and on degenerate masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from torch import Tensor
from torchmetrics.functional import classification as outside
from torchmetrics.functional.segmentation.utils import mask_edges, surface_distance

from scoring.scores import (
    BOUNDARY_PIXELS,
    accuracy,
    boundary_f1,
    points,
    precision,
    recall,
    with_interval,
)
from shared.metrics import confusion, dice, iou, is_pet
from shared.thresholds import THRESHOLDS, best_threshold, dice_by_threshold

SHAPE = (11, 11)  # square: torchmetrics takes the height for the width in its distances
EMPTY, FULL = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
PIXEL, CORNER, FRAME = EMPTY.copy(), EMPTY.copy(), FULL.copy()
PIXEL[4, 5] = CORNER[0, -1] = True
FRAME[2:-2, 2:-2] = False
DEGENERATE = {"empty": EMPTY, "full": FULL, "pixel": PIXEL, "corner": CORNER, "frame": FRAME}

degenerate = st.sampled_from(list(DEGENERATE.values()))
noise = arrays.arrays(bool, SHAPE)
boxes = st.tuples(*[st.integers(0, side) for side in (*SHAPE, *SHAPE)]).map(lambda corners: box(*corners))
masks = st.one_of(degenerate, noise, boxes)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top:bottom, left:right] = True
    return mask


def tensors(*several: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(mask)[None] for mask in several]


@given(masks, masks)
def test_dice_and_iou_equal_torchmetrics(predicted: np.ndarray, truth: np.ndarray) -> None:
    p, t = tensors(predicted, truth)
    counts = confusion(p, t)
    assert dice(counts).item() == pytest.approx(outside.binary_f1_score(p, t, zero_division=1).item(), abs=1e-6)
    assert iou(counts).item() == pytest.approx(outside.binary_jaccard_index(p, t, zero_division=1).item(), abs=1e-6)


@given(masks, masks)
def test_precision_recall_and_accuracy_equal_torchmetrics(predicted: np.ndarray, truth: np.ndarray) -> None:
    p, t = tensors(predicted, truth)
    counts = confusion(p, t)
    undefined = float(not predicted.any() and not truth.any())
    expected = outside.binary_precision(p, t, zero_division=undefined)
    assert precision(counts).item() == pytest.approx(expected.item(), abs=1e-6)
    expected = outside.binary_recall(p, t, zero_division=undefined)
    assert recall(counts).item() == pytest.approx(expected.item(), abs=1e-6)
    assert accuracy(counts).item() == pytest.approx(outside.binary_accuracy(p, t).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (dice, [2 / 6, 4 / 7, 1]),
        (iou, [1 / 5, 2 / 5, 1]),
        (precision, [1 / 4, 2 / 3, 1]),
        (recall, [1 / 2, 2 / 4, 1]),
        (accuracy, [4 / 8, 5 / 8, 1]),
    ],
)
def test_counts_of_one_mask_and_of_a_table_of_them(score: Callable[[Tensor], Tensor], expected: list[float]) -> None:
    """In double precision: a mean over thousands of photographs is shown to five decimals."""
    counts = torch.tensor([[1, 3, 1, 3], [2, 1, 2, 3], [0, 0, 0, 8]])
    assert score(counts[0]).item() == pytest.approx(expected[0], rel=1e-12)
    assert score(counts).tolist() == pytest.approx(expected, rel=1e-12)
    table = counts.unsqueeze(1).repeat(1, 2, 1)
    assert score(table).tolist() == [pytest.approx([value] * 2, rel=1e-12) for value in expected]


@pytest.mark.parametrize("score", [dice, iou, precision, recall, accuracy])
def test_where_no_pixel_counts_nothing_is_wrong(score: Callable[[Tensor], Tensor]) -> None:
    assert score(torch.zeros(4, dtype=torch.int64)).item() == 1


@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=4))
def test_pooled_scores_equal_torchmetrics_over_all_pixels(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    p, t = (torch.from_numpy(np.stack(several)) for several in zip(*pairs, strict=True))
    pooled = confusion(p, t).sum(0)
    assert dice(pooled).item() == pytest.approx(outside.binary_f1_score(p, t, zero_division=1).item(), abs=1e-6)
    assert iou(pooled).item() == pytest.approx(outside.binary_jaccard_index(p, t, zero_division=1).item(), abs=1e-6)


@given(masks, masks)
def test_boundary_f1_equals_distance_transforms(predicted: np.ndarray, truth: np.ndarray) -> None:
    ours = boundary_f1(*tensors(predicted, truth)).item()
    assert ours == pytest.approx(f1_by_scipy(predicted, truth), abs=1e-9)
    if predicted.any() and truth.any():
        assert ours == pytest.approx(f1_by_torchmetrics(*tensors(predicted, truth)), abs=1e-6)


@given(st.data(), arrays.array_shapes(min_dims=2, max_dims=2, max_side=14))
def test_boundary_f1_of_any_shape(data: st.DataObject, shape: tuple[int, ...]) -> None:
    predicted, truth = (data.draw(arrays.arrays(bool, shape)) for _ in range(2))
    ours = boundary_f1(*tensors(predicted, truth)).item()
    assert ours == pytest.approx(f1_by_scipy(predicted, truth), abs=1e-9)


def f1_by_scipy(predicted: np.ndarray, truth: np.ndarray) -> float:
    ours, theirs = (mask & ~ndimage.binary_erosion(mask) for mask in (predicted, truth))
    if not ours.any() and not theirs.any():
        return 1
    if not ours.any() or not theirs.any():
        return 0
    p = (ndimage.distance_transform_edt(~theirs)[ours] <= BOUNDARY_PIXELS).mean()
    r = (ndimage.distance_transform_edt(~ours)[theirs] <= BOUNDARY_PIXELS).mean()
    return 2 * p * r / (p + r) if p + r else 0


def f1_by_torchmetrics(predicted: Tensor, truth: Tensor) -> float:
    ours, theirs = (edges.bool() for edges in mask_edges(predicted[0], truth[0])[:2])
    p = (surface_distance(ours, theirs, spacing=[1, 1]) <= BOUNDARY_PIXELS).double().mean()
    r = (surface_distance(theirs, ours, spacing=[1, 1]) <= BOUNDARY_PIXELS).double().mean()
    return float(2 * p * r / (p + r)) if p + r else 0


@pytest.mark.parametrize("score", [dice, iou, precision, recall])
def test_two_empty_masks_agree_and_one_does_not(score: Callable[[Tensor], Tensor]) -> None:
    empty, pixel = tensors(EMPTY, PIXEL)
    assert score(confusion(empty, empty)).item() == score(confusion(pixel, pixel)).item() == 1
    assert score(confusion(empty, pixel)).item() == score(confusion(pixel, empty)).item() == 0


def test_two_missing_contours_agree_and_one_does_not() -> None:
    empty, pixel = tensors(EMPTY, PIXEL)
    assert boundary_f1(empty, empty).item() == boundary_f1(pixel, pixel).item() == 1
    assert boundary_f1(empty, pixel).item() == boundary_f1(pixel, empty).item() == 0


def test_two_pixels_apart_agree_and_three_do_not() -> None:
    truth = box(2, 2, 6, 6)
    shifted = [np.roll(truth, shift, axis=1) for shift in (2, 3)]
    near, far = (boundary_f1(*tensors(mask, truth)).item() for mask in shifted)
    assert near == 1
    assert far < 1


def test_masks_of_a_batch_do_not_touch_each_other() -> None:
    predicted, truth = (torch.from_numpy(np.stack([*DEGENERATE.values()])) for _ in range(2))
    truth = truth.roll(1, 0)
    alone = [boundary_f1(predicted[i : i + 1], truth[i : i + 1]).item() for i in range(len(truth))]
    assert boundary_f1(predicted, truth).tolist() == alone


levels = st.one_of(st.floats(0, 1, width=32), st.sampled_from(THRESHOLDS))


@given(arrays.arrays(np.float32, (2, 2, 3, 4), elements=levels), arrays.arrays(bool, (2, 3, 4)))
@settings(max_examples=20)
def test_the_histogram_finds_what_comparing_at_each_threshold_finds(maps: np.ndarray, truth: np.ndarray) -> None:
    probabilities, real = torch.from_numpy(maps), torch.from_numpy(truth)
    curves = dice_by_threshold(probabilities, torch.where(real, 1, 2), "pet")
    for step, threshold in enumerate(THRESHOLDS):
        for method in range(2):
            expected = dice(confusion(probabilities[:, method] >= threshold, real))
            assert torch.equal(curves[:, method, step], expected)


@pytest.mark.parametrize(("best", "expected"), [([0.3], 0.3), ([0.1, 0.45, 0.6], 0.45), (THRESHOLDS, 0.5)])
def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken(best: list[float], expected: float) -> None:
    curve = torch.tensor([0.9 if threshold in best else 0.2 for threshold in THRESHOLDS]).double()
    assert best_threshold(curve) == expected


def test_the_interval_is_the_one_of_theory() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(1)).double()
    found = with_interval(values)
    half = 1.96 * values.std().item() / 2000**0.5
    assert found["dice"] == pytest.approx(values.mean().item())
    assert found["dice_low"] == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert found["dice_high"] == pytest.approx(values.mean().item() + half, abs=0.1 * half)
    assert with_interval(values) == found


def test_a_constant_difference_has_no_spread() -> None:
    found = with_interval(torch.full((30,), 0.25).double())
    assert (found["dice_low"], found["dice"], found["dice_high"]) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("mean_dice", "earned"), [(1, 100), (0.9, 100), (0.89999, 80), (0.85, 80), (0.84999, 60), (0.8, 60), (0.79999, 0)]
)
def test_points_of_the_course(mean_dice: float, earned: int) -> None:
    assert points(mean_dice) == earned


def test_a_pixel_at_the_threshold_is_pet() -> None:
    probabilities = torch.tensor([0.49, 0.5, 0.51])
    assert is_pet(probabilities, 0.5).tolist() == [False, True, True]
    assert is_pet(probabilities, torch.tensor([0.49, 0.6, 0.51])).tolist() == [True, False, True]
    assert is_pet(np.array([-0.1, 0.0]), 0).tolist() == [False, True], "of log-odds, 0 is one half"
