"""What `make` says last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands.lock import hash_of
from results import make_results
from scripts import script


def test_each_network_has_its_own_dice_and_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_results(tmp_path)
    lines = script("summary").out.splitlines()
    scores = {row["method"]: row for row in json.loads(Path("metrics/test.json").read_text())["scores"]}
    for line, name in zip(lines, ("unet", "resnet34_unet", "ensemble"), strict=False):
        dice, low, high = (f"{scores[name][key]:.4f}" for key in ("dice", "dice_low", "dice_high"))
        assert len({dice, low, high}) == 3
        assert line.split() == [name, "test", "Dice", dice, "(95%", "interval", low, "to", f"{high})"]
    assert f"test Dice {scores['all_foreground']['dice']:.4f}  (everything called pet)" in lines[3]
    assert lines[4] == "In all scores the border counts as pet."


def test_scores_of_before_a_training_are_said_to_be_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_results(tmp_path)
    said = "A network was trained after these scores were made: run `dvc repro`"
    Path("saved_models").mkdir()
    Path("saved_models/unet.pth").write_bytes(b"first")
    assert said not in script("summary").out, "without dvc.lock nothing is known"
    scored = {"path": "saved_models/unet.pth", "md5": hash_of(tmp_path, "saved_models/unet.pth")}
    Path("dvc.lock").write_text(json.dumps({"stages": {"evaluate": {"deps": [scored]}}}))
    assert said not in script("summary").out
    Path("elsewhere").write_bytes(b"first")
    Path("saved_models/unet.pth").unlink()
    Path("saved_models/unet.pth").symlink_to(tmp_path / "elsewhere")
    assert said not in script("summary").out, "as DVC links files of its cache"
    Path("elsewhere").write_bytes(b"second")
    assert said in script("summary").out.splitlines()
