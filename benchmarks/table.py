"""The table of `make bench`: benchmarks/results.csv as text, and in docs/performance.md.

python benchmarks/table.py     writes the table in the docs again
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from utils import Refusal, run, write_bytes

RESULTS, PAGE = ROOT / "benchmarks/results.csv", ROOT / "docs/performance.md"
BEGIN, END = "<!-- made from benchmarks/results.csv -->\n", "<!-- end of what is made -->\n"
HEADING = ("line", "measured", "against", "ratio", "figures", "work")

Row = Mapping[str, str]


def main() -> None:
    page = documented(PAGE.read_text(encoding="utf-8"), rows())
    write_bytes(PAGE, page.encode())


def rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def documented(page: str, rows: Sequence[Row]) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise Refusal(f"{PAGE}: the two comments that the table stands between are missing; put them back")
    return f"{before}{begin}{markdown(rows)}\n{end}{after}"


def markdown(rows: Sequence[Row]) -> str:
    parts = []
    for machine, group in by_machine(rows):
        lines = [piped(HEADING), "|---|---|---|---:|---|---|", *(piped(cells(row)) for row in group)]
        parts.append(f"\n{machine}:\n\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(rows: Sequence[Row]) -> str:
    parts = []
    for machine, group in by_machine(rows):
        lines = [HEADING, *map(cells, group)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        parts.append(machine)
        parts += ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(parts)


def by_machine(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    ordered = sorted(rows, key=machine)  # stable: the lines stay in their order
    return [(name, list(group)) for name, group in groupby(ordered, machine)]


def machine(row: Row) -> str:
    return "{device}, {cpu}, cores: {cores}, threads: {threads}, torch {torch}".format(**row)


def cells(row: Row) -> tuple[str, ...]:
    ratio, least, most = (short(float(row[name])) for name in ("ratio", "least", "most"))
    spread = f"{ratio} ({least} to {most}, {row['repetitions']} times)"
    return row["line"], row["what"], row["against"], spread, row["figures"], row["work"]


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


if __name__ == "__main__":
    run(main)
