"""The table of `make bench`: how its ratios come about, and that the docs show what was measured. No time is held."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pets
from commands import published
from handmade import bright, untrained
from shared import checkpoint
from utils import Refusal

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def a_row(line: str, what: str = "ours") -> dict[str, str]:
    import measure

    row = measure.Row(line, what, "theirs", 2, 1.5, 2.5, "2 against 1 s", "a test", 3, "CPU", "AVX2", 2, 2, "2")
    return {name: str(cell) for name, cell in row._asdict().items()}


def test_the_table_in_the_docs_is_that_of_the_results() -> None:
    import table

    page = table.PAGE.read_text(encoding="utf-8")
    assert table.rows()
    assert table.documented(page, table.rows()) == page


def test_a_line_that_is_measured_again_replaces_its_rows_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import run
    import table

    monkeypatch.setattr(table, "RESULTS", tmp_path / "results.csv")
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    table.PAGE.write_text(f"before\n{table.BEGIN}{table.END}after\n", encoding="utf-8")
    run.keep([a_row("step", "old"), a_row("growth")])
    run.keep([a_row("input"), a_row("input", "more")])
    run.keep([a_row("step", "new")])
    expected = [("input", "ours"), ("input", "more"), ("step", "new"), ("growth", "ours")]
    assert [(row["line"], row["what"]) for row in table.rows()] == expected
    before, *lines, after = table.PAGE.read_text(encoding="utf-8").splitlines()
    assert (before, after) == ("before", "after")
    assert "| step | new | theirs | 2.00 (1.50 to 2.50, 3 times) | 2 against 1 s | a test |" in lines
    assert lines.count("CPU, AVX2, cores: 2, threads: 2, torch 2:") == 1


def test_a_page_without_the_place_for_the_table_is_refused() -> None:
    import table

    with pytest.raises(Refusal, match="comments"):
        table.documented("no place", [])


def test_a_ratio_is_of_rates_of_the_same_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    import measure

    clock = iter([9, 9, 1, 8, 2, 4, 4, 2])  # ours, theirs, ours, theirs ...; the first round warms up

    def seconds(work: measure.Work) -> float:
        work()
        return next(clock)

    monkeypatch.setattr(measure, "seconds", seconds)
    (row,) = measure.races("input", {"ours": lambda: 10, "theirs": lambda: 40}, 3, "a test")
    assert (row.ratio, row.least, row.most) == (0.5, 0.125, 2)
    assert row.figures == "5.00 against 10.0 photographs/s"


@pytest.mark.parametrize(
    ("seconds", "ratio"), [([1, 2, 4, 8], 1), ([2.5, 3.5, 5.5, 9.5], 1), ([1, 2, 4, 16], 2)], ids=str
)
def test_growth_is_measured_against_a_straight_line(seconds: list[float], ratio: float) -> None:
    import bench_growth

    assert bench_growth.straight(seconds) == pytest.approx(ratio)


def test_what_cannot_be_measured_is_left_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import measure
    import run

    row = measure.row("input", "ours", "theirs", [1.0], "", "a test")

    def rows(_: object) -> Iterator[measure.Row]:
        yield row
        measure.optional("no_such_rival")

    line: Any = ModuleType("bench_input")
    line.rows = rows
    monkeypatch.setitem(sys.modules, "bench_input", line)
    assert list(run.measurable("input", None)) == [row]  # type: ignore[arg-type]
    assert "input: left out: no_such_rival is not installed; pip install" in capsys.readouterr().out


def test_a_line_that_is_not_there_is_refused() -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no line nonsense; there are input, " in done.stderr.splitlines()[-1]


def test_a_folder_that_is_no_dataset_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    import place

    with pytest.raises(Refusal, match=r"trainval\.txt: not found; --data takes") as refusal:
        place.Place(tmp_path, tmp_path / "none")
    assert refusal.value.code == 2


@pytest.fixture
def small_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dataset and published networks that take no time, measured a few times."""
    import bench_onnx
    import bench_single
    import place

    pets.make_dataset(tmp_path / "data", trainval=6, test=4)
    for name in place.NETWORKS:
        checkpoint.save(tmp_path / f"published/{name}.pth", untrained(name) if name != "unet" else bright())
    monkeypatch.setattr(published, "FOLDER", tmp_path / "published")
    for module in (bench_onnx, bench_single):
        monkeypatch.setattr(module, "TIMES", 2)
    (tmp_path / "work").mkdir()
    return place.Place(tmp_path / "work", tmp_path / "data")


@pytest.mark.slow
def test_the_line_of_onnx_measures_each_published_network(small_place: Any) -> None:
    import bench_onnx

    rows = list(bench_onnx.rows(small_place))
    names = ("unet", "resnet34_unet")
    kinds = [("ONNX", "PyTorch"), ("ONNX in int8", "ONNX"), ("Dice in int8", "Dice")]
    assert [(row.what, row.against) for row in rows] == [(f"{what}, {name}", b) for name in names for what, b in kinds]
    assert all(re.fullmatch(r"[\d.,]+ against [\d.,]+ ms", row.figures) for row in rows if row.against != "Dice")
    small, full = map(float, rows[2].figures.split(" against "))
    assert full > 0.9  # `bright` finds the pretend pets
    assert rows[2].ratio == pytest.approx(small / full, abs=1e-3)
    assert rows[2].work.startswith("4 real photographs")


@pytest.mark.slow
def test_the_line_of_a_single_photograph_makes_the_same_mask_in_each_way(small_place: Any) -> None:
    import bench_single

    rows = list(bench_single.rows(small_place))
    assert [(row.what, row.against) for row in rows[:2]] == [
        ("inference.py, unet", "plain loop"),
        ("inference.py, unet", "ONNX, the example of docs/export.md"),
    ]
    assert len(rows) == 4

    file = small_place.dataset / "images" / f"{small_place.test[0]}.jpg"
    list(bench_single.of_network(small_place, file, small_place.folder.parent / "published/unet.pth"))
    masks = [np.asarray(Image.open(small_place.folder / f"{name}.png")) > 0 for name in ("one_mask", "mask")]
    assert masks[0].any() and not masks[0].all()
    assert np.array_equal(masks[0], masks[1])


def test_published_weights_that_are_missing_leave_the_line_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import place
    import run

    monkeypatch.setattr(published, "FOLDER", tmp_path)
    pets.make_dataset(tmp_path / "data", trainval=2, test=1)
    for line in ("onnx", "single"):
        assert list(run.measurable(line, place.Place(tmp_path, tmp_path / "data"))) == []
        assert re.match(rf"{line}: left out: published/ holds no weights", capsys.readouterr().out)


def test_milliseconds_are_of_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import measure

    clock = iter([9, 9, 0.001, 0.004, 0.002, 0.004, 0.004, 0.002])  # ours, theirs, ours ...; the first round warms up
    monkeypatch.setattr(measure, "seconds", lambda _: next(clock))
    (row,) = measure.milliseconds("single", {"ours": lambda: None, "theirs": lambda: None}, 3, "a test")
    assert (row.ratio, row.least, row.most) == (2, 0.5, 4)
    assert row.figures == "2.00 against 4.00 ms"
