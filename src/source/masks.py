"""Where a mask file of anybody's programme shows the pet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from oxford_pet import BACKGROUND, BORDER, PET, foreground
from photos import Unusable


def pet_of(image: Image.Image, border: str) -> np.ndarray | None:
    """None where the mask follows no encoding; Unusable where a palette may be read in two ways."""
    found = [mask for values in readings(image) if (mask := pet(values, border)) is not None]
    if not all(np.array_equal(found[0], other) for other in found[1:]):
        raise Unusable("has a palette whose numbers say one thing and whose colours another")
    return found[0] if found else None


def readings(image: Image.Image) -> Iterator[np.ndarray]:
    """One value for each pixel; of a palette the numbers, and the colours where all of them are grey."""
    if image.mode in ("1", "L", "P"):
        yield np.asarray(image).astype(np.uint8)
        if image.mode != "P":
            return
    elif image.mode in ("LA", "RGBA"):
        if image.getextrema()[-1] != (255, 255):
            raise Unusable("is partly transparent")
    elif image.mode != "RGB":
        raise Unusable(f"has pixels of type {image.mode}, not 8 bits each")
    red, green, blue = (np.asarray(channel) for channel in image.convert("RGB").split())
    if np.array_equal(red, green) and np.array_equal(red, blue):
        yield red
    elif image.mode != "P":
        raise Unusable("is coloured")


def pet(values: np.ndarray, border: str) -> np.ndarray | None:
    """By the encoding that its values follow; None where there is no such encoding."""
    low, high = values.min(), values.max()
    if high <= 1:
        return values == 1
    if high == 255 and np.count_nonzero(values == 0) + np.count_nonzero(values == 255) == values.size:
        return values == 255
    if low >= min(PET, BACKGROUND) and high <= BORDER:
        return foreground(values, border)
    return None
