"""A sheet of samples with the outlines of their masks, to look at before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from oxford_pet import foreground

TILE, GAP, TEXT = 128, 6, 14  # pixels
COLUMNS = 8
OUTLINE = (255, 220, 0)


def draw_sheet(rows: Sequence[tuple[str, np.ndarray, Sequence[str]]]) -> Image.Image:
    """One row for each (heading, cached pixels (N, side, side, 4), names): photographs at even distances."""
    height = 2 * TEXT + TILE + GAP
    sheet = Image.new("RGB", (GAP + COLUMNS * (TILE + GAP), GAP + len(rows) * height), "white")
    for row, (heading, pixels, names) in enumerate(rows):
        top = GAP + row * height
        ImageDraw.Draw(sheet).text((GAP, top), heading, "black")
        shown = min(COLUMNS, len(pixels))
        for column in range(shown):
            index = column * len(pixels) // shown
            sheet.paste(_tile(pixels[index], names[index]), (GAP + column * (TILE + GAP), top + TEXT))
    return sheet


def _tile(pixels: np.ndarray, name: str) -> Image.Image:
    photograph = Image.fromarray(pixels[..., :3]).resize((TILE, TILE), Image.Resampling.BILINEAR)
    mask = Image.fromarray(foreground(pixels[..., 3])).convert("L").resize((TILE, TILE), Image.Resampling.NEAREST)
    outline = ImageChops.difference(mask.filter(ImageFilter.MaxFilter(3)), mask.filter(ImageFilter.MinFilter(3)))
    photograph.paste(OUTLINE, mask=outline)
    tile = Image.new("RGB", (TILE, TILE + TEXT), "white")
    tile.paste(photograph)
    ImageDraw.Draw(tile).text((0, TILE + 1), name, "black")
    return tile
