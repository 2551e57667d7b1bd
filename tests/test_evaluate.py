"""Evaluation: what is written, that the threshold never sees test, and that any weights can be scored."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import evaluate
import pets
import preprocess
import training
from handmade import bright, untrained, with_origin
from oxford_pet import BORDERS, foreground
from reliability import fault
from scoring import splits
from scoring.predict import Predictor, resized
from shared import checkpoint, thresholds
from shared.inputs import unit
from shared.metrics import confusion, dice
from utils import Refusal, rounded

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NETWORKS = ("unet", "resnet34_unet")
METHODS = (*NETWORKS, "ensemble", "all_foreground", "mean_mask")
OUTPUTS = ("metrics/test.json", "plots/test_images.csv", "plots/test_breeds.csv", "plots/thresholds.csv")
PREDICTIONS = "dataset/predictions.npz"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which all stages before evaluate have run."""
    folder = tmp_path_factory.mktemp("prepared")
    pets.make_dataset(folder / "dataset/oxford-iiit-pet", trainval=40, test=22)
    training.write_params(folder, data={"image_size": 32})
    checkpoint.save(folder / "saved_models/unet.pth", bright())
    checkpoint.save(folder / "saved_models/resnet34_unet.pth", untrained())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        preprocess.main()
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, as working directory."""
    subprocess.run(["cp", "-r", f"{prepared}/.", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def metrics() -> dict[str, dict[str, Any]]:
    """The scores of each method."""
    return {row["method"]: row for row in json.loads(Path("metrics/test.json").read_text())["scores"]}


def read_csv(file: str) -> list[dict[str, str]]:
    with Path(file).open(newline="") as lines:
        return list(csv.DictReader(lines))


def change(**evaluation: Any) -> None:
    training.write_params(Path(), data={"image_size": 32}, evaluate=evaluation)


def run(*words: str) -> None:
    evaluate.any_weights(evaluate.arguments(words))


# --- the stage --------------------------------------------------------------------------------------------------------


def test_the_stage_writes_its_metrics(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.stage()
    found = metrics()
    assert list(found) == list(METHODS)
    for name, entry in found.items():
        numbers = {key: value for key, value in entry.items() if key not in ("tta", "border", "method")}
        assert np.isfinite(list(numbers.values())).all()
        assert ("points" in entry) == (name in NETWORKS)
        if name not in ("all_foreground", "mean_mask"):
            assert entry["dice_low"] <= entry["dice"] <= entry["dice_high"]
        if name in (*NETWORKS, "ensemble"):
            assert entry["tta"] == "none"
            assert {"dice_cats", "dice_dogs", "boundary_f1", "dice_native", "accuracy"} < entry.keys()
    assert found["unet"]["dice"] > 0.95
    assert found["unet"]["points"] == 100
    assert found["all_foreground"]["iou_dataset"] == pytest.approx(found["all_foreground"]["accuracy"])
    assert found["unet"]["dice"] > found["mean_mask"]["dice"] > found["all_foreground"]["dice"]
    expected = found["resnet34_unet"]["dice"] - found["unet"]["dice"]
    written = json.loads(Path("metrics/test.json").read_text())
    (difference,) = written["differences"]
    assert (difference["network"], difference["minus"]) == ("resnet34_unet", "unet")
    assert difference["dice"] == pytest.approx(expected, abs=2e-5)
    assert difference["dice_high"] < 0
    shown_by_dvc = {name: value for name, value in written.items() if not isinstance(value, list)}
    assert shown_by_dvc == {name: {"dice": found[name]["dice"]} for name in METHODS[:3]}
    assert f"{found['unet']['dice_low']:.4f}" in capsys.readouterr().out
    assert (project / PREDICTIONS).stat().st_size < 100_000


@pytest.mark.usefixtures("project")
def test_the_tables_agree_with_the_metrics() -> None:
    evaluate.stage()
    images, breeds, curve = (read_csv(f"plots/{name}.csv") for name in ("test_images", "test_breeds", "thresholds"))
    cached = read_csv("dataset/cache/test.csv")
    assert [list(row.values())[:5] for row in images] == [list(row.values()) for row in cached]
    groups = ["all", "cats", "dogs", "Abyssinian", "american_bulldog", "Birman", "pug"]
    assert [row["group"] for row in breeds] == groups
    assert [int(row["images"]) for row in breeds[:3]] == [22, 11, 11]
    for name in METHODS[:3]:
        entry = metrics()[name]
        for score in ("dice", "iou", "boundary_f1", "dice_native"):
            mean = np.mean([float(row[f"{name}_{score}"]) for row in images])
            assert mean == pytest.approx(entry[score], abs=1e-5)
        for score in ("dice", "iou_dataset", "precision", "recall", "accuracy"):
            assert float(breeds[0][f"{name}_{score}"]) == pytest.approx(entry[score], abs=1e-5)
        for row in breeds[1:3]:
            assert float(row[f"{name}_dice"]) == pytest.approx(entry[f"dice_{row['group']}"], abs=1e-5)
        best = max(curve, key=lambda row: float(row[name]))
        assert float(best[name]) == max(float(r[name]) for r in curve if float(r["threshold"]) == entry["threshold"])


def test_the_terminal_shows_what_the_metrics_file_rounds_to() -> None:
    assert rounded(0.9465462) == 0.94655  # 0.9466 to four places, and what it comes from 0.9465
    assert "0.9466" in evaluate.table({"unet": {"dice": 0.9465462}})


def test_predictions_hold_the_sheet_and_the_worst_first(project: Path) -> None:
    evaluate.stage()
    stored = np.load(project / PREDICTIONS)  # refuses pickles
    images = read_csv("plots/test_images.csv")
    names, kinds = stored["names"].tolist(), stored["kinds"].tolist()
    assert kinds == ["sheet"] * 8 + ["worst"] * 12
    assert names[:8] == [images[i]["name"] for i in (0, 3, 6, 9, 12, 15, 18, 21)]
    mean = {row["name"]: sum(float(row[f"{name}_dice"]) for name in NETWORKS) for row in images}
    shown = [mean[name] for name in names[8:]]
    assert shown == sorted(mean.values())[:12]
    assert stored["images"].shape == (20, 32, 32, 3)
    for name in NETWORKS:
        masks, truth = torch.from_numpy(stored[f"mask_{name}"]), torch.from_numpy(foreground(stored["trimaps"]))
        expected = [float({row["name"]: row for row in images}[shown][f"{name}_dice"]) for shown in names]
        assert dice(confusion(masks, truth)).tolist() == pytest.approx(expected, abs=1e-5)


def test_equal_inputs_give_equal_bytes(project: Path) -> None:
    evaluate.stage()
    first = [(project / file).read_bytes() for file in (*OUTPUTS, PREDICTIONS)]
    evaluate.stage()
    assert [(project / file).read_bytes() for file in (*OUTPUTS, PREDICTIONS)] == first


def test_few_photographs_of_one_species_are_enough(project: Path) -> None:
    training.write_params(project, data={"image_size": 32, "breeds": [], "limit": 1})
    preprocess.main()
    evaluate.stage()
    assert "dice_cats" in metrics()["unet"]
    assert "dice_dogs" not in metrics()["unet"]
    assert metrics()["unet"]["dice_low"] == metrics()["unet"]["dice_high"]
    assert np.load(PREDICTIONS)["kinds"].tolist() == ["sheet", "worst"]


@pytest.mark.usefixtures("project")
def test_a_given_threshold_is_used() -> None:
    change(threshold=0.3)
    evaluate.stage()
    assert [metrics()[name]["threshold"] for name in METHODS[:3]] == [0.3] * 3


@pytest.fixture
def augmentations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that predictors are made with."""
    used: list[str] = []

    class Watched(Predictor):
        def __init__(self, weights: checkpoint.Weights, tta: str, device: torch.device) -> None:
            used.append(tta)
            super().__init__(weights, tta, device)

    monkeypatch.setattr(evaluate, "Predictor", Watched)
    return used


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("tta", ["flip", "flip_scales"])
def test_the_chosen_augmentation_is_used_and_the_metrics_say_which(tta: str, augmentations: list[str]) -> None:
    change(tta=tta)
    evaluate.stage()
    assert [metrics()[name]["tta"] for name in METHODS[:3]] == [tta] * 3
    assert metrics()["unet"]["dice"] > 0.9
    run("--weights", "saved_models/unet.pth", "--tta", tta)
    assert augmentations == [tta] * 3


