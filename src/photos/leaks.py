"""Photographs for training that are test photographs too, under whatever name.

Two photographs are called the same if both hold, as they are or with one of them mirrored:
- of the 256 steps from a pixel to its right neighbour, in tiny grey versions, at most STEPS go another way;
- the tiny versions differ by at most GREYS grey levels on average.
On the real dataset the pairs that a person calls the same photograph have up to 32 steps and 11.1 grey levels, and the
nearest of all others has 44 and 19.1. Other sizes, compression and small shifts do not matter; a crop that cuts much
off is not found.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 16, 17
STEPS, GREYS = 38, 15
ROWS = 1024  # photographs compared at once with all of the other split, so that memory stays flat


def tiny(square: Image.Image) -> np.ndarray:
    """A grey version, (HEIGHT, WIDTH) uint8."""
    grey = square.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return np.array(grey)  # a copy, since the bytes that asarray would keep hold far more memory than they need


def same(ours: np.ndarray, theirs: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of rows of two (N, HEIGHT, WIDTH) arrays that show the same photograph, in order."""
    found: set[tuple[int, int]] = set()
    right = steps(theirs)
    for start in range(0, len(ours), ROWS):
        part = ours[start : start + ROWS]
        for version in (part, part[:, :, ::-1]):
            # The product of two steps is 1 where they go the same way and -1 where they do not.
            near = steps(version) @ right.T >= right.shape[1] - 2 * STEPS
            for row in np.flatnonzero(near.any(1)).tolist():
                columns = np.flatnonzero(near[row])
                apart = np.abs(version[row].astype(np.int16) - theirs[columns]).mean((1, 2))
                found |= {(start + row, column) for column in columns[apart <= GREYS].tolist()}
    return sorted(found)


def steps(pictures: np.ndarray) -> np.ndarray:
    """(N, 256): 1 where a pixel's right neighbour is brighter, else -1; as floats, whose products are quick."""
    brighter = pictures[:, :, 1:] > pictures[:, :, :-1]
    return np.where(brighter, np.float32(1), np.float32(-1)).reshape(len(pictures), -1)
