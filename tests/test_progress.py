"""How far a long job is: each state once and on standard error alone, as a line of a log or redrawn on a terminal."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from progress import progress


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the bar sees; they stand still unless a test says so."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each state, however soon it follows."""
    monkeypatch.setattr("progress.EVERY", 0)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was said on standard error; on standard output there is nothing."""
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_long_job_says_a_line_every_five_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("dataset", 12, "files") as bar:
        for _ in range(12):
            clock[0] += 1
            bar.update()
    assert lines(capsys) == [
        "dataset:  42%|####1     | 5/12 [00:05<00:07,  1.00 files/s]",
        "dataset:  83%|########3 | 10/12 [00:10<00:02,  1.00 files/s]",
        "dataset: 100%|##########| 12/12 [00:12<00:00,  1.00 files/s]",
    ]


def test_a_short_job_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("dataset", 4, "files") as bar:
        for _ in range(4):
            clock[0] += 1
            bar.update()
    assert lines(capsys) == []


@pytest.mark.usefixtures("at_once")
def test_each_state_is_said_once(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Though the time beside it goes on."""
    with progress("validation", 2, "photographs") as bar:
        bar.update()
        for _ in range(3):
            clock[0] += 7
            bar.refresh()
        bar.update()
    assert lines(capsys) == [
        "validation:   0%|          | 0/2 [00:00<?, ? photographs/s]",
        "validation:  50%|#####     | 1/2 [00:00<?, ? photographs/s]",
        "validation: 100%|##########| 2/2 [00:21<00:00, 21.00s/ photographs]",
    ]


@pytest.mark.usefixtures("at_once")
def test_a_download_that_goes_on_counts_what_is_there_in_readable_units(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("images.tar.gz", 2_000_000, "B", 500_000) as bar:
        bar.update(1_000_000)
    assert lines(capsys) == [
        "images.tar.gz:  25%|##5       | 500k/2.00M [00:00<?, ?B/s]",
        "images.tar.gz:  75%|#######5  | 1.50M/2.00M [00:00<?, ?B/s]",
    ]


@pytest.mark.usefixtures("at_once")
def test_of_an_unknown_size_only_what_is_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("images.tar.gz", None, "B") as bar:
        bar.update(25_000_000)
    assert lines(capsys) == ["images.tar.gz: 0.00B [00:00, ?B/s]", "images.tar.gz: 25.0MB [00:00, ?B/s]"]


def test_a_terminal_has_one_line_that_is_redrawn(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with redirect_stderr(Terminal()) as terminal, progress("dataset", 2, "files") as bar:
        for _ in range(2):
            clock[0] += 1
            bar.update()
    drawn = terminal.getvalue()
    assert drawn.endswith("\n")
    assert list(dict.fromkeys(drawn.strip().split("\r"))) == [
        "dataset:   0%|          | 0/2 [00:00<?, ? files/s]",
        "dataset:  50%|█████     | 1/2 [00:01<00:01,  1.00 files/s]",
        "dataset: 100%|██████████| 2/2 [00:02<00:00,  1.00 files/s]",
    ]
    assert lines(capsys) == []
