"""Every score that is reported, against a count by hand on tiny masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from oxford_pet import BACKGROUND, BORDER, BORDERS, PET
from scoring.scores import Scores, averages, groups, score, with_interval
from shared.thresholds import THRESHOLDS, batches, best_threshold, threshold_curves


def mask(text: str) -> Tensor:
    """`##.. .#..` is a mask of two rows."""
    return torch.tensor([[pixel == "#" for pixel in row] for row in text.split()])


PREDICTED = [mask("###. .#.. ...."), mask("#### ##.. ...."), mask(".... .... ....")]
TRUTH = [mask("##.. ##.. .#.."), mask("##.. .... ...."), mask(".... .... ....")]
# Pixels by hand: true positive, false positive, false negative, true negative
COUNTS = [[3, 1, 2, 6], [2, 4, 0, 6], [0, 0, 0, 12]]


def scored(predicted: list[Tensor], truth: list[Tensor], native: list[Tensor] | None = None) -> Scores:
    """Of one method that is sure of itself."""
    maps = torch.stack(predicted).unsqueeze(1).float()
    trimaps = [trimap(one) for one in truth]
    return score(maps, torch.tensor([0.5]), torch.stack(trimaps), list(map(trimap, native or truth)), "pet")


def trimap(pet: Tensor) -> Tensor:
    """Without a border."""
    return torch.where(pet, PET, BACKGROUND)


def test_pixels_are_counted_as_by_hand() -> None:
    assert scored(PREDICTED, TRUTH).counts[:, 0].tolist() == COUNTS


def test_averages_are_those_counted_by_hand() -> None:
    scores = Scores(
        torch.tensor(COUNTS), torch.tensor([0.2, 0.3, 0.7]).double(), torch.tensor([0.1, 0.2, 0.9]).double()
    )
    assert averages(scores) == pytest.approx(
        {
            "dice": (6 / 9 + 4 / 8 + 1) / 3,
            "iou": (3 / 6 + 2 / 6 + 1) / 3,
            "dice_dataset": 10 / 17,  # of the sums 5, 5, 2, 24
            "iou_dataset": 5 / 12,
            "precision": (3 / 4 + 2 / 6 + 1) / 3,
            "recall": (3 / 5 + 1 + 1) / 3,
            "accuracy": (9 / 12 + 8 / 12 + 1) / 3,
            "boundary_f1": 0.4,
            "dice_native": 0.4,
        }
    )


def test_the_boundary_is_the_one_counted_by_hand() -> None:
    """Two squares of four pixels in opposite corners of a large picture; one row of the truth lies near."""
    predicted, truth = torch.zeros(12, 12, dtype=torch.bool), torch.zeros(12, 12, dtype=torch.bool)
    predicted[:2, :2] = True
    truth[3:5, :2] = True  # of the prediction's rows only the lower lies within two pixels, and of these the upper
    truth[10:, 10:] = True
    precision, recall = 2 / 4, 2 / 8
    expected = 2 * precision * recall / (precision + recall)
    assert scored([predicted], [truth]).boundary_f1.item() == pytest.approx(expected)


def test_at_its_own_size_probabilities_are_resized_then_thresholded() -> None:
    maps = torch.tensor([[[[0.0, 1.0]]]])  # two pixels, which become four: 0, 0.25, 0.75, 1
    native = mask("..## ..##")
    for threshold, dice in ((0.8, 2 * 2 / (2 + 4)), (0.5, 1.0), (0.2, 2 * 4 / (6 + 4))):
        found = score(maps, torch.tensor([threshold]), trimap(mask(".#"))[None], [trimap(native)], "pet")
        assert found.dice_native.item() == pytest.approx(dice)


def test_a_probability_of_the_threshold_is_pet() -> None:
    below = float(np.nextafter(np.float32(0.3), np.float32(0)))
    maps = torch.tensor([[[[below, 0.3, 0.5]]]])
    found = score(maps, torch.tensor([0.3]), trimap(mask(".##"))[None], [trimap(mask(".##"))], "pet")
    assert found.counts.tolist() == [[[2, 0, 0, 1]]]
    assert found.dice_native.item() == 1


def test_each_method_has_its_own_threshold_and_each_photograph_its_own_truth() -> None:
    maps = torch.tensor([[[[0.2, 0.6]], [[0.2, 0.6]]], [[[0.9, 0.1]], [[0.4, 0.5]]]])  # two photographs, two methods
    truth = trimap(torch.stack([mask("##"), mask("#.")]))
    found = score(maps, torch.tensor([0.1, 0.5]), truth, list(truth), "pet")
    assert found.counts.tolist() == [[[2, 0, 0, 0], [1, 0, 1, 0]], [[1, 1, 0, 0], [0, 1, 1, 0]]]
    assert found.dice_native.tolist() == [pytest.approx([1, 2 / 3]), pytest.approx([2 / 3, 0])]
    assert found.boundary_f1.tolist() == [[1, 1], [1, 1]]  # so near that every contour agrees
    second = found.of(1)
    assert second.counts.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0]]
    assert second.where(torch.tensor([False, True])).counts.tolist() == [[0, 1, 1, 0]]


# A row of pet, border, border, background and background, of which the second, the third and the last are called pet.
@pytest.mark.parametrize(
    ("border", "counts"),
    [("pet", [2, 1, 1, 1]), ("background", [0, 3, 1, 1]), ("ignore", [0, 1, 1, 1])],
)
def test_each_border_rule_counts_as_by_hand(border: str, counts: list[int]) -> None:
    maps, trimaps = torch.tensor([[[[0.0, 1.0, 1.0, 0.0, 1.0]]]]), torch.tensor([[[1, 3, 3, 2, 2]]])
    found = score(maps, torch.tensor([0.5]), trimaps, list(trimaps), border)
    assert found.counts.tolist() == [[counts]]
    tp, fp, fn, _ = counts
    assert found.dice_native.item() == pytest.approx(2 * tp / (2 * tp + fp + fn))
    curve = threshold_curves(lambda _: maps, torch.stack([trimaps] * 4, -1), border, lambda _: None)
    assert curve[0, THRESHOLDS.index(0.5)].item() == pytest.approx(2 * tp / (2 * tp + fp + fn))


def test_a_contour_takes_ignored_pixels_as_right() -> None:
    """What is right but for the border has the true contour; under the other rules the contour is eight pixels off."""
    trimaps = torch.full((1, 24, 24), BACKGROUND)
    trimaps[:, 8:16, 8:16] = BORDER
    found = {
        border: score(torch.zeros(1, 1, 24, 24), torch.tensor([0.5]), trimaps, list(trimaps), border).boundary_f1.item()
        for border in BORDERS
    }
    assert found == {"pet": 0, "background": 1, "ignore": 1}


def test_empty_scores_wait_for_every_photograph_and_method() -> None:
    counts, boundary, native = Scores.empty(3, 2)
    assert (counts.shape, counts.dtype) == ((3, 2, 4), torch.int64)
    for part in (boundary, native):
        assert (part.shape, part.dtype) == ((3, 2), torch.float64)
    assert not counts.any() and not boundary.any() and not native.any()


def test_a_threshold_curve_is_the_mean_dice_counted_by_hand() -> None:
    """Three batches of photographs; half of the pixels of each are 0.6, the others 0.3."""
    pixels = torch.zeros(40, 16, 16, 4, dtype=torch.uint8)
    pixels[..., 3] = 2
    pixels[:30, :8, :, 3] = 1  # pet where it is 0.6; ten photographs have none
    pixels[:30, :2, :, 3] = 3  # border is pet, too
    seen: list[int] = []

    def methods(images: Tensor) -> Tensor:
        assert images.shape[1:] == (16, 16, 3)
        one = torch.full((len(images), 16, 16), 0.3)
        one[:, :8] = 0.6
        return torch.stack([one, torch.ones_like(one)], 1)

    curves = threshold_curves(methods, pixels, "pet", seen.append)
    assert seen == [16, 16, 8]
    whole, right = 30 / 40 * 2 / 3, 30 / 40  # half of the picture is pet: Dice 2 * 1/2 / (1 + 1/2)
    for threshold, mixed, full in zip(THRESHOLDS, *curves.tolist(), strict=True):
        expected = whole if threshold <= 0.3 else right if threshold <= 0.6 else 10 / 40
        assert mixed == pytest.approx(expected), threshold
        assert full == pytest.approx(whole)
    assert best_threshold(curves[1]) == 0.5, "of equals the one nearest to 0.5, though sums round differently"


@pytest.mark.parametrize(("border", "both", "first"), [("pet", 1, 2 / 3), ("background", 2 / 3, 1), ("ignore", 1, 1)])
def test_the_curve_follows_the_border_rule(border: str, both: float, first: float) -> None:
    """Of four pixels one is pet, one is border, two are background; the first two are predicted, or the first alone."""
    pixels = torch.zeros(1, 2, 2, 4, dtype=torch.uint8)
    pixels[0, :, :, 3] = torch.tensor([[1, 3], [2, 2]])

    def methods(_: Tensor) -> Tensor:
        return torch.tensor([[[[0.9, 0.3], [0.0, 0.0]]]])

    (curve,) = threshold_curves(methods, pixels, border, lambda _: None).tolist()
    by_threshold = dict(zip(THRESHOLDS, curve, strict=True))
    assert by_threshold[0.2] == pytest.approx(both)
    assert by_threshold[0.6] == pytest.approx(first)


def test_thresholds_go_from_5_to_95_percent() -> None:
    assert pytest.approx([number * 0.01 for number in range(5, 96)]) == THRESHOLDS
    assert (THRESHOLDS[0], THRESHOLDS[-1], len(THRESHOLDS)) == (0.05, 0.95, 91)


@pytest.mark.parametrize(
    ("side", "at_once"), [(16, 16), (256, 16), (257, 15), (362, 8), (512, 4), (1024, 1), (1025, 1), (2048, 1)]
)
def test_large_photographs_come_fewer_at_once(side: int, at_once: int) -> None:
    pixels = torch.zeros(1, 1, 1, 4, dtype=torch.uint8).expand(33, side, side, 4)
    found = [len(batch) for batch in batches(pixels)]
    assert found == [min(at_once, 33 - start) for start in range(0, 33, at_once)]


class Nothing:
    """A split without photographs, of which nothing can be decoded."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, rows: slice, /) -> Tensor:
        raise AssertionError


