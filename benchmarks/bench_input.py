"""Batches from the cache against a DataLoader that decodes each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from decoding import Decoding
from measure import Row, races
from place import Place

SIDE, BATCH = 256, 16
EPOCHS = 10  # from the cache, for one that is decoded


def rows(place: Place) -> Iterator[Row]:
    pixels, dataset = place.cached(SIDE), Decoding(place.dataset, place.train, SIDE)

    def cached() -> int:
        """As the trainer fetches."""
        batches = [batch for _ in range(EPOCHS) for batch in torch.randperm(len(pixels)).split(BATCH)]
        return sum(len(pixels.index_select(0, batch)) for batch in batches)

    def decoded(workers: int) -> int:
        loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers)
        return sum(len(images) for images, _ in loader)

    works = {
        "batches from the cache": cached,
        "DataLoader that decodes, 0 workers": lambda: decoded(0),
        "DataLoader that decodes, 2 workers": lambda: decoded(2),
    }
    work = f"batches of {BATCH} in uint8 at {SIDE} px, {len(pixels)} {place.source}"
    yield from races("input", works, 5, work)