def test_the_mean_mask_is_that_of_the_training_photographs(project: Path) -> None:
    for split, value in (("train", 1), ("valid", 2)):
        pixels = np.load(project / f"dataset/cache/{split}.npy")
        pixels[..., 3] = value
        np.save(project / f"dataset/cache/{split}.npy", pixels)
    evaluate.stage()
    found = metrics()
    assert found["mean_mask"]["dice"] == found["all_foreground"]["dice"]


def test_where_the_border_is_ignored_the_mean_mask_is_that_of_the_photographs_that_count() -> None:
    pixels = torch.zeros(4, 1, 3, 4, dtype=torch.uint8)
    pixels[..., 3] = torch.tensor([[1, 1, 3], [2, 3, 3], [1, 3, 3], [1, 2, 3]]).unsqueeze(1)
    assert evaluate.mean_mask(pixels, "ignore").tolist() == [[0.75, 0.5, 0]]
    assert evaluate.mean_mask(pixels, "pet").tolist() == [[0.75, 0.75, 1]]


def test_the_table_has_how_much_of_a_photograph_is_pet(project: Path) -> None:
    evaluate.stage()
    truth = foreground(np.load(project / "dataset/cache/test.npy")[..., 3]).mean((1, 2))
    assert [float(row["foreground"]) for row in read_csv("plots/test_images.csv")] == pytest.approx(truth, abs=1e-5)