def test_no_photographs_are_no_batches() -> None:
    assert not list(batches(Nothing()))


def test_an_interval_is_the_binomials() -> None:
    """Half of a hundred photographs are at 1: 2.8% of all samples have at most 40 of these, 1.8% at most 39."""
    found = with_interval(torch.tensor([0.0, 1.0] * 50).double())
    assert found == {"dice": 0.5, "dice_low": pytest.approx(0.4), "dice_high": pytest.approx(0.6)}


def test_an_interval_is_drawn_from_the_same_samples_for_ever() -> None:
    """The committed intervals rest on 10,000 samples of the seed 2012."""
    values = np.linspace(0, 1, 7) ** 3
    draws = np.random.default_rng(2012).integers(0, 7, (10_000, 7))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    found = with_interval(torch.from_numpy(values))
    assert found == pytest.approx({"dice": values.mean(), "dice_low": low, "dice_high": high}, abs=1e-12)


def test_groups_are_all_then_species_then_breeds_by_alphabet() -> None:
    rows = [{"breed": breed, "species": "cat" if breed == "Birman" else "dog"} for breed in ("pug", "Birman", "beagle")]
    found = [(name, kind, chosen.tolist()) for name, kind, chosen in groups(rows)]
    assert found == [
        ("all", "all", [True, True, True]),
        ("cats", "species", [False, True, False]),
        ("dogs", "species", [True, False, True]),
        ("beagle", "breed", [False, False, True]),
        ("Birman", "breed", [False, True, False]),
        ("pug", "breed", [True, False, False]),
    ]
    assert [name for name, _, _ in groups(rows[:1])] == ["all", "dogs", "pug"]
    nameless = [{"species": "", "breed": ""}, *rows[:1]]
    assert [(name, chosen.tolist()) for name, _, chosen in groups(nameless)] == [
        ("all", [True, True]),
        ("dogs", [False, True]),
        ("pug", [False, True]),
    ]
