"""The lists, the split, the mask rule and the cached tensors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hostile import Malicious
from oxford_pet import (
    BACKGROUND,
    BORDER,
    PET,
    SIDES,
    SPLITS,
    Entry,
    SimpleOxfordPetDataset,
    foreground,
    read_list,
    read_split,
    split_trainval,
)
from reliability import fault
from utils import Refusal


@given(st.integers(0, 5000))
def test_every_tenth_line_is_validation(count: int) -> None:
    train, valid = split_trainval(range(count))
    assert sorted(train + valid) == list(range(count)), "every line in one split, none in both"
    assert train == sorted(train) and valid == sorted(valid), "in the order of the list"
    assert all(index % 10 == 0 for index in valid) and not any(index % 10 == 0 for index in train)


def test_the_full_dataset_splits_as_published() -> None:
    train, valid = split_trainval(range(3680))
    assert (len(train), len(valid)) == (3312, 368)


@given(arrays.arrays(np.uint8, (5, 7), elements=st.sampled_from([PET, BACKGROUND, BORDER])))
def test_pet_and_border_are_foreground(trimap: np.ndarray) -> None:
    assert (foreground(trimap) == ((trimap == 1) | (trimap == 3))).all()


@given(st.sampled_from(["Abyssinian", "great_pyrenees", "Maine_Coon"]), st.integers(1, 999), st.sampled_from([1, 2]))
def test_a_line_of_a_list(breed: str, number: int, species: int) -> None:
    entry = Entry.parse(f"{breed}_{number} 12 {species} 3")
    assert entry == (f"{breed}_{number}", breed, {1: "cat", 2: "dog"}[species])


@fault("Input", "a line of a list that is none", "refused with the reason")
@pytest.mark.parametrize(
    "line",
    [
        *("", "pug_1 1", "pug_1 1 2", "pug_1 1 2 3 4", "pug 1 2 3", "_1 1 2 3", "pug_x 1 2 3", "pug_² 1 2 3"),
        *("pug_1 1 3 1", "pug_1 1 two 1"),
        *("../pug_1 1 2 3", "/pug_1 1 2 3", "a\\pug_1 1 2 3", "C:pug_1 1 2 3", 'a"pug_1 1 2 3', "pug\x1b_1 1 2 3"),
        *("../pug", "/pug", "a\\pug", "C:pug", 'a"pug', "pug\x1b", ".pug", "..", "x" * 241),
    ],
)
def test_a_line_that_is_none(line: str) -> None:
    with pytest.raises(ValueError):
        Entry.parse(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("pug_1 1 2", "3 fields in place of NAME or NAME CLASS SPECIES BREED"),
        ("pug_1 1 2 3 4", "5 fields in place of NAME or NAME CLASS SPECIES BREED"),
        ("pug/1", "'pug/1' is not the name of a photograph"),
        ("pug1 1 2 3", "'pug1' is not of the form Breed_123"),
        ("pug_1 1 3 1", "species '3' is not 1 or 2"),
    ],
)
def test_the_reason_says_what_is_wrong_with_a_line(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Entry.parse(line)


@pytest.mark.parametrize("letter", ["x", "宠"])
def test_a_name_may_be_as_long_as_a_file_system_allows(letter: str) -> None:
    """240 bytes, and a letter may take three."""
    breed = letter * (238 // len(letter.encode())) + "x" * (238 % len(letter.encode()))
    assert Entry.parse(f"{breed}_1 1 2 3").breed == breed
    with pytest.raises(ValueError, match="longer than the name of a file can be"):
        Entry.parse(f"{breed}_12 1 2 3")


@pytest.mark.parametrize("line", ["pug_1 1 2 3", " pug_1\t1  2 3 "])
def test_the_third_field_is_the_species(line: str) -> None:
    assert Entry.parse(line) == ("pug_1", "pug", "dog")
    assert Entry.parse("pug_1 2 1 2").species == "cat"


@pytest.mark.parametrize("line", ["IMG-0012", " pug_1 ", "宠物", "a.b"])
def test_a_name_alone_says_nothing_of_breed_and_species(line: str) -> None:
    assert Entry.parse(line) == (line.strip(), "", "")


@fault("Input", "a line of a list that is none", "refused with the reason")
@given(st.text(max_size=60))
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        entry = Entry.parse(line)
    except ValueError:
        return
    assert entry.name.startswith(entry.breed) and entry.species in ("cat", "dog", "")
    assert bool(entry.breed) == bool(entry.species) == (len(line.split()) == 4)
    assert Path("folder", entry.name).parent == Path("folder")


@fault("Input", "lists with comments, blank lines, a byte order mark or Windows line ends", "read")
def test_a_list_without_comments_and_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes("\ufeff#Image CLASS-ID\r\npug_1 1 2 3\r\n\r\n  \npug_2 1 2 3".encode())
    assert read_list(file) == ["pug_1 1 2 3", "pug_2 1 2 3"]


def lists(folder: Path, **lines: str) -> Path:
    for name, text in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(text), encoding="utf-8")
    return folder


def test_the_lines_of_a_split_are_those_of_the_courses_rule_or_of_own_lists(tmp_path: Path) -> None:
    own = lists(tmp_path, train="abc", val="de", test="f")
    assert [read_split(own, split) for split in SPLITS] == [["a", "b", "c"], ["d", "e"], ["f"]]
    both = lists(own, trainval="klmnopqrstuvw")
    assert [read_split(both, split) for split in SPLITS] == [list("lmnopqrstvw"), ["k", "u"], ["f"]]


@pytest.mark.parametrize(("gone", "missing"), [("train", "trainval.txt"), ("test", "test.txt")])
def test_a_list_that_is_not_there_is_named(tmp_path: Path, gone: str, missing: str) -> None:
    own = lists(tmp_path, train="abc", val="de", test="f")
    (own / f"{gone}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        read_split(own, gone)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(1, 4, (5, 8, 8, 4), dtype=np.uint8)
    np.save(tmp_path / "train.npy", pixels)
    return tmp_path


def test_the_cached_split_opens_without_a_copy(cache: Path) -> None:
    dataset = SimpleOxfordPetDataset(cache, "train")
    assert isinstance(dataset.pixels, np.memmap)
    tensor = dataset.tensor()
    assert tensor.shape == (5, 8, 8, 4) and tensor.dtype == torch.uint8
    assert tensor.data_ptr() == dataset.pixels.ctypes.data
    assert dataset[3]["image"].untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


def test_a_loop_over_the_split(cache: Path) -> None:
    stored = np.load(cache / "train.npy")
    dataset: Any = SimpleOxfordPetDataset(cache, "train")
    samples = list(dataset)
    assert len(dataset) == len(samples) == 5
    for pixels, sample in zip(stored, samples, strict=True):
        assert (sample["image"].numpy() == pixels[..., :3].transpose(2, 0, 1)).all()
        assert (sample["trimap"].numpy() == pixels[..., 3]).all()
        assert (sample["mask"].numpy() == (pixels[..., 3] != 2)).all()


@fault("Corruption", "the tensors, by code that writes into them", "the file stays as it was")
def test_writing_to_the_tensor_leaves_the_file_alone(cache: Path) -> None:
    before = (cache / "train.npy").read_bytes()
    SimpleOxfordPetDataset(cache, "train").tensor().fill_(0)
    assert (cache / "train.npy").read_bytes() == before


def test_it_works_in_a_data_loader(cache: Path) -> None:
    dataset: Any = SimpleOxfordPetDataset(cache, "train")
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(dataset, batch_size=2)
    assert [batch["image"].shape[0] for batch in loader] == [2, 2, 1]


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_there_is_no_sample_beyond_the_ends(cache: Path, index: int) -> None:
    dataset = SimpleOxfordPetDataset(cache, "train")
    assert dataset[0]["image"].shape == dataset[4]["image"].shape == (3, 8, 8)
    with pytest.raises(IndexError):
        dataset[index]


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((5, 8, 9, 4), np.uint8),
        np.zeros((5, 9, 8, 4), np.uint8),
        np.zeros((5, 8, 8, 3), np.uint8),
        np.zeros((5, 8, 8, 5), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 4, 4), np.uint8),
        np.zeros((1, 5, 8, 8, 4), np.uint8),
        np.zeros((5, 8, 8, 4, 1), np.uint8),
        np.zeros((0, 8, 8, 4), np.uint8),
        np.zeros((5, 8, 8, 4), np.int8),
        np.zeros((5, 8, 8, 4), np.float32),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_tensors_of_another_kind_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "train.npy", content)
    with pytest.raises(Refusal, match=r"train\.npy: damaged: not \(N, side, side, 4\) in uint8"):
        SimpleOxfordPetDataset(tmp_path, "train")


def test_no_tensors_and_torn_ones_are_told_apart(cache: Path) -> None:
    with pytest.raises(Refusal, match=r"valid\.npy: not found; preprocess makes it"):
        SimpleOxfordPetDataset(cache, "valid")
    content = (cache / "train.npy").read_bytes()
    for torn in (b"", content[:100], content[:-1], b"\x93NUMPY garbage"):
        (cache / "train.npy").write_bytes(torn)
        with pytest.raises(Refusal, match=r"train\.npy: damaged; remove it"):
            SimpleOxfordPetDataset(cache, "train")


def test_a_cached_square_has_16_to_2048_pixels_a_side() -> None:
    assert (min(SIDES), max(SIDES)) == (16, 2048)


@fault("Hostile", "a pickle in place of tensors", "refused; nothing is executed")
def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Refusal):
        SimpleOxfordPetDataset(tmp_path, "train")


@fault("Hostile", "a pickle in place of tensors", "refused; nothing is executed")
def test_code_in_place_of_tensors_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.npy").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(Refusal, match=r"train\.npy: damaged"):
        SimpleOxfordPetDataset(tmp_path, "train")
    assert not (tmp_path / "executed").exists()