# --- nothing is chosen on test ----------------------------------------------------------------------------------------


def test_the_threshold_is_chosen_while_there_is_no_test(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate.stage()
    with_test = metrics()
    chosen: list[float] = []

    def best_threshold(curve: Tensor) -> float:
        chosen.append(thresholds.best_threshold(curve))
        return chosen[-1]

    monkeypatch.setattr(evaluate, "best_threshold", best_threshold)
    for file in ("cache/test.npy", "cache/test.csv", "oxford-iiit-pet/annotations/test.txt"):
        (project / "dataset" / file).unlink()
    with pytest.raises(Refusal, match="test"):
        evaluate.stage()
    names = ("unet", "resnet34_unet", "ensemble", "mean_mask")
    assert chosen == [with_test[name]["threshold"] for name in names]


def test_the_threshold_does_not_depend_on_test(project: Path) -> None:
    evaluate.stage()
    first, curve = metrics(), (project / "plots/thresholds.csv").read_bytes()
    pixels = np.load("dataset/cache/test.npy")
    np.save("dataset/cache/test.npy", 255 - pixels)
    evaluate.stage()
    assert metrics()["unet"]["dice"] < first["unet"]["dice"]
    assert {n: metrics()[n]["threshold"] for n in METHODS} == {n: first[n]["threshold"] for n in METHODS}
    assert (project / "plots/thresholds.csv").read_bytes() == curve


# --- scoring ----------------------------------------------------------------------------------------------------------


class Drawn:
    """A long split that is never in memory; remembers the longest slice asked for."""

    longest = 0

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, rows: slice, /) -> Tensor:
        count = len(range(*rows.indices(len(self))))
        self.longest = max(self.longest, count)
        return torch.full((count, 8, 8, 4), 2, dtype=torch.uint8)


def test_memory_does_not_grow_with_the_test_set(tmp_path: Path) -> None:
    Image.new("L", (9, 7), 2).save(tmp_path / "x.png")
    pixels = Drawn()
    split = splits.Split([{"name": "x", "breed": "x", "species": "cat"}] * len(pixels), pixels, tmp_path)
    found = evaluate.test_scores(lambda images: torch.zeros(len(images), 1, 8, 8), {"x": 0.5}, split, "pet")["x"]
    assert found.counts.shape == (1000, 4)
    assert found.boundary_f1.eq(1).all()
    assert evaluate.mean_mask(pixels, "pet").eq(0).all()
    assert pixels.longest == thresholds.BATCH


