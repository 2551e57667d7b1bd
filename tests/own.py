"""Photographs and masks as a user of another programme has them: images/ and masks/, with names of no breed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

import pets
from oxford_pet import BACKGROUND


def make_source(folder: Path, count: int = 24) -> Path:
    """Suffixes and names of masks take turns, and masks of 0 and 1 with those of 0 and 255."""
    official = pets.make_dataset(folder / "official", trainval=count, test=0)
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for index, photograph in enumerate(sorted((official / "images").iterdir())):
        name = f"IMG-{index:03}"
        shutil.copyfile(photograph, folder / "images" / f"{name}{('.JPG', '.png', '.jpeg')[index % 3]}")
        with Image.open(official / "annotations/trimaps" / f"{photograph.stem}.png") as trimap:
            pet = np.where(np.asarray(trimap) == BACKGROUND, 0, 1).astype(np.uint8)
        mask = Image.fromarray(pet.astype(bool)) if index % 5 == 0 else Image.fromarray(pet * (1, 255)[index % 2])
        mask.save(folder / "masks" / f"{name}{('', '_mask')[index % 2]}.png")
    shutil.rmtree(official)
    return folder


def names(count: int = 24) -> list[str]:
    return [f"IMG-{index:03}" for index in range(count)]


def write_lists(folder: Path, **lists: list[str]) -> Path:
    """train.txt, val.txt and test.txt."""
    folder.mkdir(exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
