"""What `make` says last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
