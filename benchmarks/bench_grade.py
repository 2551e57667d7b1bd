"""Folders of masks graded, against a plain loop that opens each mask and counts Dice alone with NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from commands.grades import graded, opened_truth
from commands.submissions import masks
from measure import Row, races
from oxford_pet import foreground
from place import Place

SUBMISSIONS = 10


def rows(place: Place) -> Iterator[Row]:
    folders = [handed_in(place, shift) for shift in range(SUBMISSIONS)]
    count = len(place.test) * SUBMISSIONS

    threads = torch.get_num_threads()

    def ours() -> int:
        torch.set_num_threads(1)  # as grade.py
        with opened_truth(place.dataset, with_images=False) as truth:
            known = {entry.name: row for row, entry in enumerate(truth.entries)}
            graded(truth, [masks(folder, folder.name, known, "pet") for folder in folders], "pet")
        torch.set_num_threads(threads)
        return count

    def theirs() -> int:
        for folder in folders:
            for name in place.test:
                dice(np.asarray(Image.open(folder / f"{name}.png")) > 0, answer(place, name))
        return count

    work = f"{SUBMISSIONS} submissions; {len(place.test)} {place.source}"
    yield from races("grade", {"grade.py": ours, "Pillow and NumPy, one by one": theirs}, 5, work, "masks/s")


def handed_in(place: Place, shift: int) -> Path:
    """The truth, moved by some pixels."""
    folder = place.folder / f"student{shift}"
    folder.mkdir()
    for name in place.test:
        mask = np.roll(answer(place, name), shift, 1)
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}.png")
    return folder


def answer(place: Place, name: str) -> np.ndarray:
    return foreground(np.asarray(Image.open(place.dataset / f"annotations/trimaps/{name}.png")))


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((predicted & truth).sum()) / max(1, int(predicted.sum() + truth.sum()))
