"""Photograph and trimap move together, as their own row of draws says, and 0 is off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.augment import GEOMETRIC, WIDTHS, augmented, draw
from learning.seeds import derived_seed
from params.training import Augment
from shared.inputs import gray

OFF: dict[str, float] = dict.fromkeys(Augment.model_fields, 0.0)
STRENGTH = {
    "hflip": 0.5,
    "vflip": 0.5,
    "rotate": 30.0,
    "scale": 0.5,
    "translate": 0.2,
    "crop": 0.5,
    "elastic": 0.05,
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.5,
    "gray": 0.5,
    "blur": 2.0,
    "cutout": 0.5,
}


def augment(**changes: float) -> Augment:
    return Augment(**(OFF | {"elastic_p": 1.0} | changes))


def scene(count: int = 6, side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright blobs on dark ground, and trimaps that say exactly where they are."""
    rows = torch.arange(side).view(1, -1, 1)
    columns = torch.arange(side).view(1, 1, -1)
    x = torch.linspace(12, side - 14, count).view(-1, 1, 1)
    inside = (rows - side // 2 + 4) ** 2 + (columns - x) ** 2 < 9**2
    trimaps = torch.where(inside, 1, 2).to(torch.uint8)
    images = torch.where(inside, 0.9, 0.1).unsqueeze(1).repeat(1, 3, 1, 1)
    images[:, 0] *= 0.7
    return images, trimaps


def test_everything_off_changes_nothing() -> None:
    images, trimaps = scene()
    settings = augment()
    draws = draw(settings, 0, 0, len(images))
    assert draws == {}
    same, masks = augmented(images, trimaps, settings, draws)
    assert torch.equal(same, images)
    assert torch.equal(masks, trimaps)


@pytest.mark.parametrize("name", WIDTHS)
def test_each_change_does_something_and_only_geometry_moves_the_trimap(name: str) -> None:
    images, trimaps = scene()
    settings = augment(**{name: STRENGTH[name]})
    changed, masks = augmented(images, trimaps, settings, draw(settings, 4, 0, len(images)))
    assert not torch.equal(changed, images)
    assert torch.equal(masks, trimaps) == (name not in GEOMETRIC)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert set(masks.unique().tolist()) <= {1, 2}


@pytest.mark.parametrize("name", GEOMETRIC)
def test_photograph_and_trimap_stay_aligned(name: str) -> None:
    images, trimaps = scene()
    settings = augment(**{name: STRENGTH[name]})
    changed, masks = augmented(images, trimaps, settings, draw(settings, 2, 0, len(images)))
    bright = changed[:, 1] > 0.5
    disagreement = (bright != (masks == 1)).float().mean()
    assert disagreement < 0.01  # pixels cut by the outline


def test_flips_are_exact() -> None:
    images, trimaps = torch.rand(4, 3, 16, 16), torch.randint(1, 4, (4, 16, 16), dtype=torch.uint8)
    for name, dim in (("hflip", -1), ("vflip", -2)):
        settings = augment(**{name: 1.0})
        changed, masks = augmented(images, trimaps, settings, draw(settings, 0, 0, 4))
        torch.testing.assert_close(changed, images.flip(dim), rtol=0, atol=1e-5)
        assert torch.equal(masks, trimaps.flip(dim))


def drawn(name: str, *numbers: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([numbers])}


@pytest.mark.parametrize(("number", "quarters"), [(0.0, -1), (0.5, 0), (1.0, 1)])
def test_rotation_goes_both_ways_by_the_angle(number: float, quarters: int) -> None:
    images, trimaps = torch.rand(1, 3, 16, 16), torch.randint(1, 4, (1, 16, 16), dtype=torch.uint8)
    _, masks = augmented(images, trimaps, augment(rotate=90.0), drawn("rotate", number))
    assert torch.equal(masks, torch.rot90(trimaps, quarters, (1, 2)))


@pytest.mark.parametrize(("number", "side"), [(0.0, 4), (0.5, 8), (1.0, 16)])
def test_scale_goes_both_ways_by_the_factor(number: float, side: int) -> None:
    trimaps = torch.full((1, 32, 32), 2, dtype=torch.uint8)
    trimaps[:, 12:20, 12:20] = 1
    _, masks = augmented(torch.rand(1, 3, 32, 32), trimaps, augment(scale=1.0), drawn("scale", number))
    assert (masks[:, 8:24, 8:24] == 1).sum() == side**2  # what was outside is mirrored in beyond


@pytest.mark.parametrize(("number", "pixels"), [(0.0, -4), (0.5, 0), (1.0, 4)])
def test_translation_goes_both_ways_by_a_share_of_the_side(number: float, pixels: int) -> None:
    trimaps = torch.full((1, 20, 20), 2, dtype=torch.uint8)
    trimaps[:, 10, 10] = 1
    _, masks = augmented(torch.rand(1, 3, 20, 20), trimaps, augment(translate=0.2), drawn("translate", number, 0.5))
    assert (masks == 1).nonzero().tolist() == [[0, 10, 10 - pixels]]


def test_elastic_displaces_by_a_share_of_the_side() -> None:
    trimaps = torch.full((1, 20, 20), 2, dtype=torch.uint8)
    trimaps[:, 10, 10] = 1
    everywhere = drawn("elastic", 0.0, *[1.0] * (WIDTHS["elastic"] - 1))
    _, masks = augmented(torch.rand(1, 3, 20, 20), trimaps, augment(elastic=0.1), everywhere)
    assert (masks == 1).nonzero().tolist() == [[0, 8, 8]]


@pytest.mark.parametrize(("number", "factor"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_both_ways_by_the_factor(name: str, number: float, factor: float) -> None:
    images = 0.3 + 0.3 * torch.rand(1, 3, 8, 8)
    middle = {"brightness": torch.zeros(()), "contrast": gray(images).mean(), "saturation": gray(images)}[name]
    changed, _ = augmented(images, torch.ones(1, 8, 8), augment(**{name: 0.5}), drawn(name, number))
    torch.testing.assert_close(changed, middle + factor * (images - middle))


@pytest.mark.parametrize("name", ["hflip", "vflip", "gray", "elastic"])
def test_a_photograph_changes_when_its_number_is_below_the_probability(name: str) -> None:
    images = torch.rand(3, 3, 8, 8)
    chosen = augment(elastic=0.1, elastic_p=0.3) if name == "elastic" else augment(**{name: 0.3})
    numbers = torch.ones(3, WIDTHS[name])
    numbers[:, 0] = torch.tensor([0.29, 0.3, 0.31])
    changed, _ = augmented(images, torch.ones(3, 8, 8, dtype=torch.uint8), chosen, {name: numbers})
    assert ((changed - images).abs().flatten(1).amax(1) > 1e-3).tolist() == [True, False, False]


def test_blur_has_the_deviation_in_pixels() -> None:
    images = torch.zeros(1, 3, 31, 31)
    images[..., 15, 15] = 1
    changed, _ = augmented(images, torch.ones(1, 31, 31), augment(blur=2.0), drawn("blur", 1.0))
    across = changed[0, 0].sum(0)
    deviation = ((torch.arange(31) - 15) ** 2 * across).sum().sqrt().item()
    assert across.sum().item() == pytest.approx(1, abs=1e-4)
    assert deviation == pytest.approx(1.8516, abs=1e-3)  # a Gaussian's of 2 that ends at two deviations


@pytest.mark.parametrize("name", ["rotate", "translate", "elastic"])
@pytest.mark.parametrize("number", [0.0, 0.2, 1.0])
def test_nothing_black_comes_in_from_outside(name: str, number: float) -> None:
    """A white photograph that is all pet stays so, whatever is turned or moved."""
    images, trimaps = torch.ones(1, 3, 16, 16), torch.ones(1, 16, 16, dtype=torch.uint8)
    strength = {"rotate": 45.0, "translate": 0.4, "elastic": 0.2}[name]
    numbers = drawn(name, *[number] * WIDTHS[name]) if name != "elastic" else drawn(name, 0.0, *[number] * 72)
    changed, masks = augmented(images, trimaps, augment(**{name: strength}), numbers)
    torch.testing.assert_close(changed, images)
    assert torch.equal(masks, trimaps)


def test_what_comes_in_from_outside_is_the_mirror_image() -> None:
    images, trimaps = torch.rand(1, 3, 20, 20), torch.randint(1, 4, (1, 20, 20), dtype=torch.uint8)
    moved, masks = augmented(images, trimaps, augment(translate=0.2), drawn("translate", 1.0, 0.0))
    source_rows = [3, 2, 1, 0, *range(16)]
    source_columns = [*range(4, 20), 19, 18, 17, 16]
    torch.testing.assert_close(moved, images[..., source_rows, :][..., source_columns], rtol=0, atol=1e-4)
    assert torch.equal(masks, trimaps[:, source_rows][..., source_columns])


@pytest.mark.parametrize(
    ("numbers", "top", "left", "side"),
    [
        ((1.0, 0.0, 0.0), 0, 0, 8),
        ((1.0, 1.0, 0.0), 0, 8, 8),
        ((1.0, 0.5, 1.0), 8, 4, 8),
        ((0.5, 0.0, 1.0), 4, 0, 12),
        ((0.0, 0.0, 1.0), 0, 0, 16),
    ],
)
def test_crop_keeps_a_window_of_the_drawn_size_and_place(
    numbers: tuple[float, float, float], top: int, left: int, side: int
) -> None:
    trimaps = torch.randint(1, 4, (1, 16, 16), dtype=torch.uint8)
    images = torch.rand(1, 3, 16, 16)
    changed, masks = augmented(images, trimaps, augment(crop=0.5), drawn("crop", *numbers))
    nearest = ((torch.arange(16) + 0.5) * side / 16).long()
    assert torch.equal(masks, trimaps[:, top + nearest][..., left + nearest])
    window = images[..., top : top + side, left : left + side]
    expected = torch.nn.functional.interpolate(window, (16, 16), mode="bilinear")
    torch.testing.assert_close(changed[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])  # its rim sees beyond the window


def test_changes_follow_each_other_in_one_order() -> None:
    """The window is cut first, then it is shifted, turned, enlarged and mirrored."""
    trimaps, images = torch.randint(1, 4, (1, 16, 16), dtype=torch.uint8), torch.rand(1, 3, 16, 16)
    steps = {"crop": (1.0, 0.0, 1.0), "translate": (1.0, 0.5), "rotate": (1.0,), "scale": (1.0,), "hflip": (0.0,)}
    strength = {"crop": 0.5, "translate": 0.25, "rotate": 90.0, "scale": 1.0, "hflip": 1.0}
    draws = {name: torch.tensor([numbers]) for name, numbers in steps.items()}
    _, together = augmented(images, trimaps, augment(**strength), draws)
    # Each step says where a pixel's centre lies in the picture before it, in pixels from the middle.
    rows, columns = torch.meshgrid(*[torch.arange(16) - 7.5] * 2, indexing="ij")
    columns = -columns  # mirrored
    rows, columns = rows / 2, columns / 2  # enlarged to twice the size
    rows, columns = columns, -rows  # turned by a quarter
    columns = columns + 4  # shifted by a quarter of the side
    rows, columns = rows / 2 + 4, columns / 2 - 4  # the lower left quarter
    rows, columns = ((place + 8).floor().long() for place in (rows, columns))
    rows, columns = (torch.where(place < 0, -1 - place, place) for place in (rows, columns))
    assert torch.equal(together[0], trimaps[0, rows, columns])


def test_the_draws_are_those_of_seed_change_and_epoch() -> None:
    settings = augment(hflip=0.5, crop=0.1, elastic=0.1)
    found = draw(settings, 5, 7, 4)
    assert {name: table.shape for name, table in found.items()} == {"hflip": (4, 1), "crop": (4, 3), "elastic": (4, 73)}
    for name, table in found.items():
        expected = torch.Generator().manual_seed(derived_seed(5, "augment", name, 7))
        assert torch.equal(table, torch.rand(table.shape, generator=expected))


def test_blur_of_a_picture_smaller_than_its_reach() -> None:
    changed, _ = augmented(torch.rand(1, 3, 2, 3), torch.ones(1, 2, 3), augment(blur=10.0), drawn("blur", 1.0))
    assert changed.shape == (1, 3, 2, 3) and changed.isfinite().all()


def test_crop_never_leaves_the_picture() -> None:
    """A bright frame around a dark picture shows up only at the rim: nothing from beyond is mirrored in."""
    images = torch.zeros(64, 3, 32, 32)
    images[..., 0] = 1
    settings = augment(crop=0.5)
    changed, _ = augmented(images, torch.ones(64, 32, 32, dtype=torch.uint8), settings, draw(settings, 3, 0, 64))
    assert changed[..., 4:].max() == 0


def test_grey_is_the_brightness_in_all_channels() -> None:
    images = torch.rand(8, 3, 20, 20)
    changed, _ = augmented(images, torch.ones(8, 20, 20), augment(gray=1.0), drawn("gray", 0.5))
    expected = (0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]).unsqueeze(1)
    torch.testing.assert_close(changed, expected.expand_as(images))


@pytest.mark.parametrize(
    ("numbers", "rows", "columns"),
    [
        ((1.0, 0.25, 0.75), slice(10, 20), slice(0, 10)),  # half a side, around the middle of the lower left quarter
        ((0.4, 0.5, 0.25), slice(3, 7), slice(8, 12)),
        ((1.0, 0.0, 1.0), slice(15, 20), slice(0, 5)),  # what lies beyond the picture is lost
    ],
)
def test_cutout_is_a_square_of_the_mean_colour(
    numbers: tuple[float, float, float], rows: slice, columns: slice
) -> None:
    images, trimaps = torch.rand(1, 3, 20, 20), torch.ones(1, 20, 20, dtype=torch.uint8)
    changed, masks = augmented(images, trimaps, augment(cutout=0.5), drawn("cutout", *numbers))
    expected = images.clone()
    expected[:, :, rows, columns] = images.mean((2, 3))[..., None, None]
    torch.testing.assert_close(changed, expected)
    assert torch.equal(masks, trimaps)


def test_colours_stay_between_black_and_white() -> None:
    images = torch.rand(1, 3, 8, 8)
    changed, _ = augmented(images, torch.ones(1, 8, 8), augment(brightness=0.9), drawn("brightness", 1.0))
    torch.testing.assert_close(changed, (1.9 * images).clamp(max=1))
    draws = {"contrast": torch.ones(1, 1)}
    changed, _ = augmented(images, torch.ones(1, 8, 8), augment(contrast=0.9), draws)
    assert changed.min() == 0 and changed.max() <= 1


@settings(max_examples=30)
@given(
    strengths=st.fixed_dictionaries({name: st.sampled_from([0.0, value]) for name, value in STRENGTH.items()}),
    epoch=st.integers(0, 5),
    split=st.integers(1, 5),
)
def test_what_happens_to_a_photograph_does_not_depend_on_its_batch(
    strengths: dict[str, float], epoch: int, split: int
) -> None:
    images, trimaps = scene()
    chosen = augment(**strengths)
    draws = draw(chosen, 7, epoch, len(images))

    def apply(rows: slice) -> tuple[Any, Any]:
        return augmented(images[rows], trimaps[rows], chosen, {name: table[rows] for name, table in draws.items()})

    whole, parts = apply(slice(0, 6)), [apply(slice(0, split)), apply(slice(split, 6))]
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), whole[0], rtol=0, atol=1e-5)
    assert torch.equal(torch.cat([p[1] for p in parts]), whole[1])


def test_switching_one_change_on_does_not_shift_another() -> None:
    alone = draw(augment(rotate=10.0), 1, 2, 5)
    beside = draw(augment(rotate=10.0, hflip=0.5, blur=1.0), 1, 2, 5)
    assert torch.equal(alone["rotate"], beside["rotate"])
    assert not torch.equal(alone["rotate"], draw(augment(rotate=10.0), 1, 3, 5)["rotate"])
    assert not torch.equal(alone["rotate"], draw(augment(rotate=10.0), 2, 2, 5)["rotate"])
