"""A test photograph among those for training is found under any name, and no other photograph is taken for one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import preprocess
from oxford_pet import read_list
from pets import make_dataset, write_data_params, write_lists
from photos import leaks, sheet
from reliability import fault
from utils import Refusal

ROW = "a test photograph that stands in trainval.txt too, under another name"
IMAGES, TRIMAPS = preprocess.DATASET / "images", preprocess.DATASET / "annotations/trimaps"
COPY, ORIGINAL = "pug_900", "american_bulldog_26"  # the second is in the test split


def smooth(seed: int, size: tuple[int, int] = (120, 96)) -> Image.Image:
    """A picture with the large shapes that photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sheet, "TILE", 32)
    folder = make_dataset(preprocess.DATASET, trainval=22, test=6)
    write_data_params(Path(), image_size=32)
    smooth(0).save(IMAGES / f"{ORIGINAL}.jpg", quality=95)
    Image.new("L", smooth(0).size, 2).save(TRIMAPS / f"{ORIGINAL}.png")
    return folder


def lists() -> dict[str, list[str]]:
    return {name: read_list(preprocess.DATASET / f"annotations/{name}.txt") for name in ("trainval", "test")}


def copied(as_: Callable[[Image.Image, Path], object]) -> None:
    """The photograph of the test split as another one of trainval.txt."""
    with Image.open(IMAGES / f"{ORIGINAL}.jpg") as image:
        as_(image, IMAGES / f"{COPY}.jpg")
    with Image.open(IMAGES / f"{COPY}.jpg") as copy:
        Image.new("L", copy.size, 2).save(TRIMAPS / f"{COPY}.png")
    before = lists()
    write_lists(preprocess.DATASET, trainval=[*before["trainval"], f"{COPY} 4 2 2"], test=before["test"])


def same_file(_: Image.Image, file: Path) -> None:
    shutil.copyfile(IMAGES / f"{ORIGINAL}.jpg", file)


def other_quality(image: Image.Image, file: Path) -> None:
    image.save(file, "JPEG", quality=30)


def other_size(image: Image.Image, file: Path) -> None:
    image.resize((70, 56), Image.Resampling.LANCZOS).save(file, "JPEG", quality=80)


def other_format(image: Image.Image, file: Path) -> None:
    image.save(file, "PNG")


def mirrored(image: Image.Image, file: Path) -> None:
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "JPEG", quality=60)


def a_little_darker(image: Image.Image, file: Path) -> None:
    image.point(lambda value: 0.95 * value).save(file, "JPEG", quality=90)


def a_little_shifted(image: Image.Image, file: Path) -> None:
    image.crop((1, 1, image.width, image.height)).save(file, "JPEG", quality=90)


COPIES = (same_file, other_quality, other_size, other_format, mirrored, a_little_darker, a_little_shifted)


@fault("Input", ROW, "named, or refused where that is chosen; also mirrored, of another size or quality")
@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize("as_", COPIES)
def test_a_copy_is_named(capsys: pytest.CaptureFixture[str], as_: Callable[[Image.Image, Path], object]) -> None:
    copied(as_)
    preprocess.main()
    counts = json.loads(preprocess.METRICS.read_text(encoding="utf-8"))
    pair = f"{COPY} in train and {ORIGINAL} in test"
    assert counts["leaks"] == [{"pairs": 1, "named": [pair]}]
    said = capsys.readouterr().out
    assert f"warning: the same photograph in training and test, 1 times: {pair}; metrics/data.json names all" in said


@fault("Input", ROW, "named, or refused where that is chosen; also mirrored, of another size or quality")
@pytest.mark.usefixtures("dataset")
def test_it_can_be_refused() -> None:
    preprocess.main()
    before = {path: path.read_bytes() for path in preprocess.CACHE.iterdir()}
    copied(other_quality)
    write_data_params(Path(), image_size=32, on_leak="fail")
    with pytest.raises(Refusal, match=rf"1 times: {COPY} in train and {ORIGINAL} in test\. Take them off a list, or"):
        preprocess.main()
    assert {path: path.read_bytes() for path in preprocess.CACHE.iterdir()} == before


