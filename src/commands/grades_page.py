"""What `grade.py --out` writes: two tables that a spreadsheet opens, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from commands.grades import MISSING, Grade, Truth, columns, mask_of
from commands.submissions import fitted
from oxford_pet import counted, foreground
from photos import Unusable, open_pair, pictures_in
from report import document
from report.pictures import PANEL, Photo
from shared.metrics import dice, iou
from utils import DECIMALS, printable, write_bytes, write_csv

FORMULA = ("=", "+", "-", "@")  # what begins so is computed by a spreadsheet
SHOWN = 20  # names in a list

Ranked = Sequence[tuple[Grade, dict[str, Any]]]


def write(out: Path, ranked: Ranked, refused: Mapping[str, str], truth: Truth, border: str, lead: str) -> None:
    """`refused`: why a submission was not graded; `lead`: what the grades are of."""
    write_csv(out / "grades.csv", summary_rows(ranked, refused, border))
    write_csv(out / "grades_photographs.csv", photograph_rows(ranked, truth))
    write_bytes(out / "grades.html", page(ranked, refused, truth, border, lead).encode())


def inert(text: str) -> str:
    """A cell that a spreadsheet shows and does not compute."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def summary_rows(ranked: Ranked, refused: Mapping[str, str], border: str) -> list[dict[str, Any]]:
    rows = [
        {"submission": inert(grade.submission.label), "kind": grade.submission.kind, "border": border}
        | {key: round(value, DECIMALS) if isinstance(value, float) else value for key, value in row.items()}
        | {"problem": ""}
        for grade, row in ranked
    ]
    empty = dict.fromkeys(rows[0])
    return rows + [empty | {"submission": inert(label), "problem": inert(why)} for label, why in refused.items()]


def photograph_rows(ranked: Ranked, truth: Truth) -> list[dict[str, Any]]:
    return [
        {
            "submission": inert(grade.submission.label),
            "photograph": inert(entry.name),
            "dice": one_dice,
            "iou": one_iou,
            "boundary_f1": one_f1,
            "problem": inert(problem),
        }
        for grade, _ in ranked
        for entry, one_dice, one_iou, one_f1, problem in zip(
            truth.entries,
            dice(grade.counts).tolist(),
            iou(grade.counts).tolist(),
            grade.boundary_f1.tolist(),
            grade.problems,
            strict=True,
        )
    ]


# --- the page ---------------------------------------------------------------------------------------------------------


def page(ranked: Ranked, refused: Mapping[str, str], truth: Truth, border: str, lead: str) -> str:
    lines = [columns(grade, row) for grade, row in ranked]
    heads = [(printable(grade.submission.label), "") for grade, _ in ranked]
    rows = [(key, *(line[key] for line in lines)) for key in lines[0] if any(line[key] for line in lines)]
    sections = {"Grades": document.table(heads, rows) + document.paragraph(NOTE, "quiet")}
    notes = [f"not graded: {reason}" for reason in refused.values()]
    if notes := notes + [note for grade, _ in ranked for note in problems(grade, truth, SHOWN)]:
        sections["Missing, surplus or not to be read"] = "".join(document.paragraph(printable(note)) for note in notes)
    for grade, _ in ranked:
        sections[f"Worst photographs of {printable(grade.submission.label)}"] = worst(grade, truth, border)
    return document.page("Grades", document.paragraph(printable(lead)), sections)


NOTE = (
    "Dice, IoU and boundary F1 are means over photographs, each at its own size; for pooled Dice all pixels are "
    "counted together first. The interval shows how far chance in the choice of photographs could move the mean; that "
    "of the difference to the best compares both on the same photographs. Boundary F1 takes contours as equal that are "
    "at most 2 pixels apart. Points are the course's: a mean Dice from 0.90 on earns 100, from 0.85 on 80, from 0.80 "
    "on 60. A mask that is missing or unreadable counts as an empty one."
)


def problems(grade: Grade, truth: Truth, most: int) -> list[str]:
    """In words, at most so many names of each kind."""
    label = grade.submission.label
    missing = [entry.name for entry, problem in zip(truth.entries, grade.problems, strict=True) if problem == MISSING]
    unreadable = [f"{truth.entries[row].name} {reason}" for row, reason in grade.unreadable.items()]
    kinds = {
        "no mask, counted as empty": missing,
        "cannot be read, counted as empty": unreadable,
        "cannot be read": grade.submission.problems,
        "belongs to no photograph that is asked for": grade.submission.surplus,
    }
    return [f"{label}: {kind}: {some(names, most)}" for kind, names in kinds.items() if names]


def some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def worst(grade: Grade, truth: Truth, border: str) -> str:
    """Their pictures; their names alone, where the photographs are not there."""
    photos, without = [], []
    files = pictures_in(truth.folder / "images", ".jpg")
    for row in grade.worst():
        name, score = truth.entries[row].name, float(grade.dice[row])
        try:
            photos.append(picture(grade, truth, files.get(name, Path(f"{name}.jpg")), score, border))
        except Unusable:
            without.append(f"{name} {score:.3f}")
    text = document.paragraph(", ".join(without)) if without else ""
    return text + (document.mistakes_key() + document.strips(photos) if photos else "")


def picture(grade: Grade, truth: Truth, file: Path, score: float, border: str) -> Photo:
    name = file.stem
    square = np.asarray(open_pair(file, truth.folder / "annotations/trimaps" / f"{name}.png", PANEL)[0])
    mask, _ = mask_of(grade.submission, name, truth.trimap(name).shape)
    real, counts = foreground(square[..., 3], border), counted(square[..., 3], border)
    found = (fitted(mask, PANEL, PANEL) & counts) | (real & ~counts)
    label = printable(grade.submission.label)
    return Photo(name, square[..., :3], real, {label: found}, {label: score})
