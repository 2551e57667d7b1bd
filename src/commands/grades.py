"""Grades of submissions: the truth is opened once, every submission is compared with it, a photograph at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from commands.submissions import Submission
from oxford_pet import SIDES, Entry, counted, foreground
from photos import Unusable
from progress import progress
from scoring import splits
from scoring.scores import Outline, agreement, outlined, points, with_interval
from shared.metrics import dice, iou
from source.archives import BadArchive, extract
from utils import Refusal, aligned, out_of_memory, printable, rounded

CACHE, DATASET = Path("dataset/cache"), Path("dataset/oxford-iiit-pet")
MISSING = "missing"
WORST = 6  # photographs of each submission


class Truth(NamedTuple):
    folder: Path  # in the official layout
    entries: list[Entry]

    def trimap(self, name: str) -> np.ndarray:
        return np.asarray(splits.own_trimap(splits.trimaps_of(self.folder), name))


class Grade(NamedTuple):
    """Of one submission; everything but `submission` has an entry for each photograph."""

    submission: Submission
    counts: Tensor  # (N, 4): pixels that are true positive, false positive, false negative, true negative
    boundary_f1: Tensor
    problems: list[str]  # MISSING, why the mask cannot be used, or nothing

    @property
    def dice(self) -> Tensor:
        return dice(self.counts)

    @property
    def missing(self) -> int:
        return self.problems.count(MISSING)

    @property
    def unreadable(self) -> dict[int, str]:
        return {row: problem for row, problem in enumerate(self.problems) if problem not in ("", MISSING)}

    def worst(self) -> list[int]:
        return self.dice.argsort(stable=True)[:WORST].tolist()


# --- the truth --------------------------------------------------------------------------------------------------------


@contextmanager
def opened_truth(data: Path | None, with_images: bool) -> Iterator[Truth]:
    """The test photographs of a folder or of archives in the official layout; without one those of the cache."""
    if data is None:
        yield Truth(DATASET, entries(splits.cached(CACHE, DATASET, "test")))
    elif (data / "annotations").is_dir() or not (data / "annotations.tar.gz").is_file():
        yield Truth(data, entries(splits.official(data, SIDES.start, "test")))
    else:
        with tempfile.TemporaryDirectory() as folder:
            for name in ["annotations", *(["images"] if with_images else [])]:
                try:
                    extract(data / f"{name}.tar.gz", Path(folder))
                except BadArchive as error:
                    raise Refusal(f"{data / name}.tar.gz: {error}; get it anew") from None
            yield Truth(Path(folder), entries(splits.official(Path(folder), SIDES.start, "test")))


def entries(split: splits.Split) -> list[Entry]:
    return [Entry(*(row[key] for key in Entry._fields)) for row in split.rows]


# --- comparing --------------------------------------------------------------------------------------------------------


def graded(truth: Truth, submissions: Sequence[Submission], border: str) -> list[Grade]:
    """All masks of a photograph are compared while its trimap is open, so memory does not grow with the photographs."""
    size = len(truth.entries)
    found = [
        Grade(one, torch.zeros(size, 4, dtype=torch.int64), torch.zeros(size).double(), [""] * size)
        for one in submissions
    ]

    def compare(row: int) -> None:
        name = truth.entries[row].name
        answer = Answer(truth.trimap(name), border)
        for grade in found:
            mask, grade.problems[row] = mask_of(grade.submission, name, answer.truth.shape)
            grade.counts[row], grade.boundary_f1[row] = answer.compared(mask)

    with progress("grading", size, "photographs") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(compare, range(size)):
            bar.update(1)
    return found


def mask_of(submission: Submission, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """An empty mask where there is none that can be used, and why there is none."""
    try:
        mask = submission.mask(name, *shape)
        problem = MISSING if mask is None else ""
    except Unusable as reason:
        mask, problem = None, str(reason)
    except OSError as error:
        mask, problem = None, f"cannot be read: {error.strerror}"
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        mask, problem = None, "does not fit into memory"
    return np.zeros(shape, bool) if mask is None else mask, problem


class Answer:
    """The true mask of a photograph, and what of it all submissions are compared with."""

    def __init__(self, trimap: np.ndarray, border: str) -> None:
        self.counted = counted(trimap, border)
        self.truth = foreground(trimap, border) & self.counted
        self.pet, self.pixels = int(np.count_nonzero(self.truth)), int(np.count_nonzero(self.counted))
        self.outline = outlined(torch.from_numpy(self.truth)[None])

    def compared(self, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """Counts of pixels as `confusion` has them, and the boundary F1; a pixel that is not counted is in no mask.

        Only the part of the picture that holds both masks is looked at, with the contours that it has in the whole:
        what lies outside of it is background in both. NumPy counts bool in a tenth of torch's time.
        """
        found = mask & self.counted
        part = around(self.truth | found)
        positive, both = int(np.count_nonzero(found)), int(np.count_nonzero(found[part] & self.truth[part]))
        counts = [both, positive - both, self.pet - both, self.pixels - positive - self.pet + both]
        theirs = Outline(*(one[(slice(None), *part)] for one in self.outline))
        ours = outlined(torch.from_numpy(found[part].copy())[None])
        return torch.tensor(counts), agreement(ours, theirs)[0]


def around(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest rectangle that holds all of a mask."""
    down, across = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(down):
        return slice(0, 1), slice(0, 1)
    return slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)


