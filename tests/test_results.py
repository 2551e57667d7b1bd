"""The comparison of recipes: its plan can be run, and its page says what its rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compare
import params
import results_page as results


@pytest.mark.parametrize("group", compare.experiments())
def test_every_run_of_the_plan_has_valid_parameters_and_a_name_of_its_own(group: str) -> None:
    runs = list(compare.runs(group))
    assert len({run.key for run in runs}) == len(runs) > 0
    for run in runs:
        settings = params.check(run.values, group)
        assert settings.seed == run.seed
        assert settings.data.image_size == compare.experiments()[group]["common"]["data"]["image_size"]


@pytest.mark.parametrize("group", ["small", "medium", "large"])
def test_recipes_are_compared_at_the_same_budget(group: str) -> None:
    settings = [params.check(run.values, group) for run in compare.runs(group)]
    assert len({values.network(name).train.epochs for values in settings for name in params.SHAPES}) == 1


def test_the_page_is_made_from_the_rows() -> None:
    assert results.RESULTS.read_text(encoding="utf-8") == results.document()


def test_mean_and_range_over_seeds() -> None:
    rows: list[dict[str, Any]] = [{"dice": "0.8"}, {"dice": "0.9"}, {"dice": ""}]
    assert results.spread(rows, "dice") == "0.850 (0.800 to 0.900)"
    assert results.spread(rows[:1], "dice") == "0.800"
    assert results.spread(rows[2:], "dice") == "-"


def test_what_was_not_run_is_named_once() -> None:
    some = [run for run in compare.runs("small") if run.variant == "oxford"]
    assert results.listed(some[:5]) == (
        "With seed 1 and seed 2: oxford (UNet), oxford (ResNet34-UNet). With seed 1: oxford (Ensemble)"
    )
    assert results.listed([some[0]._replace(fold=2)]) == "With seed 1 of fold 2: oxford (UNet)"


def test_variants_are_compared_where_seed_and_fold_are_the_same() -> None:
    names = ("variant", "fold", "valid_dice")
    found = [dict(zip(names, row, strict=True)) | {"network": "unet", "seed": "1"} for row in (
        ("whole", "0", "0.80"), ("without", "0", "0.78"), ("whole", "1", "0.90"), ("without", "1", "0.87"),
        ("without", "2", "0.10"), ("other", "2", "0.50"),
    )]  # fmt: skip
    assert list(results.differences(found, "whole")) == [["without", "UNet", "2", "-2.5 (-3.0 to -2.0)"]]


def test_a_script_that_fails_ends_the_comparison_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"compare: .*cache-64/log.txt: download: data.source = .*/nowhere"):
        compare.cache(tmp_path, 64, str(tmp_path / "nowhere"))


def test_folds_share_nothing_and_leave_nothing_out(tmp_path: Path) -> None:
    pixels = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, 3)
    np.save(tmp_path / "valid.npy", pixels[:3])
    np.save(tmp_path / "train.npy", pixels[3:])
    held = []
    for fold in range(compare.FOLDS):
        compare.of_fold(tmp_path, tmp_path / str(fold), fold)
        train, valid = (set(np.load(tmp_path / str(fold) / f"{name}.npy")[:, 0, 0, 0]) for name in ("train", "valid"))
        assert not train & valid
        assert len(train | valid) == 23
        held += list(valid)
    assert sorted(held) == list(range(23))
