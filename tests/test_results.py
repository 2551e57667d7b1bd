"""The comparison of recipes: its plan can be run, and its page says what its rows say."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import compare
import results_page as results
import training
import utils
from handmade import bright
from oxford_pet import SimpleOxfordPetDataset
from params import whole
from scoring.predict import Predictor
from shared import checkpoint


@pytest.mark.parametrize("group", compare.experiments())
def test_every_run_of_the_plan_has_valid_parameters_and_a_name_of_its_own(group: str) -> None:
    runs = list(compare.runs(group))
    assert len({run.key for run in runs}) == len(runs) > 0
    for run in runs:
        settings = whole.check(run.values, group)
        assert settings.seed == run.seed
        side = settings.data.image_size
        same = side == compare.experiments()[group]["common"]["data"]["image_size"]
        assert same or f"{side} px" in run.variant, "another size than the others must stand in the name"


@pytest.mark.parametrize("group", ["full-256", "full", "small", "medium", "large"])
def test_recipes_are_compared_at_the_same_budget(group: str) -> None:
    settings = [whole.check(run.values, group) for run in compare.runs(group)]
    assert len({values.networks[name].train.epochs for values in settings for name in compare.NETWORKS}) == 1


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


def test_the_chart_of_photographs_has_the_reference_and_its_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {"against": "whole", "variants": {"whole": {}, "AdamW": {}, "a quarter": {"share": 4}, "half": {"share": 2}}}
    counts = {"whole": "400", "AdamW": "400", "a quarter": "100", "half": "200"}
    rows = [{"variant": name, "photographs": count, "test_dice": "0.9"} for name, count in counts.items()]
    monkeypatch.setattr(results, "experiments", lambda: {"group": plan})
    monkeypatch.setattr(results, "of_group", lambda _: rows)
    assert [row["variant"] for row in results.of_shares("group")] == ["a quarter", "half", "whole"]
    plan["variants"] = {"whole": {}, "AdamW": {}}
    assert results.of_shares("group") == []


def test_a_script_that_fails_ends_the_comparison_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"compare: .*cache-64/log.txt: download: data.source = .*/nowhere"):
        compare.cache(tmp_path, 64, str(tmp_path / "nowhere"))


@pytest.fixture
def finished(tmp_path: Path) -> compare.Run:
    """A run whose network is trained and finds bright things, with what its row is made from."""
    values = training.values(evaluate={"threshold": "auto", "tta": "flip"})
    run = compare.Run("small", "oxford", "unet", 1, "", values)
    folder = training.workplace(tmp_path / run.folder)
    test = training.pixels(9, seed=3)
    training.cache(folder / "dataset/cache", "test", test)
    trimaps = folder / "dataset/oxford-iiit-pet/annotations/trimaps"
    trimaps.mkdir(parents=True)
    for row, trimap in zip(SimpleOxfordPetDataset(folder / "dataset/cache", "test").rows(), test[..., 3], strict=True):
        Image.fromarray(trimap.repeat(2, 0).repeat(2, 1)).save(trimaps / f"{row['name']}.png")
    checkpoint.save(folder / "saved_models/unet.pth", bright(level=0.5))
    history = [{"train_loss": 1, "valid_loss": loss} for loss in (0.9, 0.4, 0.6)]
    utils.write_csv(folder / "plots/history_unet.csv", history)
    place = {"device": "CPU", "cpu": "AVX2", "threads": 1, "torch": "2"}
    made = {"parameters": 5, "epochs": 3, "best_epoch": 2} | place
    utils.write_json(folder / "metrics/unet.json", {"valid_dice": 0.5, "run": [made]})
    lines = [f"epoch  {n}/3  lr 1e-3  {s:.1f} s, 9 images/s, 3 s left" for n, s in ((1, 50), (2, 20), (1, 30), (3, 10))]
    (folder / "log.txt").write_text("\n".join(lines))
    return run


def scores(run: compare.Run, work: Path) -> dict[str, Any]:
    return compare.scored([run], work, whole.check(run.values, "test"))


def test_a_row_says_what_the_training_found(finished: compare.Run, tmp_path: Path) -> None:
    row = compare.trained(finished, tmp_path / finished.folder)
    assert (row["valid_loss"], row["valid_loss_epoch"], row["best_epoch"], row["hardware"]) == (0.4, 2, 2, "CPU AVX2")
    assert row["seconds"] == 60  # an epoch done twice counts once


def test_dice_is_the_mean_over_photographs_and_pooled_over_pixels(finished: compare.Run, tmp_path: Path) -> None:
    row, folder = scores(finished, tmp_path), tmp_path / finished.folder
    pixels = torch.from_numpy(np.load(folder / "dataset/cache/test.npy"))
    found = Predictor(bright(level=0.5), "flip", training.CPU)(pixels[..., :3]) >= row["threshold"]
    truth = pixels[..., 3] != 2
    shared, sizes = (found & truth).sum((1, 2)), found.sum((1, 2)) + truth.sum((1, 2))
    assert row["test_dice"] == pytest.approx(float((2 * shared / sizes).mean()), abs=1e-6)
    assert row["test_dice_dataset"] == pytest.approx(float(2 * shared.sum() / sizes.sum()), abs=1e-6)
    assert row["test_dice"] == row["test_flip"]


def test_dice_at_its_own_size_is_that_of_the_photographs_trimaps(finished: compare.Run, tmp_path: Path) -> None:
    row, folder = scores(finished, tmp_path), tmp_path / finished.folder
    pixels = torch.from_numpy(np.load(folder / "dataset/cache/test.npy"))
    maps = Predictor(bright(level=0.5), "flip", training.CPU)(pixels[..., :3]).unsqueeze(1)
    found = torch.nn.functional.interpolate(maps, (64, 64), mode="bilinear")[:, 0] >= row["threshold"]
    truth = (pixels[..., 3] != 2).repeat_interleave(2, 1).repeat_interleave(2, 2)
    shared, sizes = (found & truth).sum((1, 2)), found.sum((1, 2)) + truth.sum((1, 2))
    assert row["test_dice_native"] == pytest.approx(float((2 * shared / sizes).mean()), abs=1e-6)
    assert row["test_dice_native"] != row["test_dice"]
    for trimap in (folder / "dataset/oxford-iiit-pet/annotations/trimaps").iterdir():
        Image.new("L", (64, 64), 2).save(trimap)
    assert scores(finished, tmp_path)["test_dice_native"] == 0


def test_a_curve_has_the_seconds_until_each_epoch(finished: compare.Run, tmp_path: Path) -> None:
    folder = tmp_path / finished.folder
    history = [{"epoch": n, "train_loss": 1, "valid_loss": 1, "valid_dice": n / 10} for n in (1, 2, 3)]
    utils.write_csv(folder / "plots/history_unet.csv", history)
    found = [(row["epoch"], row["seconds"], row["valid_dice"]) for row in compare.curve(finished, folder)]
    assert found == [("1", 30, "0.1"), ("2", 50, "0.2"), ("3", 60, "0.3")]


def test_epochs_of_an_earlier_and_longer_run_do_not_count(finished: compare.Run, tmp_path: Path) -> None:
    log = tmp_path / finished.folder / "log.txt"
    log.write_text("epoch  4/4  lr 1e-3  900.0 s, 9 images/s, 3 s left\n" + log.read_text())
    assert compare.trained(finished, tmp_path / finished.folder)["seconds"] == 60


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of results, elsewhere."""
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "results.csv")
    monkeypatch.setattr(compare, "CURVES", tmp_path / "curves.csv")
    return tmp_path / "results.csv"