@pytest.mark.usefixtures("project")
def test_own_size_means_probabilities_resized_then_thresholded() -> None:
    evaluate.stage()
    row = read_csv("plots/test_images.csv")[2]
    truth = foreground(np.asarray(Image.open(f"dataset/oxford-iiit-pet/annotations/trimaps/{row['name']}.png")))
    assert truth.shape == (int(row["height"]), int(row["width"])) != (32, 32)
    predictor = Predictor(checkpoint.load(Path("saved_models/unet.pth")), "none", CPU)
    small = predictor(torch.from_numpy(np.load("dataset/cache/test.npy")[2:3, ..., :3]))[0].numpy()
    large = np.asarray(Image.fromarray(small).resize(truth.shape[::-1], Image.Resampling.BILINEAR))
    predicted = large >= metrics()["unet"]["threshold"]
    expected = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    assert float(row["unet_dice_native"]) == pytest.approx(expected, abs=2e-3)


def test_the_ensemble_is_the_mean_of_probabilities() -> None:
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    predictors = [Predictor(weights, "none", CPU) for weights in (bright(), untrained(), untrained("unet"))]
    maps = evaluate.all_methods(predictors, [torch.ones(())])(images)
    assert maps.shape == (3, 5, 32, 32)
    torch.testing.assert_close(maps[:, 3], maps[:, :3].mean(1))
    assert maps[:, 4].eq(1).all()


@pytest.mark.parametrize("side", [32, 45])
@pytest.mark.parametrize("tta", ["flip", "flip_scales"])
def test_augmentation_treats_a_mirror_image_alike(tta: str, side: int) -> None:
    images = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain, augmented = (Predictor(untrained("unet"), kind, CPU) for kind in ("none", tta))
    torch.testing.assert_close(augmented(images), augmented(images.flip(2)).flip(2), atol=1e-5, rtol=0)
    assert not torch.allclose(augmented(images), plain(images), atol=1e-4)
    assert augmented(images).shape == (2, side, side)


