"""The documents say what the project does: their links lead somewhere, and their figures are the committed ones."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import params
import recipe
import results_page
import summary
from params import whole
from utils import Refusal

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "README.zh-TW.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "published/README.md",
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
drawing = SimpleNamespace(**runpy.run_path(str(ROOT / "docs/stages.py")))
GROUPS = {"64": "small", "128": "medium"}
HELP_AT_ONCE = [
    file
    for folder in ("demo", "src")
    for file in sorted((ROOT / folder).glob("*.py"))
    if "# --help is answered before the slow imports." in file.read_text(encoding="utf-8")
]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Of every heading, as GitHub makes them: `## The real dataset` has `the-real-dataset`."""
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    assert len(text(README).splitlines()) < 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(text(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_the_code_exists(page: Path) -> None:
    for path in re.findall(r"`((?:src|tests|benchmarks|docs|recipes)/[\w./-]*)`", text(page)):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_the_drawing_shows_the_stages_of_dvc_yaml() -> None:
    assert text(drawing.DRAWING) == drawing.document()


def test_the_drawing_has_every_output_once_and_all_its_readers() -> None:
    stages = yaml.safe_load(text(ROOT / "dvc.yaml"))["stages"]
    found = drawing.passed(stages)
    paths = [path for files in found for path in files.paths]
    assert sorted(paths) == sorted(path for stage in stages.values() for path in drawing.outputs(stage))
    readers = {path: files.readers for files in found for path in files.paths}
    assert readers["dataset/oxford-iiit-pet"] == ("preprocess", "evaluate")  # evaluate reads a folder in it
    assert readers["saved_models/unet.pth"] == ("evaluate",)
    assert readers["plots/report.html"] == ()


def test_the_readme_shows_what_make_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    summary.main()
    assert capsys.readouterr().out in text(README)


def test_the_readme_compares_a_change_with_the_committed_scores() -> None:
    scores = json.loads(text(ROOT / "metrics/test.json"))
    before = re.findall(r"(\w+)\.dice +(0\.\d+) +0\.\d+ +0\.\d+$", text(README), re.M)
    assert {name: float(dice) for name, dice in before} == {
        name: scores[name]["dice"] for name in ("unet", "resnet34_unet", "ensemble")
    }


def test_the_readme_counts_the_outputs_that_verify_compares() -> None:
    lock = yaml.safe_load(text(ROOT / "dvc.lock"))
    outputs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    assert f"all {len(outputs)} outputs are the same to the byte" in text(README)


def test_the_stages_named_in_the_readme_stand_in_dvc_yaml() -> None:
    named = re.findall(r"^(?:Stage|Running stage) '(\w+)'", text(README), re.M)
    assert named == [name for name in yaml.safe_load(text(ROOT / "dvc.yaml"))["stages"] if name in named] != []


def test_the_table_of_choices_agrees_with_the_measured_rows() -> None:
    """Points and range of each row, from results.csv."""
    before = "oxford, AdamW, decay 0.01, average of weights"
    names = {
        ("Muon, decay 0.1", "ResNet34-UNet"): "oxford",
        ("decay 1, no average of weights", "UNet"): "oxford",
        ("decay 1", "ResNet34-UNet"): "oxford, AdamW, decay 1, average of weights",
        ("decay 1, no average of weights", "ResNet34-UNet"): "oxford, AdamW, decay 1",
    }
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text(ROOT / "docs/report.md").splitlines()]
    start = lines.index(["choice", "network", "px", "pairs", "points", "range"])
    rows = lines[start + 2 : lines.index([], start)]
    over_seeds = rows.index(["*test Dice, over seeds*", *[""] * 5])
    measured = {group: results_page.of_group(group) for group in ("search", "widths", *GROUPS.values())}
    for place, (choice, network, size, pairs, points, span) in enumerate(rows):
        if choice.startswith("*"):
            continue
        if place > over_seeds:
            group, reference, variant, score = GROUPS[size], before, names[choice, network], "test_dice"
        else:
            group = "widths" if network == "UNet" else "search"
            reference, score = ("width 16" if network == "UNet" else "batch 8"), "valid_dice"
            variant = choice if choice.startswith("batch") else f"{reference}, {choice}"
        of_group = [row for row in measured[group] if row[score]]
        found = {(row[0], row[1]): row[2:] for row in results_page.differences(of_group, reference, score)}
        assert found[variant, network] == [pairs, f"{points} ({span})" if span else points]


@pytest.mark.parametrize("page", [README, ROOT / "docs/experiments.md"], ids=lambda page: page.name)
def test_every_value_of_a_shown_experiment_is_allowed(page: Path) -> None:
    blocks = re.findall(r"^```\n(.*?)^```", text(page), re.S | re.M)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines() if " src/recipe.py " in line]
    assert commands
    for _, _, name, *words in commands:
        laid = params.overlaid(params.read(ROOT / "params.yaml"), params.read(ROOT / f"recipes/{name}.yaml")["params"])
        sweep = [word.split("=") for word in words if "=" in word]
        for chosen in itertools.product(*(values.split(",") for _, values in sweep)):
            values = laid
            for (key, _), value in zip(sweep, chosen, strict=True):
                values = params.overlaid(values, recipe.nested(key, yaml.safe_load(value)))
            whole.check(values, " ".join(words))


