"""Photograph and trimap move together, as their own row of draws says, and 0 is off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.augment import GEOMETRIC, WIDTHS, augmented, draw
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


@pytest.mark.parametrize("name", ["hflip", "vflip", "gray"])
def test_a_probability_is_the_share_of_photographs(name: str) -> None:
    images, chosen = torch.rand(400, 3, 8, 8), augment(**{name: 0.3})
    changed, _ = augmented(images, torch.ones(400, 8, 8, dtype=torch.uint8), chosen, draw(chosen, 0, 0, 400))
    share = ((changed - images).abs().flatten(1).amax(1) > 1e-3).float().mean()
    assert 0.23 < share < 0.37


def test_blur_has_the_deviation_in_pixels() -> None:
    images = torch.zeros(1, 3, 31, 31)
    images[..., 15, 15] = 1
    changed, _ = augmented(images, torch.ones(1, 31, 31), augment(blur=2.0), drawn("blur", 1.0))
    across = changed[0, 0].sum(0)
    deviation = ((torch.arange(31) - 15) ** 2 * across).sum().sqrt().item()
    assert across.sum().item() == pytest.approx(1, abs=1e-4)
    assert deviation == pytest.approx(1.8516, abs=1e-3)  # a Gaussian's of 2 that ends at two deviations


def test_crop_never_leaves_the_picture() -> None:
    """A bright frame around a dark picture shows up only at the rim: nothing from beyond is mirrored in."""
    images = torch.zeros(64, 3, 32, 32)
    images[..., 0] = 1
    settings = augment(crop=0.5)
    changed, _ = augmented(images, torch.ones(64, 32, 32, dtype=torch.uint8), settings, draw(settings, 3, 0, 64))
    assert changed[..., 4:].max() == 0


def test_elastic_probability_is_the_share_of_bent_photographs() -> None:
    images, trimaps = scene(count=200, side=24)
    settings = augment(elastic=0.1, elastic_p=0.2)
    changed, _ = augmented(images, trimaps, settings, draw(settings, 0, 0, 200))
    bent = ((changed - images).abs().flatten(1).max(1).values > 1e-3).float().mean()
    assert 0.1 < bent < 0.3


def test_grey_has_no_colour_and_cutout_has_the_asked_size() -> None:
    images = torch.rand(8, 3, 20, 20)
    settings = augment(gray=1.0)
    changed, _ = augmented(images, torch.ones(8, 20, 20, dtype=torch.uint8), settings, draw(settings, 0, 0, 8))
    assert (changed.amax(1) - changed.amin(1)).max() < 1e-6
    settings = augment(cutout=0.5)
    changed, _ = augmented(images, torch.ones(8, 20, 20, dtype=torch.uint8), settings, draw(settings, 0, 0, 8))
    erased = (changed != images).any(1).flatten(1).float().mean(1)
    assert erased.max() <= 0.5**2 + 1e-6
    assert erased.max() > 0


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
