"""What a mask looks like on its photograph."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter, ImageFont

TINT = 90  # of 255: how much of the colour lies over the pet
PANEL = 640  # pixels: longest side of a photograph in a comparison


def overlay(photo: Image.Image, mask: Image.Image, colour: str) -> Image.Image:
    """The pet tinted, its outline a line of that colour with a white rim, so that it shows on any fur."""
    width = max(3.0, max(photo.size) / 170)
    tint = mask.point([0] * 255 + [TINT])
    picture = Image.composite(Image.new("RGB", photo.size, colour), photo, tint)
    picture.paste("white", mask=outline(mask, 2 * width))
    picture.paste(colour, mask=outline(mask, width))
    return picture


def outline(mask: Image.Image, width: float) -> Image.Image:
    """A smooth line of about that width along the edge of a 0 and 255 mask, as opacity.

    Blurring makes a ramp across the edge; the line is where the ramp is neither low nor high.
    """
    opacity = [min(255, max(0, round(4 * (110 - abs(value - 127.5))))) for value in range(256)]
    return mask.filter(ImageFilter.GaussianBlur(width / 3)).point(opacity)


def cutout(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """The pet alone. Background pixels are transparent, and black, so that removing alpha does not restore them."""
    picture = Image.composite(photo, Image.new("RGB", photo.size), mask)
    picture.putalpha(mask)
    return picture


def side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one size, each under its title."""
    shrink = min(1.0, PANEL / max(panels[0][1].size))
    width, height = (max(1, round(side * shrink)) for side in panels[0][1].size)
    letter = max(10, width // 18)
    canvas = Image.new("RGB", (width * len(panels), 2 * letter + height))
    for place, (title, picture) in enumerate(panels):
        panel = Image.new("RGB", (width, 2 * letter + height), "white")
        ImageDraw.Draw(panel).text((letter / 2, letter), title, "black", ImageFont.load_default(letter), anchor="lm")
        panel.paste(picture.resize((width, height), Image.Resampling.BOX), (0, 2 * letter))
        canvas.paste(panel, (place * width, 0))
    return canvas
