"""Small pretend pets for the tests, in the official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from oxford_pet import BACKGROUND, BORDER, PET

BREEDS = ("Abyssinian", "american_bulldog", "Birman", "pug")  # a capital first letter marks a cat, as in the dataset


def make_dataset(folder: Path, trainval: int = 20, test: int = 6, side: int = 48, seed: int = 0) -> Path:
    """A dataset of bright ellipses on dark noise; every third photograph is a little wider than high."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    lines = [list_line(number) for number in range(1, trainval + test + 1)]
    for index, line in enumerate(lines):
        name = line.split()[0]
        image, trimap = make_pet(side, side + side // 4 * (index % 3 == 0), np.random.default_rng([seed, index]))
        Image.fromarray(image).save(folder / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{name}.png")
    write_lists(folder, trainval=lines[:trainval], test=lines[trainval:])
    return folder


def write_lists(folder: Path, **lists: list[str]) -> None:
    """trainval.txt, test.txt and, as in the official archive, list.txt with both and a heading."""
    for name, lines in lists.items():
        (folder / "annotations" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    both = [line for lines in lists.values() for line in lines]
    listing = ["#Image CLASS-ID SPECIES BREED ID", *both]
    (folder / "annotations" / "list.txt").write_text("".join(f"{line}\n" for line in listing), encoding="utf-8")


def list_line(number: int) -> str:
    """`Abyssinian_1 1 1 1`: name, class, species, breed; the breeds take turns."""
    index = (number - 1) % len(BREEDS)
    breed = BREEDS[index]
    return f"{breed}_{number} {index + 1} {1 if breed[0].isupper() else 2} {index // 2 + 1}"


def make_pet(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An RGB picture (height, width, 3) and its trimap (height, width), both uint8."""
    centre, radius = random.uniform(0.4, 0.6, 2), random.uniform(0.2, 0.35, 2)
    y, x = (np.arange(height) + 0.5)[:, None] / height, (np.arange(width) + 0.5)[None] / width
    distance = np.hypot((y - centre[0]) / radius[0], (x - centre[1]) / radius[1])
    trimap = np.select([distance < 0.85, distance < 1], [PET, BORDER], BACKGROUND).astype(np.uint8)
    colour = np.where((trimap == BACKGROUND)[..., None], random.integers(20, 80, 3), random.integers(150, 230, 3))
    noise = random.integers(-15, 16, (height, width, 3))
    return np.clip(colour + noise, 0, 255).astype(np.uint8), trimap


def write_data_params(folder: Path, **data: object) -> None:
    """The repository's params.yaml, with other values under `data`."""
    values = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    values["data"] |= data
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
