"""Losses against their definitions, and the border's weight."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.losses import loss_function

NAMES = ("bce", "ce", "dice", "bce_dice")


def batch(seed: int = 0, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 8, 9, generator=random), torch.randint(
        1, 4, (count, 8, 9), generator=random, dtype=torch.uint8
    )


def test_bce_is_torchs() -> None:
    logits, trimaps = batch()
    expected = F.binary_cross_entropy_with_logits(logits, (trimaps != 2).float())
    torch.testing.assert_close(loss_function("bce", 0.5, 1)(logits, trimaps), expected)


def test_ce_is_torchs_cross_entropy_over_two_classes() -> None:
    two_classes = torch.randn(3, 2, 8, 9)
    _, trimaps = batch()
    expected = F.cross_entropy(two_classes, (trimaps != 2).long())
    torch.testing.assert_close(loss_function("ce", 0.5, 1)(two_classes[:, 1] - two_classes[:, 0], trimaps), expected)


def test_dice_is_the_mean_over_photographs() -> None:
    logits, trimaps = batch()
    expected = []
    for z, t in zip(logits, trimaps, strict=True):
        p, y = z.sigmoid().flatten(), (t != 2).float().flatten()
        expected.append(1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))
    torch.testing.assert_close(loss_function("dice", 0.5, 1)(logits, trimaps), torch.stack(expected).mean())


@given(share=st.floats(0, 1))
@settings(max_examples=20)
def test_bce_dice_is_the_weighted_sum(share: float) -> None:
    logits, trimaps = batch()
    bce, dice = (loss_function(name, 0.5, 1)(logits, trimaps) for name in ("bce", "dice"))
    torch.testing.assert_close(loss_function("bce_dice", share, 1)(logits, trimaps), (1 - share) * bce + share * dice)


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_costs_little_and_a_wrong_one_much(name: str) -> None:
    _, trimaps = batch()
    right = torch.where(trimaps != 2, 20.0, -20.0)
    loss = loss_function(name, 0.5, 1)
    assert loss(right, trimaps) < 1e-3
    assert loss(-right, trimaps) > 0.9


@pytest.mark.parametrize("border", [0, 0.5, 1, 3])
def test_a_weighted_loss_is_the_one_counted_by_hand(border: float) -> None:
    """Of two photographs of four pixels: the second has no border, so its weights have another sum."""
    quarter = -math.log(3)  # the log-odds of a probability of 1/4
    scene = [[[-quarter, 0], [quarter, quarter]], [[0, quarter], [quarter, quarter]]]
    logits = torch.tensor(scene, dtype=torch.float64)
    trimaps = torch.tensor([[[1, 3], [2, 3]], [[1, 2], [2, 1]]], dtype=torch.uint8)
    half, right, wrong = math.log(2), math.log(4 / 3), math.log(4)  # the cost of a pixel

    first = (right + border * half + right + border * wrong) / (2 + 2 * border)
    second = (half + right + right + wrong) / 4
    bce = (first + second) / 2
    for name in ("bce", "ce"):
        assert loss_function(name, 0.5, border)(logits, trimaps).item() == pytest.approx(bce, rel=1e-12)

    both, each = 0.75 + border * (0.5 + 0.25), (0.75 + 1 + 0.25) + border * (0.5 + 1 + 0.25 + 1)
    first = 1 - (2 * both + 1) / (each + 1)
    both, each = 0.5 + 0.25, (0.5 + 0.25 + 0.25 + 0.25) + 2
    second = 1 - (2 * both + 1) / (each + 1)
    dice = (first + second) / 2
    assert loss_function("dice", 0.5, border)(logits, trimaps).item() == pytest.approx(dice, rel=1e-12)
    mixed = loss_function("bce_dice", 0.2, border)(logits, trimaps).item()
    assert mixed == pytest.approx(0.8 * bce + 0.2 * dice, rel=1e-12)


@pytest.mark.parametrize(("rule", "truth", "counts"), [("background", 0, 1), ("ignore", 1, 0)])
def test_the_border_rule_by_hand(rule: str, truth: int, counts: int) -> None:
    """A row of a pet's pixel, one of its border and one of background, each called pet with a probability of 1/4."""
    logits = torch.full((1, 1, 3), -math.log(3), dtype=torch.float64)
    trimaps = torch.tensor([[[1, 3, 2]]], dtype=torch.uint8)
    border = math.log(4) if truth else math.log(4 / 3)
    bce = (math.log(4) + counts * border + math.log(4 / 3)) / (2 + counts)
    assert loss_function("bce", 0.5, 1, rule)(logits, trimaps).item() == pytest.approx(bce, rel=1e-12)
    both, each = 0.25 + counts * 0.25 * truth, 0.25 * (2 + counts) + 1 + counts * truth
    dice = 1 - (2 * both + 1) / (each + 1)
    assert loss_function("dice", 0.5, 1, rule)(logits, trimaps).item() == pytest.approx(dice, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_border_can_be_ignored_and_stressed(name: str) -> None:
    logits, trimaps = batch()
    other = logits + torch.where(trimaps == 3, 5.0, 0.0)
    ignored = loss_function(name, 0.5, 0)
    torch.testing.assert_close(ignored(logits, trimaps), ignored(other, trimaps))
    wrong = torch.where(trimaps == 3, -5.0, torch.where(trimaps == 1, 5.0, -5.0))
    assert loss_function(name, 0.5, 4)(wrong, trimaps) > loss_function(name, 0.5, 1)(wrong, trimaps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1, 2, 3])
@pytest.mark.parametrize("border", [0.0, 1.0])
def test_masks_of_one_kind_stay_finite_with_a_gradient(name: str, value: int, border: float) -> None:
    logits = torch.full((2, 8, 8), 3.0, requires_grad=True)
    loss = loss_function(name, 0.5, border)(logits, torch.full((2, 8, 8), value, dtype=torch.uint8))
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert (logits.grad.abs().sum() > 0) == (border > 0 or value != 3)


def test_equal_shares_of_a_batch_average_to_the_whole() -> None:
    """What several processes rely on."""
    logits, trimaps = batch(count=4)
    for name in NAMES:
        loss = loss_function(name, 0.3, 2)
        torch.testing.assert_close(
            (loss(logits[:2], trimaps[:2]) + loss(logits[2:], trimaps[2:])) / 2, loss(logits, trimaps)
        )
