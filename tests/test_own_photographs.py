"""A user's own photographs and masks, from `dvc repro` to the report page."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import own
from project import clone, commit, ran, scores, shell
from reliability import fault

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline over images/ and masks/."""
    folder = clone(tmp_path_factory.mktemp("own") / "project", data={"source": "own"})
    own.make_source(folder / "own", 24)
    (folder / ".git/info/exclude").write_text("own/\nlists/\n")
    assert len(ran(shell(folder, "dvc", "repro"))) == 6
    commit(folder)
    return folder


def test_they_are_trained_on_scored_and_drawn_without_breeds(project: Path) -> None:
    with (project / "plots/test_images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["IMG-000", "IMG-010", "IMG-020"]
    assert {(row["breed"], row["species"]) for row in rows} == {("", "")}
    with (project / "plots/test_breeds.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["group"], row["images"]) for row in csv.DictReader(file)] == [("all", "3")]
    assert all(0 <= row["dice"] <= 1 and "dice_cats" not in row for row in scores(project).values())
    html = (project / "plots/report.html").read_text(encoding="utf-8")
    assert "IMG-010" in html and "this dataset names no breeds" in html and "Dice, cats" not in html
    assert (project / "plots/images/dice_by_breed.png").stat().st_size > 5000
    counts = json.loads((project / "metrics/data.json").read_text(encoding="utf-8"))
    assert (counts["bad"], counts["leaks"][0]["pairs"]) == (0, 0)


def test_summary_shows_the_scores(project: Path) -> None:
    said = shell(project, "python", "src/summary.py")
    assert said.count("test Dice") == 4 and "changed since" not in said


@fault(
    "Input",
    "a source folder that changed since the download",
    "one line of preprocess and of summary.py, with the command that takes it up",
)
def test_a_photograph_added_later_is_said_and_taken_up_by_the_command_that_is_named(
    project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(project, folder)
    shutil.copyfile(folder / "own/images/IMG-000.JPG", folder / "own/images/IMG-100.JPG")
    shutil.copyfile(folder / "own/masks/IMG-000.png", folder / "own/masks/IMG-100.png")
    assert ran(shell(folder, "dvc", "repro")) == [], "DVC does not see it"
    said = shell(folder, "python", "src/summary.py")
    assert "own: changed since the download: 3, such as annotations/trainval.txt; `dvc repro --force download`" in said
    assert ran(shell(folder, "dvc", "repro", "--force", "download")) == ["download"]
    assert "changed since" not in shell(folder, "python", "src/summary.py")
    said = shell(folder, "dvc", "repro", "preprocess")
    assert ran(said) == ["preprocess"] and "IMG-100 in train and IMG-000 in test" in said, "a copy, so a leak"


def test_other_lists_bring_other_splits_and_nothing_is_downloaded_twice(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(project, folder)
    names = own.names()
    own.write_lists(folder / "lists", train=names[8:], val=names[4:8], test=names[:4])
    params = folder / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("lists: ''", "lists: lists"), encoding="utf-8")
    assert ran(shell(folder, "dvc", "repro", "preprocess")) == ["download", "preprocess"]
    counts = json.loads((folder / "metrics/data.json").read_text(encoding="utf-8"))
    assert [row["images"] for row in counts["splits"]] == [16, 4, 4, 24]
    assert ran(shell(folder, "dvc", "repro", "preprocess")) == []
