"""What may be handed in to be graded: weights, a folder of masks, a CSV of run lengths. Each gives masks by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from commands.run_lengths import Table
from oxford_pet import Entry
from photos import MAX_PIXELS, Unusable, opened, size_text
from scoring.predict import Predictor, resized
from scoring.splits import Decoded
from shared import checkpoint
from shared.metrics import is_pet
from source.masks import pet_of, readings
from utils import Refusal

DRAWN = ("overlay", "cutout", "compare")  # what inference.py writes beside its masks
LARGER = 16  # a mask may have as many pixels for each of its photograph; a few kB can claim any size
KINDS = "a folder of mask PNGs, a .csv of run lengths or a .pth of this project"

MaskOf = Callable[[str, int, int], np.ndarray | None]  # name, height, width; None where there is no mask; or Unusable


@dataclass
class Submission:
    label: str
    kind: str
    mask: MaskOf
    surplus: Sequence[str] = ()  # masks of photographs that are not asked for
    problems: list[str] = field(default_factory=list)  # that belong to no photograph
    threshold: float | None = None  # of weights


def opened_submission(
    path: Path, label: str, folder: Path, entries: Sequence[Entry], border: str, threshold: float | None
) -> Submission:
    """`folder` and `entries`: the dataset, and the photographs in it that are asked for."""
    known = {entry.name: row for row, entry in enumerate(entries)}
    if path.is_symlink() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise Refusal(f"{path}: is a link to the truth in {folder}; a submission is {KINDS}")
    if path.is_dir():
        return masks(path, label, known, border)
    if not path.is_file():
        raise Refusal(f"{path}: {'is not a file' if path.exists() else 'is missing'}; a submission is {KINDS}")
    if path.suffix.lower() == ".csv":
        return run_lengths(path, label, known)
    if path.suffix.lower() != ".pth":
        raise Refusal(f"{path}: a submission is {KINDS}")
    return network(path, label, folder, entries, known, threshold)


def photograph(name: str, known: Mapping[str, int]) -> str | None:
    """Which photograph a mask of this name belongs to."""
    return next((one for one in (name, name.removesuffix("_mask"), name.removesuffix(".jpg")) if one in known), None)


# --- weights ----------------------------------------------------------------------------------------------------------


def network(
    path: Path, label: str, folder: Path, entries: Sequence[Entry], known: Mapping[str, int], asked: float | None
) -> Submission:
    """A photograph at a time: the network sees it at the size of its training, as in evaluate.py."""
    weights = checkpoint.load(path)
    threshold = asked or weights.threshold
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictor, squares = Predictor(weights, "none", where), Decoded(folder, entries, weights.image_size)
    if missing := known.keys() - squares.photographs.keys():
        raise Refusal(f"{path}: weights are graded on photographs, but {folder}/images lacks {len(missing)} of them")

    def mask(name: str, height: int, width: int) -> np.ndarray:
        row = known[name]
        probabilities = predictor(squares[row : row + 1][..., :3])
        return is_pet(resized(probabilities[None], height, width)[0, 0], threshold).cpu().numpy()

    return Submission(label, "weights", mask, threshold=threshold)


# --- run lengths ------------------------------------------------------------------------------------------------------


def run_lengths(path: Path, label: str, known: Mapping[str, int]) -> Submission:
    table = Table(path, lambda name: photograph(name, known))
    if not table.places:
        raise Refusal(f"{path}: no row has the name of a photograph that is asked for")
    return Submission(label, "run lengths", table.mask, table.others, table.broken)


# --- a folder of masks ------------------------------------------------------------------------------------------------


def masks(folder: Path, label: str, known: Mapping[str, int], border: str) -> Submission:
    files: dict[str, list[Path]] = {}
    surplus = []
    pngs = [path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".png" and path.name[0] != "."]
    names = {path.stem for path in pngs} | known.keys()
    for path in pngs:
        if name := photograph(path.stem, known):
            files.setdefault(name, []).append(path)
        elif not drawn_beside_a_mask(path.stem, names):
            surplus.append(path.name)
    if not files:
        raise Refusal(
            f"{folder}: no PNG in it has the name of a photograph that is asked for; a folder in it is not looked into"
        )

    def mask(name: str, height: int, width: int) -> np.ndarray | None:
        found = files.get(name, [])
        if not found:
            return None
        if len(found) > 1:
            raise Unusable(f"has two masks, {found[0].name} and {found[1].name}")
        if found[0].is_symlink() and Path(os.path.realpath(found[0])).parent != Path(os.path.realpath(folder)):
            raise Unusable("has a mask that is a link out of the folder")  # as one to the truth would be
        return fitted(read_mask(found[0], border, LARGER * height * width), height, width)

    return Submission(label, "masks", mask, surplus)


def drawn_beside_a_mask(stem: str, names: Set[str]) -> bool:
    name, _, kind = stem.rpartition("_")
    return kind in DRAWN and bool({name, f"{name}_mask"} & names)


def read_mask(file: Path, border: str, most: int = MAX_PIXELS) -> np.ndarray:
    """Where a mask shows the pet; or Unusable, where it may be read in more than one way or in none."""
    with opened(file) as image:
        if image.width * image.height > most:
            raise Unusable(f"is {size_text(image.size)}, more than {LARGER} times the photograph")
        image.load()
        found = pet_of(image, border)
        if found is None:
            values = next(readings(image))
            raise Unusable(
                f"holds values from {values.min()} to {values.max()}, which are not 0 and 255, 0 and 1, or 1, 2 and 3"
            )
    return found


def fitted(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """At another size, by nearest neighbour."""
    if mask.shape == (height, width):
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)) > 0


def labels(paths: Sequence[Path]) -> list[str]:
    """The last part of each path; where two are the same, the whole paths."""
    names = [path.absolute().name for path in paths]
    return names if len({*names}) == len(names) else list(map(str, paths))