def test_what_was_trained_but_not_scored_is_not_trained_again(
    finished: compare.Run, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(compare, "chosen_photographs", lambda *_: None)
    monkeypatch.setattr(compare, "stage", lambda _, *words: calls.append(words[0]))
    monkeypatch.setattr(compare, "scored", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare.one(finished, tmp_path, threading.Lock())
    monkeypatch.setattr(compare, "scored", lambda *_: {"valid_dice": 0.5, "test_dice": 0.4})
    compare.one(finished, tmp_path, threading.Lock())
    assert calls == ["train.py"]
    assert list(compare.measured()) == [finished.key]
    kept.unlink()  # its row is taken out
    compare.one(finished, tmp_path, threading.Lock())
    assert calls == ["train.py", "train.py"]


def test_the_row_of_an_ensemble_goes_when_one_of_its_networks_is_new(
    finished: compare.Run, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "scored", lambda *_: {"valid_dice": 0.5, "test_dice": 0.4})
    others = [finished._replace(network="ensemble"), finished._replace(network="ensemble", seed=2)]
    utils.write_csv(kept, [dict(zip(compare.KEY, run.key, strict=True)) for run in others])
    compare.keep(finished, tmp_path, threading.Lock())
    assert list(compare.measured()) == [finished.key, others[1].key]


def test_test_photographs_choose_nothing(finished: compare.Run, tmp_path: Path) -> None:
    before = scores(finished, tmp_path)
    file = tmp_path / finished.folder / "dataset/cache/test.npy"
    pixels = np.load(file)
    pixels[..., :3] = 255 - pixels[..., :3]
    np.save(file, pixels)
    after = scores(finished, tmp_path)
    assert {name for name in before if before[name] != after[name]} == {name for name in before if "test" in name}


def test_folds_share_nothing_and_leave_nothing_out(tmp_path: Path) -> None:
    pixels = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, 3)
    training.cache(tmp_path, "valid", pixels[:3])
    training.cache(tmp_path, "train", pixels[3:])
    held = []
    for fold in range(compare.FOLDS):
        compare.of_fold(tmp_path, tmp_path / str(fold), fold)
        train, valid = (set(np.load(tmp_path / str(fold) / f"{name}.npy")[:, 0, 0, 0]) for name in ("train", "valid"))
        assert not train & valid
        assert len(train | valid) == 23
        held += list(valid)
    assert sorted(held) == list(range(23))


def test_a_part_leaves_out_photographs_of_the_training_and_scores_some_breeds(tmp_path: Path) -> None:
    whole, target = tmp_path / "whole/cache", tmp_path / "part/dataset/cache"
    whole.mkdir(parents=True)
    names = {}
    for seed, (split, count) in enumerate((("train", 9), ("valid", 4), ("test", 6))):
        training.cache(whole, split, training.pixels(count, seed=seed))
        table = SimpleOxfordPetDataset(whole, split).rows()
        utils.write_csv(whole / f"{split}.csv", [row | {"breed": "ab"[at % 2]} for at, row in enumerate(table)])
        names[split] = [row["name"] for row in table]

    def part(own: dict[str, Any], scored: list[str]) -> dict[str, list[str]]:
        compare.of_part(whole, target, own, scored)
        found = {split: SimpleOxfordPetDataset(target, split) for split in names}
        for split, dataset in found.items():
            pixels = SimpleOxfordPetDataset(whole, split).tensor()
            kept = [names[split].index(row["name"]) for row in dataset.rows()]
            assert torch.equal(dataset.tensor(), pixels[kept])
        return {split: [row["name"] for row in dataset.rows()] for split, dataset in found.items()}

    assert part({"share": 4}, []) == names | {"train": names["train"][::4]}
    without = part({"without": ["a"]}, ["a"])
    assert without == {"train": names["train"][1::2], "valid": names["valid"][1::2], "test": names["test"][::2]}
