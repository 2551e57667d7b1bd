"""What submissions are worth: weights of this project, folders of mask PNGs, CSVs of run lengths.

A mask is named as its photograph, with or without `_mask`. It has any size, and the values 0 and 255, 0 and 1, or
those of a trimap. A CSV has the columns image_id and encoded_mask; its runs go down the columns of the photograph at
its own size and count pixels from 1. All are compared with the trimaps of the test photographs, each at its own size. A
mask that is missing or cannot be read counts as an empty one. A submission that cannot be graded does not stop the
others.

--out FOLDER receives grades.csv, grades_photographs.csv and the page grades.html; without it nothing is written. The
exit code is 1 when anything could not be read.
"""

# --help is answered before the slow imports.
# ruff: noqa: E402

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from oxford_pet import BORDERS
from scoring.options import add_border_option, between_0_and_1
from utils import Refusal, described, printable, run


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    add = parser.add_argument
    add("submissions", nargs="+", type=Path, metavar="SUBMISSION", help="a .pth, a folder or a .csv")
    add("--data", type=Path, metavar="FOLDER", help="a dataset in the official layout; default: the cached test split")
    add("--threshold", type=between_0_and_1, metavar="X", help="probability from which a pixel is pet; of weights only")
    add("--out", type=Path, metavar="FOLDER", help="write tables and a page there")
    add_border_option(parser)
    args = parser.parse_args(words)
    args.border = args.border or "pet"
    if len(set(args.submissions)) < len(args.submissions):
        parser.error("a submission is named twice")
    if args.threshold and not any(is_weights(path) for path in args.submissions):
        parser.error("--threshold goes with weights; none of the submissions is a .pth")
    return args


def is_weights(path: Path) -> bool:
    return path.suffix.lower() == ".pth"


if __name__ == "__main__":
    ARGS = arguments()

from commands import grades, grades_page
from commands.submissions import Submission, labels, opened_submission
from shared import device

FEW = 5  # names in a line


def main(args: argparse.Namespace) -> None:
    device.setup(1, portable=True)  # one thread for each photograph; as many photographs at once as there are cores
    refuse_mixing(args.out, [*args.submissions, args.data])
    needs_images = bool(args.out) or any(map(is_weights, args.submissions))
    with grades.opened_truth(args.data, needs_images) as truth:
        submissions, refused = opened(args, truth)
        for line in refused.values():
            print(printable(line), file=sys.stderr)
        if not submissions:
            raise Refusal("none of the submissions can be graded; why is said above")
        ranked = grades.ranked(grades.graded(truth, submissions, args.border))
        where = args.data or "the cached test split"
        lead = f"{len(truth.entries):,} photographs of {where}, each at its own size; {BORDERS[args.border]}"
        print(printable(lead))
        lines = [(grade.submission.label, grades.columns(grade, row)) for grade, row in ranked]
        nothing = dict.fromkeys(lines[0][1], "") | {"kind": "not graded"}
        print(grades.table([*lines, *((label, nothing) for label in refused)]))
        for grade, _ in ranked:
            worst = [f"{truth.entries[row].name} {grade.dice[row]:.4f}" for row in grade.worst()]
            print(printable(f"worst of {grade.submission.label}: {', '.join(worst)}"))
        for grade, _ in ranked:
            for problem in grades_page.problems(grade, truth, FEW):
                print(printable(problem), file=sys.stderr)
        if args.out:
            grades_page.write(args.out, ranked, refused, truth, args.border, lead)
            print(printable(f"written: {args.out / 'grades.html'} and the tables beside it"))
    unreadable = sum(row["unreadable"] for _, row in ranked)
    if refused or unreadable:
        raise Refusal(f"named above: submissions that cannot be graded: {len(refused)}, masks: {unreadable}")


def opened(args: argparse.Namespace, truth: grades.Truth) -> tuple[list[Submission], dict[str, str]]:
    """Those that can be graded, and why the others cannot."""
    found, refused = [], {}
    for path, label in zip(args.submissions, labels(args.submissions), strict=True):
        try:
            found.append(opened_submission(path, label, *truth, args.border, args.threshold))
        except Refusal as reason:
            refused[label] = str(reason)
        except OSError as error:
            refused[label] = f"{path}: cannot be read: {error.strerror}"
    return found, refused


def refuse_mixing(out: Path | None, inputs: Sequence[Path | None]) -> None:
    if out and out.exists() and not out.is_dir():
        raise Refusal(f"{out}: is a file; --out takes a folder")
    if out and os.path.realpath(out) in [os.path.realpath(path) for path in inputs if path]:
        raise Refusal(f"{out}: is graded or compared with; choose another --out, results would mix with it")


if __name__ == "__main__":
    run(lambda: main(ARGS))
