"""`make bench`: what is fast, as ratios of two things measured in turn on this machine.

Prints a table; its rows replace those of the same lines in benchmarks/results.csv and in docs/performance.md, which
says what each line is.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import table
from utils import run, write_csv

LINES = (
    "input",
    "preprocess",
    "training",
    "reach",
    "step",
    "muon",
    "tiny",
    "augment",
    "inference",
    "single",
    "onnx",
    "grade",
    "pipeline",
    "portable",
    "memory",
    "scaling",
    "growth",
    "gpu",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", metavar="LINE", help=f"of {', '.join(LINES)}; default: all")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="an unpacked dataset; default: one is drawn")
    args = parser.parse_args()
    if unknown := set(args.lines) - set(LINES):
        parser.error(f"no line {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    return args


if __name__ == "__main__":
    ARGS = arguments()  # before the slow imports below

from measure import Row, Skip
from place import Place


def main(chosen: list[str], data: Path | None) -> None:
    measured: list[table.Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), data)
        for line in chosen or LINES:
            print(f"{line} ...", file=sys.stderr, flush=True)
            rows = [{name: str(cell) for name, cell in row._asdict().items()} for row in measurable(line, place)]
            measured += rows
            keep(rows)
    print(table.plain(measured))


def measurable(line: str, place: Place) -> Iterator[Row]:
    try:
        yield from importlib.import_module(f"bench_{line}").rows(place)
    except Skip as reason:
        print(f"{line}: left out: {reason}", flush=True)


def keep(rows: Sequence[table.Row]) -> None:
    lines = {row["line"] for row in rows}
    kept = [row for row in table.rows() if row["line"] not in lines]
    write_csv(table.RESULTS, sorted([*kept, *rows], key=lambda row: LINES.index(row["line"])))
    table.main()


if __name__ == "__main__":
    run(lambda: main(ARGS.lines, ARGS.data))