def test_the_refusals_in_the_readme_are_real() -> None:
    values = params.read(ROOT / "params.yaml")
    train = {("epoch" if key == "epochs" else key): value for key, value in values["train"].items()}
    for wrong, shown in (
        (values | {"train": train}, "train.epochs is missing (and 1 more)"),
        (
            params.overlaid(values, {"train": {"optimizer": "lion"}}),
            "train.optimizer = 'lion': should be 'adam', 'adamw', ",
        ),
    ):
        assert shown in text(README)
        with pytest.raises(Refusal, match=re.escape(shown)):
            whole.check(wrong, "params.yaml")


@pytest.mark.parametrize(
    ("line", "group", "variant"),
    [
        ("| `oxford`,", "full-256", "oxford"),
        ("| `rotate-bce-dice`, the best", "full-256", "rotate-bce-dice"),
        ("| `laptop` |", "laptop", "laptop"),
        ("| `laptop`, twice as wide", "laptop", "laptop, twice as wide"),
    ],
)
def test_the_scores_in_the_readme_are_those_of_the_results(line: str, group: str, variant: str) -> None:
    shown = next(row for row in text(README).splitlines() if row.startswith(line)).split("|")[2:5]
    found = {
        network: results_page.mean(rows, "test_dice_native")
        for name, network, rows in results_page.together(results_page.of_group(group))
        if name == variant
    }
    networks = ("unet", "resnet34_unet", "ensemble")
    assert [cell.strip() for cell in shown] == [f"{found[name]:.3f}" if name in found else "" for name in networks]


def test_the_glossary_gives_each_word_one_sentence() -> None:
    glossary = text(ROOT / "docs/glossary.md")
    entries = re.findall(r"^## (.+)\n\n((?:.+\n)+)", glossary, re.M)
    assert len(entries) == glossary.count("\n## ") >= 12
    for word, sentence in entries:
        assert len(re.findall(r"[.?!](?=\s|$)", sentence)) == 1, word


def test_no_page_says_a_thing_twice() -> None:
    """No two paragraphs or items of the pages written by hand are the same."""
    made = {"architectures.md", "reliability.md", "results.md"}
    pieces = [
        " ".join(piece.split())
        for page in PAGES
        if page.name not in made
        for piece in re.split(r"\n\s*\n|^- ", re.sub(r"^```.*?^```", "", text(page), flags=re.S | re.M), flags=re.M)
    ]
    longer = sorted(piece for piece in pieces if len(piece) > 60)
    assert [one for one, other in itertools.pairwise(longer) if one == other] == []


@pytest.mark.slow
@pytest.mark.parametrize("script", HELP_AT_ONCE, ids=lambda script: script.name)
def test_help_does_not_wait_for_the_slow_imports(script: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "usage: " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "utils" in imported
    assert imported.isdisjoint({"torch", "dvc", "pandas", "matplotlib"})
