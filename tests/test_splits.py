"""Photographs to score: the right ones, in order, with the pixels that the networks were trained on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pets
from oxford_pet import read_list
from scoring import splits
from utils import Refusal

SIDE = 32


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return pets.make_dataset(tmp_path / "dataset", trainval=23, test=5)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three cached photographs; the first pixel of each holds its number."""
    folder = tmp_path / "cache"
    folder.mkdir()
    pixels = np.zeros((3, SIDE, SIDE, 4), np.uint8)
    pixels[:, 0, 0, 0] = range(3)
    np.save(folder / "test.npy", pixels)
    rows = ["name,breed,species,height,width", *(f"pug_{number},pug,dog,10,2{number}" for number in range(3))]
    (folder / "test.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def names(dataset: Path, listing: str) -> list[str]:
    return [line.split()[0] for line in read_list(dataset / "annotations" / listing)]


# --- a folder in the official layout ----------------------------------------------------------------------------------


def test_test_is_what_its_list_names(dataset: Path) -> None:
    split = splits.official(dataset, SIDE, "test")
    assert [row["name"] for row in split.rows] == names(dataset, "test.txt")
    assert split.rows[0] == {"name": "pug_24", "breed": "pug", "species": "dog"}
    assert split.rows[1] == {"name": "Abyssinian_25", "breed": "Abyssinian", "species": "cat"}
    assert len(split.pixels) == 5
    assert split.side == SIDE


def test_valid_is_every_tenth_line_of_trainval(dataset: Path) -> None:
    split = splits.official(dataset, SIDE, "valid")
    trainval = names(dataset, "trainval.txt")
    assert [row["name"] for row in split.rows] == [trainval[0], trainval[10], trainval[20]]


def test_valid_is_what_val_txt_names_where_there_is_no_trainval(dataset: Path) -> None:
    (dataset / "annotations/trainval.txt").unlink()
    pets.write_lists(dataset, train=["pug_4"], val=["Birman_3", "pug_8 4 2 2"], test=["pug_24"])
    assert splits.official(dataset, SIDE, "valid").rows == [
        {"name": "Birman_3", "breed": "", "species": ""},
        {"name": "pug_8", "breed": "pug", "species": "dog"},
    ]
    assert [row["name"] for row in splits.official(dataset, SIDE, "test").rows] == ["pug_24"]


def test_a_photograph_may_have_another_suffix(dataset: Path) -> None:
    before = splits.official(dataset, SIDE, "test").pixels[:2]
    (dataset / "images/pug_24.jpg").rename(dataset / "images/pug_24.JPEG")
    (dataset / "images/Abyssinian_25.jpg").rename(dataset / "images/Abyssinian_25.png")
    assert (splits.official(dataset, SIDE, "test").pixels[:2] == before).all()


def test_pixels_are_those_of_photograph_and_trimap_squeezed_into_a_square(dataset: Path) -> None:
    split = splits.official(dataset, SIDE, "test")
    found = split.pixels[1:4]
    assert (found.shape, found.dtype) == ((3, SIDE, SIDE, 4), torch.uint8)
    for pixels, row in zip(found.numpy(), split.rows[1:4], strict=True):
        with Image.open(dataset / "images" / f"{row['name']}.jpg") as image:
            expected = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        with Image.open(dataset / "annotations/trimaps" / f"{row['name']}.png") as trimap:
            mask = np.asarray(trimap.resize((SIDE, SIDE), Image.Resampling.NEAREST))
        assert (pixels[..., :3] == expected).all()
        assert (pixels[..., 3] == mask).all()
    assert split.side == SIDE


def test_a_trimap_at_its_own_size(dataset: Path) -> None:
    """The first photograph is a little wider than high."""
    split = splits.official(dataset, SIDE, "valid")
    assert split.trimaps == dataset / "annotations" / "trimaps"
    assert splits.own_trimap(split.trimaps, "Abyssinian_1").size == (60, 48)
    with pytest.raises(Refusal, match=r"none\.png: is missing; get the dataset's annotations anew"):
        splits.own_trimap(split.trimaps, "none")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"test\.txt: not found"),
        (b"# nothing\n", r"test\.txt: names no photographs"),
        (b"\xff\xfe\x00", r"test\.txt: not a list of photographs"),
        (b"pug 1 2 3\n", r"test\.txt: not a list of photographs: 'pug' is not of the form"),
    ],
)
def test_a_list_that_is_none_is_refused(dataset: Path, content: bytes | None, reason: str) -> None:
    listing = dataset / "annotations/test.txt"
    listing.unlink() if content is None else listing.write_bytes(content)
    with pytest.raises(Refusal, match=reason):
        splits.official(dataset, SIDE, "test")


def test_a_file_in_place_of_the_folder_is_refused(dataset: Path) -> None:
    with pytest.raises(Refusal, match="not found"):
        splits.official(dataset / "images/pug_24.jpg", SIDE, "test")


def test_a_photograph_of_another_shape_than_its_mask_is_refused(dataset: Path) -> None:
    Image.new("L", (10, 12), 1).save(dataset / "annotations/trimaps/pug_24.png")
    with pytest.raises(Refusal, match=r"pug_24\.jpg: is 48 x 48, but its mask is 10 x 12; repair it or take it off"):
        splits.official(dataset, SIDE, "test").pixels[:1]


# --- the cache --------------------------------------------------------------------------------------------------------


def test_cached_photographs_with_their_rows(cache: Path) -> None:
    split = splits.cached(cache, Path("dataset"), "test")
    assert split.pixels[:][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert split.rows[1] == {"name": "pug_1", "breed": "pug", "species": "dog", "height": "10", "width": "21"}
    assert [row["name"] for row in split.rows] == ["pug_0", "pug_1", "pug_2"]
    assert split.side == SIDE
    assert split.trimaps == Path("dataset/annotations/trimaps")


def test_cached_photographs_of_no_breed(cache: Path) -> None:
    rows = ["name,breed,species,height,width", *(f"{number},,,10,20" for number in range(3))]
    (cache / "test.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    split = splits.cached(cache, Path("dataset"), "test")
    assert split.rows[1] == {"name": "1", "breed": "", "species": "", "height": "10", "width": "20"}


def edited(how: Callable[[list[dict[str, str]]], object]) -> Callable[[Path], None]:
    def change(table: Path) -> None:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        how(rows)
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, r"test\.csv: not found; `dvc repro preprocess` makes it"),
        (edited(list.pop), r"test\.csv: does not belong to test\.npy"),
        (edited(lambda rows: rows.append(rows[0])), r"test\.csv: does not belong to test\.npy"),
        (edited(lambda rows: rows[2].update(name="")), r"test\.csv: does not belong to test\.npy"),
        (edited(lambda rows: [row.pop("breed") for row in rows]), r"test\.csv: does not belong to test\.npy"),
        (edited(lambda rows: [row.pop("species") for row in rows]), r"test\.csv: does not belong to test\.npy"),
        (lambda table: table.write_bytes(b"\xff\xfe"), r"test\.csv: does not belong to test\.npy"),
        (lambda table: table.write_text("name\n" + "x" * 200_000), r"test\.csv: does not belong to test\.npy"),
    ],
)
def test_a_table_that_does_not_belong_to_the_pixels_is_refused(
    cache: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(cache / "test.csv")
    with pytest.raises(Refusal, match=reason):
        splits.cached(cache, Path("dataset"), "test")
