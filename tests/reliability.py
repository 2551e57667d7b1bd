"""What may go wrong and how it ends, as a table: every test marked `fault` is a part of one of its rows.

    @fault("Disk", "full while weights are written", "one line that names the file; the old weights stay")

`make torture` runs them all, long ones too, and writes the table from the outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

KINDS = {
    "Killed": "Stopped at a bad moment",
    "Disk": "Disks and paths",
    "Corruption": "Files damaged after they were written",
    "Concurrency": "Several at once",
    "Input": "Bad input",
    "Hostile": "Hostile input",
    "Numbers": "Numbers at their edges",
    "Machine": "Another machine",
}
HEAD = """# Reliability

What may go wrong, and how it ends. Each line is checked by as many tests as stand beside it; `make torture` runs all of
them, writes this table from their outcome and fails where one fails. Most of them are part of `make test` too.
"""


class Row(NamedTuple):
    kind: str
    what: str
    ends: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.ends} |"


def fault(kind: str, what: str, ends: str) -> pytest.MarkDecorator:
    assert kind in KINDS
    assert "|" not in what + ends
    return pytest.mark.fault(Row(kind, what, ends))


def row_of(item: pytest.Item) -> Row | None:
    mark = item.get_closest_marker("fault")
    return mark.args[0] if mark else None


def table(passed: Counter[Row], others: Counter[Row], skipped: dict[Row, str]) -> str:
    """The whole document; a row is there once, with the number of tests behind it. Reasons for skipping stand last."""
    text = HEAD
    for kind, heading in KINDS.items():
        rows = sorted(row for row in passed | others if row.kind == kind)
        if rows:
            text += f"\n## {heading}\n\n| what happens | how it ends | tests passed |\n|---|---|---|\n"
            text += "".join(f"{row} {passed[row]} of {passed[row] + others[row]} |\n" for row in rows)
    if skipped:
        text += "\n## Skipped on this machine\n\n"
        text += "".join(f"- {row.what}: {reason}\n" for row, reason in sorted(skipped.items()))
    return text


def rows_in(document: str) -> set[str]:
    """The rows of a written table, as `str(Row)` gives them."""
    lines = (line for line in document.splitlines() if line.startswith("| ") and " of " in line.rsplit("|", 2)[1])
    return {line.rsplit("|", 2)[0].rstrip() + " |" for line in lines}


class Recorder:
    """Counts the outcome of every marked test and writes the table at the end."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: dict[str, Row] = {}
        self.passed: Counter[Row] = Counter()
        self.others: Counter[Row] = Counter()
        self.skipped: dict[Row, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.rows = {item.nodeid: row for item in session.items if (row := row_of(item))}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.rows.get(report.nodeid)
        if row and (report.when == "call" or report.outcome != "passed"):
            (self.passed if report.outcome == "passed" else self.others)[row] += 1
        if row and report.skipped and isinstance(report.longrepr, tuple):
            self.skipped[row] = " ".join(report.longrepr[2].removeprefix("Skipped: ").split())

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(table(self.passed, self.others, self.skipped), encoding="utf-8")


def rows(items: Iterable[pytest.Item]) -> set[Row]:
    return {row for item in items if (row := row_of(item))}