@pytest.mark.parametrize(("tta", "scales"), [("flip", [1]), ("flip_scales", [0.75, 1, 1.25])])
def test_augmentation_is_the_mean_over_mirror_images_and_sizes(tta: str, scales: list[float]) -> None:
    """Here Pillow makes the other sizes, and brings what was found back to the photograph's."""

    def sized(layers: torch.Tensor, scale: float) -> torch.Tensor:
        size = round(48 * scale), round(32 * scale)
        pictures = [Image.fromarray(layer.numpy()).resize(size, Image.Resampling.BILINEAR) for layer in layers]
        return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))

    def seen(view: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return weights.probabilities(network, view[None])

    weights = untrained("unet")
    network = weights.build()
    images = torch.randint(0, 256, (1, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for scale in scales:
        view = sized(unit(images)[0], scale)
        found += [sized(seen(view), 1), sized(seen(view.flip(-1)).flip(-1), 1)]
    torch.testing.assert_close(Predictor(weights, tta, CPU)(images), torch.stack(found).mean(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("mean", "std", "level"), [(0.2, 1.0, 0.25), (0.05, 0.5, 0.8)])
def test_photographs_are_normalised_as_in_training(mean: float, std: float, level: float) -> None:
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weights = replace(bright(level=level), mean=[mean] * 3, std=[std] * 3)
    assert torch.equal(Predictor(weights, "none", CPU)(images) > 0.5, Predictor(bright(), "none", CPU)(images) > 0.5)


def test_resizing_equals_pillow() -> None:
    values = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    for height, width in ((41, 64), (13, 15), (20, 60)):
        expected = Image.fromarray(values[0, 0].numpy()).resize((width, height), Image.Resampling.BILINEAR)
        torch.testing.assert_close(resized(values, height, width)[0, 0], torch.from_numpy(np.array(expected)))


# --- any weights ------------------------------------------------------------------------------------------------------


def files() -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def shown(out: str) -> dict[str, list[str]]:
    """The lines of the table by their first words; the first line has the methods."""
    return {line.split()[0]: line.split()[1:] for line in out.splitlines()}


OWN = ("--weights", "saved_models/unet.pth", "saved_models/resnet34_unet.pth")


def own_thresholds(project: Path, *thresholds: float, **validated: int) -> None:
    for file, weights, threshold in zip(OWN[1:], (bright(), untrained()), thresholds, strict=False):
        checkpoint.save(project / file, with_origin(weights, threshold, **validated))


@pytest.mark.parametrize("data", [(), ("--data", "dataset/oxford-iiit-pet")], ids=["cached", "folder"])
def test_weights_bring_their_threshold_and_the_ensemble_takes_the_mean(
    project: Path, capsys: pytest.CaptureFixture[str], data: tuple[str, ...]
) -> None:
    own_thresholds(project, 0.3, 0.62)
    evaluate.stage()
    capsys.readouterr()
    run(*OWN, *data)
    out = capsys.readouterr().out
    in_stage = [f"{metrics()[name]['threshold']:.4f}" for name in METHODS[3:]]
    assert shown(out)["threshold"] == ["0.3000", "0.6200", "0.4600", *in_stage]
    assert "thresholds: the weights' own for unet, resnet34_unet, ensemble" in out.splitlines()
    assert "warning" not in out
    run(*OWN, *data, "--threshold", "0.4")
    assert shown(capsys.readouterr().out)["threshold"] == [*["0.4000"] * 3, *in_stage]


def test_weights_with_a_threshold_need_no_validation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_thresholds(project, 0.3)
    (project / "dataset/oxford-iiit-pet/annotations/trainval.txt").unlink()
    run("--weights", "saved_models/unet.pth", "--data", "dataset/oxford-iiit-pet")
    lines = shown(capsys.readouterr().out)
    assert lines["threshold"] == ["0.3000", "0.5000"]
    assert lines["unet"] == ["all_foreground"]


def test_a_threshold_is_chosen_for_weights_without_one_and_for_an_ensemble_with_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.stage()
    own_thresholds(project, 0.33)
    capsys.readouterr()
    run(*OWN)
    out, stage = capsys.readouterr().out, metrics()
    expected = ["0.3300", *(f"{stage[name]['threshold']:.4f}" for name in METHODS[1:])]
    assert shown(out)["threshold"] == expected
    how = "the weights' own for unet; the best on 4 validation photographs for resnet34_unet, ensemble"
    assert f"thresholds: {how}" in out.splitlines()
    assert "few photographs chose the threshold (resnet34_unet 4, ensemble 4)" in out


@pytest.mark.parametrize(("validated", "warned"), [(1, True), (49, True), (50, False)])
def test_few_photographs_that_chose_are_warned_of(
    project: Path, capsys: pytest.CaptureFixture[str], validated: int, warned: bool
) -> None:
    own_thresholds(project, 0.9, validated=validated)
    run("--weights", "saved_models/unet.pth")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [f"few photographs chose the threshold (unet {validated})" in line for line in lines] == [True] * warned
    assert all("compare with --threshold 0.5" in line for line in lines)


@fault("Input", "a dataset without a validation list, to score weights without a threshold", "one line with what helps")
@pytest.mark.parametrize("data", [(), ("--data", "dataset/oxford-iiit-pet")], ids=["cached", "folder"])
def test_no_validation_to_choose_from_says_that_a_threshold_helps(project: Path, data: tuple[str, ...]) -> None:
    (project / "dataset/oxford-iiit-pet/annotations/trainval.txt").unlink()
    (project / "dataset/cache/valid.npy").unlink()
    with pytest.raises(Refusal, match=r"(trainval\.txt|valid\.npy): not found; .*--threshold T needs no validation"):
        run("--weights", "saved_models/unet.pth", *data)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_without_usable_training_masks_one_baseline_is_left_out(
    project: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    own_thresholds(project, 0.3)
    listed = (project / "dataset/oxford-iiit-pet/annotations/trainval.txt").read_text().split()[::4]
    name = listed[{"train": 1, "valid": 0}[split]]
    (project / f"dataset/oxford-iiit-pet/images/{name}.jpg").unlink()  # nobody needs it
    run("--weights", "saved_models/unet.pth", "--data", "dataset/oxford-iiit-pet")
    assert "mean_mask" in shown(capsys.readouterr().out)["unet"]
    (project / f"dataset/oxford-iiit-pet/annotations/trimaps/{name}.png").write_bytes(b"no")
    run("--weights", "saved_models/unet.pth", "--data", "dataset/oxford-iiit-pet")
    out = capsys.readouterr().out
    assert shown(out)["unet"] == ["all_foreground"]
    assert f"mean_mask is left out: dataset/oxford-iiit-pet/annotations/trimaps/{name}.png: is not a picture" in out


@pytest.mark.usefixtures("project")
def test_any_weights_score_what_the_stage_found_and_write_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.stage()
    capsys.readouterr()
    before = files()
    run("--weights", "saved_models/unet.pth", "saved_models/resnet34_unet.pth")
    on_cache = capsys.readouterr().out
    run("--weights", "saved_models/unet.pth", "saved_models/resnet34_unet.pth", "--data", "dataset/oxford-iiit-pet")
    assert capsys.readouterr().out == on_cache
    assert files() == before
    lines = shown(on_cache)
    for score in ("dice", "dice_dataset", "iou", "dice_native", "threshold"):
        found = metrics()
        assert lines[score] == [f"{found[name][score]:.4f}" for name in METHODS if score in found[name]]
    assert lines["unet"] == list(METHODS[1:])
    chosen = "thresholds: the best on 4 validation photographs for unet, resnet34_unet, ensemble"
    assert chosen in on_cache.splitlines()


def test_any_weights_with_a_threshold_need_no_validation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").unlink()
    (project / "dataset/oxford-iiit-pet/annotations/trainval.txt").unlink()
    data = ("--data", "dataset/oxford-iiit-pet")
    run("--weights", "saved_models/unet.pth", *data, "--threshold", "0.4", "--tta", "flip")
    out = capsys.readouterr().out
    assert shown(out)["threshold"] == ["0.4000", "0.5000"]
    assert (
        "thresholds: 0.4, by --threshold\nmean_mask is left out: dataset/oxford-iiit-pet/annotations/trainval.txt"
        in out
    )
    assert "flip" in out
    assert "ensemble" not in out
    assert "warning" not in out


@pytest.mark.parametrize("border", ["background", "ignore"])
def test_the_stage_and_any_weights_score_under_a_border_rule(
    border: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What calls everything pet has the Dice that the trimaps say."""
    training.write_params(project, data={"image_size": 32, "border": border}, evaluate={"threshold": 0.4})
    evaluate.stage()
    said = capsys.readouterr().out
    assert BORDERS[border] in said
    assert {entry["border"] for entry in metrics().values()} == {border}
    trimaps = np.load("dataset/cache/test.npy")[..., 3]
    pet, pixels = (trimaps == 1).sum((1, 2)), (trimaps != (3 if border == "ignore" else 0)).sum((1, 2))
    assert metrics()["all_foreground"]["dice"] == pytest.approx((2 * pet / (pet + pixels)).mean(), abs=1e-5)
    run("--weights", "saved_models/unet.pth", "--threshold", "0.4", "--border", border)
    found = capsys.readouterr().out
    assert BORDERS[border] in found
    lines = {line.split()[0]: line.split()[1:] for line in found.splitlines()}
    assert lines["dice"][0] == f"{metrics()['unet']['dice']:.4f}"


def test_weights_of_one_name_are_told_apart(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.save(project / "other/unet.pth", untrained("unet"))
    run("--weights", "saved_models/unet.pth", "other/unet.pth", "--threshold", "0.4")
    assert "saved_models/unet.pth  other/unet.pth  ensemble" in capsys.readouterr().out


# --- what cannot be scored --------------------------------------------------------------------------------------------


def spoil(project: Path, what: str) -> None:
    dataset = project / "dataset/oxford-iiit-pet"
    match what:
        case "no weights":
            (project / "saved_models/resnet34_unet.pth").unlink()
        case "other size":
            checkpoint.save(project / "saved_models/unet.pth", bright(48))
        case "no cache":
            (project / "dataset/cache/valid.npy").unlink()
        case "short table":
            (project / "dataset/cache/valid.csv").write_text("name,breed,species,height,width\n")
        case "cut cache":
            whole = (project / "dataset/cache/test.npy").read_bytes()
            (project / "dataset/cache/test.npy").write_bytes(whole[: len(whole) // 2])
        case "no trimap":
            next((dataset / "annotations/trimaps").glob("pug_60.png")).unlink()


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("no weights", "resnet34_unet.pth"),
        ("other size", "unet.pth.*48.*32"),
        ("no cache", "valid.npy"),
        ("short table", "valid"),
        pytest.param(
            "cut cache",
            "test.npy",
            marks=fault("Corruption", "a cached tensor that is cut", "`evaluate` names it, exit 1"),
        ),
        ("no trimap", "pug_60.png"),
    ],
)
def test_the_stage_refuses_in_one_line_and_writes_nothing(project: Path, what: str, named: str) -> None:
    spoil(project, what)
    before = files()
    with pytest.raises(Refusal, match=named):
        evaluate.stage()
    assert files() == before


def spoil_folder(folder: Path, what: str) -> None:
    match what:
        case "no list":
            (folder / "annotations/test.txt").unlink()
        case "no list at all":
            (folder / "annotations/test.txt").write_text("")
        case "binary list":
            (folder / "annotations/test.txt").write_bytes(b"\xff\xfe\x00")
        case "bad line":
            (folder / "annotations/test.txt").write_text("../../etc/passwd_1 1 1 1\n")
        case "bad photograph":
            (folder / "images/pug_60.jpg").write_bytes(b"GIF89a")
        case "bad mask":
            (folder / "annotations/trimaps/pug_60.png").write_bytes(b"no")
        case "other shape":
            Image.new("L", (10, 10), 1).save(folder / "annotations/trimaps/pug_60.png")


@fault("Input", "a dataset to score with a bad list, photograph or mask", "one line that names the file")
@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("no list", "test.txt"),
        ("no list at all", "test.txt"),
        ("binary list", "test.txt"),
        ("bad line", "test.txt.*passwd"),
        ("bad photograph", "pug_60.jpg"),
        ("bad mask", "pug_60.png"),
        ("other shape", "pug_60.jpg.*10 x 10"),
    ],
)
def test_a_folder_that_cannot_be_scored_is_refused_in_one_line(project: Path, what: str, named: str) -> None:
    folder = project / "dataset/oxford-iiit-pet"
    spoil_folder(folder, what)
    with pytest.raises(Refusal, match=named):
        run("--weights", "saved_models/unet.pth", "--data", str(folder))


@pytest.mark.parametrize("words", ["--tta flip", "--threshold 0.5", "--weights w --threshold 1", "--weights w --tta x"])
def test_a_wrong_command_line_ends_with_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        evaluate.arguments(words.split())
    assert end.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_the_script_runs_as_the_pipeline_runs_it(project: Path) -> None:
    script = [sys.executable, str(ROOT / "src/evaluate.py")]
    ended = subprocess.run(script, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert all((project / file).exists() for file in (*OUTPUTS, PREDICTIONS))


def test_weights_named_twice_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.arguments(["--weights", "a.pth", "b.pth", "a.pth"])
    assert "a file is named twice" in capsys.readouterr().err


def test_weights_have_labels_that_nothing_else_has() -> None:
    assert evaluate.labels([Path("x/unet.pth"), Path("y/mine.pth")]) == ["unet", "mine"]
    for names in (["x/unet.pth", "y/unet.pth"], ["x/mean_mask.pth"], ["x/ensemble.pth"]):
        assert evaluate.labels([Path(name) for name in names]) == names
