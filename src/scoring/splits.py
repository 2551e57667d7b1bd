"""Photographs to score: a cached split, or a list of a folder in the official layout."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oxford_pet import Entry, SimpleOxfordPetDataset, list_of, read_split
from photos import Unusable, open_pair, open_trimap, pictures_in, squeezed
from shared.thresholds import Pixels
from utils import Refusal


class Split(NamedTuple):
    rows: list[dict[str, str]]  # of each photograph: name, breed, species; cached ones also height and width
    pixels: Pixels
    trimaps: Path  # the folder with the masks at the photographs' own size

    @property
    def side(self) -> int:
        return self.pixels[:1].shape[1]


def cached(cache: Path, dataset: Path, split: str) -> Split:
    """A split as it was preprocessed."""
    found = SimpleOxfordPetDataset(cache, split)
    return Split(found.rows(), found.tensor(), trimaps_of(dataset))


def official(folder: Path, side: int, split: str) -> Split:
    """A list of a folder in the official layout. Decoded when it is used."""
    entries = entries_of(folder, split)
    return Split([entry._asdict() for entry in entries], Decoded(folder, entries, side), trimaps_of(folder))


def official_masks(folder: Path, side: int, split: str) -> Pixels:
    """The trimaps of such a list alone, for what does not look at photographs: they are black here."""
    return DecodedMasks(folder, entries_of(folder, split), side)


def entries_of(folder: Path, split: str) -> list[Entry]:
    listed = list_of(folder / "annotations", split)
    try:
        entries = [Entry.parse(line) for line in read_split(folder / "annotations", split)]
    except (FileNotFoundError, NotADirectoryError):
        raise Refusal(f"{listed}: not found; a dataset in the official layout has images/ and annotations/") from None
    except ValueError as error:  # also where it is no text
        raise Refusal(f"{listed}: not a list of photographs: {error}") from None
    if not entries:
        raise Refusal(f"{listed}: names no photographs")
    return entries


class Decoded:
    """Photographs of a folder in the official layout, decoded a slice at a time."""

    def __init__(self, folder: Path, entries: Sequence[Entry], side: int) -> None:
        self.folder, self.entries, self.side = folder, entries, side
        self.photographs = pictures_in(folder / "images", ".jpg")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, rows: slice, /) -> Tensor:
        with ThreadPoolExecutor() as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._square, self.entries[rows]))))

    def _square(self, entry: Entry) -> np.ndarray:
        file = self.photographs.get(entry.name, self.folder / "images" / f"{entry.name}.jpg")
        mask = trimaps_of(self.folder) / f"{entry.name}.png"
        try:
            image, _ = open_pair(file, mask, self.side)
        except Unusable as reason:
            raise Refusal(f"{reason.path}: {reason}; repair it or take it off the list") from None
        return np.asarray(image)


class DecodedMasks(Decoded):
    def _square(self, entry: Entry) -> np.ndarray:
        square = np.zeros((self.side, self.side, 4), np.uint8)
        square[..., 3] = np.asarray(squeezed(own_trimap(trimaps_of(self.folder), entry.name), self.side))
        return square


def trimaps_of(dataset: Path) -> Path:
    return dataset / "annotations" / "trimaps"


def own_trimap(trimaps: Path, name: str) -> Image.Image:
    """The trimap of a photograph at its own size."""
    file = trimaps / f"{name}.png"
    try:
        return open_trimap(file)
    except Unusable as reason:
        raise Refusal(f"{file}: {reason}; get the dataset's annotations anew") from None
