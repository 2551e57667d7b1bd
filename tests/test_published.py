"""The weights that come with the project: that the card is theirs, and the ways to them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

import publish
from commands.published import published
from compare import rows
from project import shell
from scripts import succeeded
from shared import checkpoint
from source import sample

ROOT = Path(__file__).parents[1]
ARTIFACTS = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["artifacts"]


def test_they_are_small() -> None:
    assert sum(file.stat().st_size for file in published()) < 30e6


def test_the_card_is_that_of_these_weights_and_scores() -> None:
    text = publish.CARD.read_text("utf-8")
    recipe = re.search(r"from the recipe `(\w+)`", text)
    assert recipe
    assert publish.card(published(), recipe[1]) == text


def test_the_scores_are_those_of_every_species_and_breed() -> None:
    found = rows(publish.SCORES)
    counts = {kind: [int(row["photographs"]) for row in found if row["kind"] == kind] for kind in ("species", "breed")}
    assert len(counts["breed"]) == 37
    assert [sum(numbers) for numbers in counts.values()] == [int(found[0]["photographs"])] * 2


@pytest.mark.slow
def test_they_find_drawn_animals_and_their_scores_are_those_of_evaluate(tmp_path: Path) -> None:
    """They learnt from photographs alone. With everything called pet, the drawings have a Dice of 0.5."""
    sample.draw(tmp_path, trainval=16, test=8)
    trained = [checkpoint.load(file) for file in published()]
    (whole, *_), worst = publish.scored(trained, tmp_path)
    words = ["--weights", *map(str, published()), "--data", str(tmp_path), "--tta", publish.TTA]
    assert whole["unet"] > 0.7 and whole["resnet34_unet"] > 0.85
    said = succeeded("evaluate", *words).out
    line = next(line for line in said.splitlines() if line.startswith("dice_native"))
    assert line.split()[1:4] == [f"{whole[name]:.4f}" for name in ("unet", "resnet34_unet", "ensemble")]
    assert len(worst) == 8
    assert sum(row["dice"] for row in worst) / 8 == pytest.approx(whole["ensemble"])
    assert [row["dice"] for row in worst] == sorted(row["dice"] for row in worst)


@pytest.mark.slow
def test_a_photograph_needs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 60), "white").save("a.png")
    succeeded("inference", "a.png", "--out", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a_compare.png", "a_mask.png", "a_overlay.png"]


def test_dvc_knows_them() -> None:
    assert {name: ROOT / entry["path"] for name, entry in ARTIFACTS.items()} == {
        file.stem: file for file in published()
    }
    assert all(entry["type"] == "model" and entry["desc"] and entry["labels"] for entry in ARTIFACTS.values())


@pytest.mark.pipeline
def test_dvc_gets_them_from_a_tagged_clone(tmp_path: Path) -> None:
    """As docs/sharing.md says it; DVC takes the newest version of which git has a tag."""
    hub = tmp_path / "hub"
    shell(tmp_path, "git", "clone", "-q", str(ROOT), str(hub))
    for name, entry in ARTIFACTS.items():
        shell(hub, "git", "tag", "-a", f"{name}@v1.0.0", "-m", "first")
        shell(tmp_path, "dvc", "artifacts", "get", str(hub), name, "-o", f"{name}.pth")
        assert (tmp_path / f"{name}.pth").read_bytes() == (ROOT / entry["path"]).read_bytes()
