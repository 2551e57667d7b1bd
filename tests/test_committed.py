"""What is committed: a new clone has nothing to do, and a run from nothing gives the same scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from project import ran, scores, shell, tracked

NETWORKS = ("unet", "resnet34_unet")
TOLERANCE = 0.02  # of a test Dice between two machines; the README says so too

pytestmark = pytest.mark.pipeline


def test_a_new_clone_has_nothing_to_do_and_shows_its_scores(tmp_path: Path) -> None:
    folder = tracked(tmp_path / "clone")
    assert ran(shell(folder, "dvc", "repro", "--allow-missing", "--dry")) == []
    shown = json.loads(shell(folder, "dvc", "metrics", "show", "--json"))
    assert shown[""]["data"]["metrics/test.json"]["data"]["unet"]["dice"] > 0.9


def test_the_committed_results_are_what_a_run_from_nothing_gives(tmp_path: Path) -> None:
    """Another machine may differ in the last bits, and training makes more of that: hence a tolerance for the Dice."""
    folder = tracked(tmp_path / "clone")
    committed = scores(folder)
    assert len(ran(shell(folder, "dvc", "repro"))) == 6
    fresh = scores(folder)
    assert fresh.keys() == committed.keys()
    for name, row in committed.items():
        assert fresh[name]["dice"] == pytest.approx(row["dice"], abs=TOLERANCE), name
    assert min(fresh[name]["dice"] for name in NETWORKS) >= 0.9
    assert max(fresh[name]["dice"] for name in ("all_foreground", "mean_mask")) < 0.65
    assert ran(shell(folder, "dvc", "repro")) == []
