"""The table of faults: the committed one has the rows of the marked tests, and what is written says what happened."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from reliability import rows, rows_in

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
TESTS = """
    import pytest
    from reliability import fault

    @fault("Disk", "full", "one line")
    @pytest.mark.parametrize("free", [0, 1])
    def test_full(free):
        pass

    @fault("Disk", "slow", "patience")
    def test_slow():
        assert False

    @fault("Killed", "at night", "at dawn")
    def test_killed():
        pytest.skip("no night here")

    def test_of_no_fault():
        pass
"""
TABLE = """
## Stopped at a bad moment

| what happens | how it ends | tests passed |
|---|---|---|
| at night | at dawn | 0 of 1 |

## Disks and paths

| what happens | how it ends | tests passed |
|---|---|---|
| full | one line | 2 of 2 |
| slow | patience | 0 of 1 |

## Skipped on this machine

- at night: no night here
"""


class Collected:
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.rows = {str(row) for row in rows(session.items)}


def test_the_committed_table_has_the_rows_of_the_marked_tests() -> None:
    collected = Collected()
    with contextlib.redirect_stdout(io.StringIO()):
        assert pytest.main(["--collect-only", "-m", "fault", str(ROOT / "tests")], [collected]) == 0
    assert rows_in((ROOT / "docs/reliability.md").read_text(encoding="utf-8")) == collected.rows


def test_the_table_says_what_passed_and_what_did_not(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nmarkers = fault")
    pytester.runpytest_inprocess("--reliability", "table.md").assert_outcomes(passed=3, failed=1, skipped=1)
    written = Path("table.md").read_text(encoding="utf-8")
    assert written.endswith(TABLE)
    assert rows_in(written) == {"| at night | at dawn |", "| full | one line |", "| slow | patience |"}
