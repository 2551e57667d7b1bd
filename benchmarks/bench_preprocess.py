"""Making the cache against a loop on one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from decoding import Pair, course_pair, pil_pair
from measure import Row, races
from place import Place, quiet_preprocess

SIDE = 256


def rows(place: Place) -> Iterator[Row]:
    names = place.trainval + place.test

    def stage() -> int:
        quiet_preprocess()
        return len(names)

    def loop(pair: Callable[[Path, str, int], Pair]) -> int:
        pairs = [pair(place.dataset, name, SIDE) for name in names]
        np.save("images.npy", np.stack([image for image, _ in pairs]))
        np.save("trimaps.npy", np.stack([trimap for _, trimap in pairs]))
        return len(names)

    works = {
        "preprocess": stage,
        "PIL on one thread, the least it can do": lambda: loop(pil_pair),
        "PIL on one thread, as the course's class": lambda: loop(course_pair),
    }
    with contextlib.chdir(place.workplace(data={"image_size": SIDE})):
        yield from races("preprocess", works, 5, f"{len(names)} {place.source} to {SIDE} px")