# --- what is said -----------------------------------------------------------------------------------------------------


def ranked(grades: Sequence[Grade]) -> list[tuple[Grade, dict[str, Any]]]:
    """Best first, each with its scores and its difference to the best on the same photographs."""
    order = sorted(grades, key=lambda grade: -float(grade.dice.mean()))
    return [(grade, scores(grade, order[0])) for grade in order]


def scores(grade: Grade, best: Grade) -> dict[str, Any]:
    found: dict[str, Any] = with_interval(grade.dice)
    behind = with_interval(grade.dice - best.dice)
    found |= {key.replace("dice", "to_best"): value for key, value in behind.items()}
    return found | {
        "dice_dataset": float(dice(grade.counts.sum(0))),
        "iou": float(iou(grade.counts).mean()),
        "boundary_f1": float(grade.boundary_f1.mean()),
        "points": points(rounded(found["dice"])),
        "photographs": len(grade.problems),
        "missing": grade.missing,
        "unreadable": len(grade.unreadable) + len(grade.submission.problems),
        "surplus": len(grade.submission.surplus),
        "threshold": grade.submission.threshold,
    }


def columns(grade: Grade, row: dict[str, Any]) -> dict[str, str]:
    """A line of the table, as text."""
    best = not any(row[key] for key in ("to_best", "to_best_low", "to_best_high"))
    return {
        "kind": grade.submission.kind,
        "Dice": f"{row['dice']:.4f}",
        "95% interval": f"{row['dice_low']:.4f} to {row['dice_high']:.4f}",
        "to the best": "best" if best else f"{row['to_best']:+.4f}",
        "its 95% interval": "" if best else f"{row['to_best_low']:+.4f} to {row['to_best_high']:+.4f}",
        "pooled Dice": f"{row['dice_dataset']:.4f}",
        "IoU": f"{row['iou']:.4f}",
        "boundary F1": f"{row['boundary_f1']:.4f}",
        "points": str(row["points"]),
        "threshold": "" if row["threshold"] is None else f"{row['threshold']:g}",
        "missing": str(row["missing"]),
        "unreadable": str(row["unreadable"]),
        "surplus": str(row["surplus"]),
    }


def table(lines: Sequence[tuple[str, dict[str, str]]]) -> str:
    """A line for each submission."""
    return aligned([["", *lines[0][1]], *([printable(label), *line.values()] for label, line in lines)])
