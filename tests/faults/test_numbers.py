"""Numbers at their edges, through every stage: the results are right and finite, or one line says what is wrong."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import params
import pets
from handmade import bright
from oxford_pet import BACKGROUND, PET
from reliability import fault
from scoring import predict
from scripts import DATASET, script, succeeded, tree, write_params
from shared import checkpoint

RIGHT = "every stage ends well; no score is NaN or infinite"
LINE = "one line that says what to change; nothing is written"
UNET, OTHER = Path("saved_models/unet.pth"), "resnet34_unet"
INFERENCE = ("--weights", str(UNET), "--out", "out", str(DATASET / "images/pug_4.jpg"))
TEXTS = ("name", "breed", "species", "group", "kind")  # columns
TABLES = ("history_unet", f"history_{OTHER}", "test_images", "test_breeds", "thresholds")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def masks_of(value: int) -> Callable[[], object]:
    def change() -> None:
        for file in (DATASET / "annotations/trimaps").iterdir():
            with Image.open(file) as mask:
                size = mask.size
            Image.new("L", size, value).save(file)

    return change


def extreme() -> None:
    sizes = {"1": (1, 1), "4": (1, 5000), "8": (5000, 1), "14": (5000, 1), "15": (1, 5000), "16": (1, 1)}
    for photograph in (DATASET / "images").iterdir():
        if size := sizes.get(photograph.stem.rsplit("_")[-1]):
            Image.new("RGB", size, "white").save(photograph)
            Image.new("L", size, PET).save(DATASET / f"annotations/trimaps/{photograph.stem}.png")


def black() -> None:
    for file in (DATASET / "images").iterdir():
        with Image.open(file) as image:
            size = image.size
        Image.new("RGB", size).save(file)


def nothing() -> None:
    pass


def more_than_there_is(kind: str) -> object:
    if kind == "numpy":
        return np.empty(2**60, np.uint8)
    if kind == "torch":
        return torch.empty(2**60, dtype=torch.uint8)
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@fault("Numbers", "out of memory in scoring or inference", "one line that says what to do; nothing is written")
@pytest.mark.parametrize("kind", ["numpy", "torch", "cuda"])
@pytest.mark.parametrize("command", [("evaluate",), ("inference", *INFERENCE)])
@pytest.mark.usefixtures("place")
def test_out_of_memory(command: tuple[str, ...], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict.Predictor, "__call__", lambda *_: more_than_there_is(kind))
    before = tree()
    done = script(*command)
    assert done.code == 1
    assert re.fullmatch(rf"{command[0]}: out of memory; .*run again", done.line)
    assert tree() == before


def numbers(values: Any) -> list[float]:
    if isinstance(values, dict):
        return [number for value in values.values() for number in numbers(value)]
    return [values] if isinstance(values, int | float) else []


def results() -> list[float]:
    """Every number in the metrics and tables."""
    found = [number for file in Path("metrics").iterdir() for number in numbers(json.loads(file.read_text()))]
    for name in TABLES:
        with Path(f"plots/{name}.csv").open(newline="") as lines:
            cells = [value for row in csv.DictReader(lines) for key, value in row.items() if key not in TEXTS]
        found += map(float, cells)
    return found


@pytest.mark.parametrize(
    ("trainval", "test", "arrange", "changes"),
    [
        pytest.param(*case, marks=[fault("Numbers", what, RIGHT), *marks], id=what)
        for what, *case, marks in [
            ("every mask is empty", 12, 4, masks_of(BACKGROUND), {}, []),
            ("every mask is full", 12, 4, masks_of(PET), {}, []),
            ("every photograph is black", 12, 4, black, {}, []),
            ("two photographs to learn from, one to validate, one to test", 3, 1, nothing, {}, []),
            ("a batch larger than the split", 12, 4, nothing, {"train": {"batch_size": 10_000}}, []),
            ("photographs of 1 x 1, 1 x 5,000 and 5,000 x 1 pixels", 12, 4, extreme, {}, []),
            ("the smallest image_size, 16", 12, 4, nothing, {"data": {"image_size": 16}}, []),
            ("the largest image_size, 2048", 3, 1, nothing, {"data": {"image_size": 2048}}, [pytest.mark.torture]),
        ]
    ],
)
def test_every_stage_is_right(trainval: int, test: int, arrange: Callable[[], object], changes: dict[str, Any]) -> None:
    pets.make_dataset(DATASET, trainval=trainval, test=test)
    arrange()
    run_from_preprocess(**changes)
    check_results()


@fault("Numbers", "photographs of one breed", RIGHT)
def test_one_breed() -> None:
    pets.make_dataset(Path("source"), trainval=24, test=8)
    write_params(data={"breeds": ["pug"]})
    succeeded("download")
    run_from_preprocess(data={"breeds": ["pug"]})
    check_results()
    assert split("all")["breeds"] == 1


def split(name: str) -> dict[str, Any]:
    """What preprocess counted."""
    rows = json.loads(Path("metrics/data.json").read_text())["splits"]
    return next(row for row in rows if row["split"] == name)


def check_results() -> None:
    """Finite; and calling all pet scores what the share of pet says."""
    assert len(results()) > 450
    assert all(map(math.isfinite, results()))
    share = split("test")["foreground"]
    methods = json.loads(Path("metrics/test.json").read_text())["scores"]
    scores = next(row for row in methods if row["method"] == "all_foreground")
    assert scores["dice_dataset"] == pytest.approx(2 * share / (1 + share), abs=1e-4)


def run_from_preprocess(**changes: Any) -> None:
    write_params(**params.overlaid({"train": {"epochs": 1}}, changes))
    succeeded("preprocess")
    succeeded("train", "--model", "unet")
    succeeded("train", "--model", OTHER)
    succeeded("evaluate")
    succeeded("plot")


def refused(line: str, name: str, *words: str) -> int:
    """The exit code; the one line holds `line`, and nothing is written."""
    before = tree()
    done = script(name, *words)
    assert line in done.line
    assert len(done.err.splitlines()) == 1
    assert tree() == before
    return done.code


@fault("Numbers", "a single photograph to learn from, so small that BatchNorm has one value", LINE)
@pytest.mark.parametrize("changes", [{"data": {"limit": 1}}, {"train": {"batch_size": 1}}])
def test_a_batch_of_one_value(changes: dict[str, Any]) -> None:
    pets.make_dataset(DATASET, trainval=12, test=4)
    write_params(**changes)
    succeeded("preprocess")
    succeeded("train", "--model", "unet")  # its deepest level still sees 2 x 2
    assert refused("raise train.batch_size or data.image_size", "train", "--model", OTHER) == 2


@fault("Numbers", "no photograph to validate that can be used", LINE)
def test_no_photograph_to_validate() -> None:
    pets.make_dataset(DATASET, trainval=10, test=4)
    (DATASET / "images/Abyssinian_1.jpg").write_bytes(b"")
    write_params(data={"on_bad": "skip"})
    done = script("preprocess")
    assert done.code == 1
    assert "not one photograph for valid" in done.line
    assert not [name for name in tree() if not name.startswith(("params.yaml", "dataset/oxford-iiit-pet/"))]


@pytest.mark.usefixtures("place")
@fault("Numbers", "weights that are NaN or infinite", LINE)
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("tensor", ["head.bias", "encoder.0.0.1.running_var"])
def test_weights_that_are_no_numbers(value: float, tensor: str) -> None:
    weights = bright()
    weights.state[tensor][0] = value
    checkpoint.save(UNET, weights)
    assert refused(f"{UNET}: holds numbers that are not finite", "evaluate") == 1
    assert refused(f"{UNET}: holds numbers that are not finite", "inference", *INFERENCE) == 1
