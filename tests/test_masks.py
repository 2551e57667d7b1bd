"""Masks of any programme become trimaps: what a palette says in two ways is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photos import Unusable
from source.layout import trimap_of

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (128, 0, 0)


def with_palette(numbers: list[int], *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", (len(numbers), 1))
    image.putdata(numbers)
    image.putpalette([value for colour in colours for value in colour])
    return image


@pytest.mark.parametrize(
    ("image", "trimap"),
    [
        (with_palette([0, 1], BLACK, WHITE), [2, 1]),
        (with_palette([0, 1], BLACK, RED), [2, 1]),
        (with_palette([1, 2, 3], RED, RED, BLACK, WHITE), [1, 2, 3]),
        (with_palette([1, 2], RED, BLACK, WHITE), [1, 2]),  # of a trimap the numbers count, as everywhere
        (with_palette([4, 5], *[RED] * 4, BLACK, WHITE), [2, 1]),
    ],
)
def test_a_palette_that_says_one_thing(image: Image.Image, trimap: list[int], tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    assert np.asarray(Image.open(io.BytesIO(trimap_of(tmp_path / "mask.png")))).tolist() == [trimap]


@pytest.mark.parametrize(
    "image",
    [
        with_palette([0, 1], WHITE, BLACK),
        Image.fromarray(np.array([[0, 255, 255]], np.uint8)).quantize(2),  # Pillow's begins with the commoner colour
    ],
)
def test_a_palette_that_says_two_things(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    with pytest.raises(Unusable, match="whose numbers say one thing and whose colours another"):
        trimap_of(tmp_path / "mask.png")