def test_a_copy_for_validation_counts_too(dataset: Path) -> None:
    copied(same_file)
    before = lists()
    write_lists(dataset, trainval=before["trainval"][::-1], test=before["test"])  # the copy is the first line
    preprocess.main()
    counts = json.loads(preprocess.METRICS.read_text(encoding="utf-8"))
    assert counts["leaks"][0]["named"] == [f"{COPY} in valid and {ORIGINAL} in test"]


@pytest.mark.usefixtures("dataset")
def test_copies_within_training_and_other_photographs_are_no_leaks() -> None:
    """Also where nothing may leak, other photographs pass."""
    write_data_params(Path(), image_size=32, on_leak="fail")
    names = [line.split()[0] for line in lists()["trainval"]]
    shutil.copyfile(IMAGES / f"{names[1]}.jpg", IMAGES / f"{names[7]}.jpg")
    shutil.copyfile(TRIMAPS / f"{names[1]}.png", TRIMAPS / f"{names[7]}.png")
    preprocess.main()
    counts = json.loads(preprocess.METRICS.read_text(encoding="utf-8"))
    assert counts["leaks"] == [{"pairs": 0, "named": []}]


@pytest.mark.usefixtures("dataset")
def test_many_pairs_are_counted_and_the_first_five_named(capsys: pytest.CaptureFixture[str]) -> None:
    names = {split: [line.split()[0] for line in lines] for split, lines in lists().items()}
    for name in (*names["trainval"][1:8], names["test"][0]):
        smooth(0).save(IMAGES / f"{name}.jpg")
        Image.new("L", smooth(0).size, 2).save(TRIMAPS / f"{name}.png")
    preprocess.main()
    counts = json.loads(preprocess.METRICS.read_text(encoding="utf-8"))
    (leaks,) = counts["leaks"]
    assert leaks["pairs"] == len(leaks["named"]) == 7 * 2, "seven photographs, each of them two test photographs"
    said = capsys.readouterr().out
    assert "14 times" in said and "; and 9 more; " in said
    assert said.count(" in train and ") == 5


# --- the comparison ---------------------------------------------------------------------------------------------------


def pictures(*seeds: int) -> np.ndarray:
    return np.stack([leaks.tiny(smooth(seed)) for seed in seeds])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_the_pairs_are_those_of_equal_pictures(ours: list[int], theirs: list[int]) -> None:
    found = leaks.same(pictures(*ours), pictures(*theirs))
    assert found == [(i, j) for i, a in enumerate(ours) for j, b in enumerate(theirs) if a == b]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_the_size_of_the_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(leaks, "ROWS", rows)
    assert leaks.same(pictures(1, 2, 3, 1), pictures(3, 1, 9)) == [(0, 1), (2, 0), (3, 1)]


@pytest.mark.parametrize(("level", "same"), [(100, True), (115, True), (116, False), (84, False)])
def test_plain_pictures_are_the_same_up_to_15_grey_levels(level: int, same: bool) -> None:
    plain = np.full((1, leaks.HEIGHT, leaks.WIDTH), 100, np.uint8)
    assert bool(leaks.same(plain, np.full_like(plain, level))) == same


@pytest.mark.parametrize(("turned", "same"), [(38, True), (39, False)])
def test_38_of_256_steps_may_differ(turned: int, same: bool) -> None:
    """A step to the right that rises in one picture and falls in the other; one grey level, so only steps tell."""
    rows = np.arange(leaks.WIDTH, dtype=np.uint8) % 2 + np.zeros((leaks.HEIGHT, 1), np.uint8) + 100
    other = rows.copy()
    flat = other.reshape(-1)
    changed = 0
    for place in np.flatnonzero(rows[:, :-1] < rows[:, 1:])[:turned]:
        flat[place // (leaks.WIDTH - 1) * leaks.WIDTH + place % (leaks.WIDTH - 1) + 1] = 100
        changed += 1
    assert changed == turned
    assert ((rows[:, :-1] < rows[:, 1:]) != (other[:, :-1] < other[:, 1:])).sum() == turned
    assert bool(leaks.same(rows[None], other[None])) == same
