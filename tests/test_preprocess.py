"""The stage preprocess: the right tensors, or every offender with its reason and nothing written."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import download
import own
import preprocess
from oxford_pet import SPLITS, read_list, split_trainval
from pets import list_line, make_dataset, write_data_params, write_lists
from photos import sheet
from reliability import fault
from utils import Refusal

SIDE = 32


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sheet, "TILE", 32)  # its PNG is what takes the time here


@pytest.fixture
def dataset() -> Path:
    return make_dataset(preprocess.DATASET, trainval=22, test=6)


def photograph(dataset: Path, name: str) -> Path:
    return dataset / "images" / f"{name}.jpg"


def trimap(dataset: Path, name: str) -> Path:
    return dataset / "annotations" / "trimaps" / f"{name}.png"


def preprocessed(**data: object) -> dict[str, np.ndarray]:
    write_data_params(Path(), image_size=SIDE, **data)
    preprocess.main()
    return {split: np.load(preprocess.CACHE / f"{split}.npy", allow_pickle=False) for split in SPLITS}


def refused(**data: object) -> str:
    write_data_params(Path(), image_size=SIDE, **data)
    with pytest.raises(Refusal) as caught:
        preprocess.main()
    files = {path.as_posix() for path in Path().rglob("*") if path.is_file() and preprocess.DATASET not in path.parents}
    assert files == {"params.yaml"}
    return str(caught.value)


def names(split: str) -> list[str]:
    return [row["name"] for row in table(split)]


def table(split: str) -> list[dict[str, str]]:
    with (preprocess.CACHE / f"{split}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def metrics() -> dict[str, Any]:
    return json.loads(preprocess.METRICS.read_text(encoding="utf-8"))


def listed(split: str) -> list[str]:
    return [line.split()[0] for line in read_list(preprocess.DATASET / "annotations" / f"{split}.txt")]


def test_every_pixel_is_where_it_belongs(dataset: Path) -> None:
    arrays = preprocessed()
    train, valid = split_trainval(listed("trainval"))
    for split, expected in {"train": train, "valid": valid, "test": listed("test")}.items():
        assert names(split) == expected
        assert arrays[split].shape == (len(expected), SIDE, SIDE, 4) and arrays[split].dtype == np.uint8
        for pixels, name, row in zip(arrays[split], expected, table(split), strict=True):
            with Image.open(photograph(dataset, name)) as image, Image.open(trimap(dataset, name)) as mask:
                assert (int(row["width"]), int(row["height"])) == image.size
                assert (pixels[..., :3] == np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))).all()
                assert (pixels[..., 3] == np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.NEAREST))).all()


@pytest.mark.usefixtures("dataset")
def test_the_numbers_are_those_of_the_arrays() -> None:
    arrays = preprocessed()
    found = {row["split"]: row for row in metrics()["splits"]}
    for split in SPLITS:
        rows = table(split)
        assert found[split]["images"] == len(arrays[split]) == len(rows)
        assert found[split]["cats"] == sum(row["species"] == "cat" for row in rows)
        assert found[split]["dogs"] == sum(row["species"] == "dog" for row in rows)
        assert found[split]["breeds"] == len({row["breed"] for row in rows})
        assert found[split]["foreground"] == round(float((arrays[split][..., 3] != 2).mean()), 5)
    assert (found["all"]["images"], found["all"]["breeds"], metrics()["bad"]) == (28, 4, 0)


@pytest.mark.usefixtures("dataset")
def test_a_second_run_and_another_number_of_threads_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def outputs() -> dict[str, bytes]:
        preprocessed()
        folders = (preprocess.CACHE, preprocess.METRICS.parent, preprocess.SHEET.parent)
        return {str(path): path.read_bytes() for folder in folders for path in folder.iterdir()}

    first = outputs()
    assert len(first) == 8
    for count in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert outputs() == first


@pytest.mark.usefixtures("dataset")
def test_the_sheet_shows_every_split() -> None:
    preprocessed()
    with Image.open(preprocess.SHEET) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    for part in np.array_split(pixels, 3):
        assert ((part == (255, 220, 0)).all(-1)).sum() > 100, "no outlines here"


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_limit_keeps_the_first_of_each_split(limit: int) -> None:
    preprocessed()
    everything = {split: names(split) for split in SPLITS}
    preprocessed(limit=limit)
    assert {split: names(split) for split in SPLITS} == {split: all_[:limit] for split, all_ in everything.items()}


def as_gif(dataset: Path, name: str) -> None:
    with Image.open(photograph(dataset, name)) as image:
        image.quantize(250).save(photograph(dataset, name), "GIF")


def as_rgba(dataset: Path, name: str) -> None:
    with Image.open(photograph(dataset, name)) as image:
        image.convert("RGBA").save(photograph(dataset, name), "PNG")


def as_palette(dataset: Path, name: str) -> None:
    with Image.open(photograph(dataset, name)) as image:
        image.quantize(250).save(photograph(dataset, name), "PNG")


def as_cmyk(dataset: Path, name: str) -> None:
    with Image.open(photograph(dataset, name)) as image:
        image.convert("CMYK").save(photograph(dataset, name), "JPEG", quality=95)


def with_exif(dataset: Path, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photograph(dataset, name)) as image:
        image.save(photograph(dataset, name), "JPEG", quality=95, exif=exif)


def with_exif_and_a_mask_of_what_is_shown(dataset: Path, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter to the left of what is shown
    with Image.open(photograph(dataset, name)) as image:
        image.rotate(90, expand=True).save(photograph(dataset, name), "JPEG", quality=95, exif=exif)


def with_junk(dataset: Path, name: str) -> None:
    photograph(dataset, name).write_bytes(photograph(dataset, name).read_bytes() + b"\xff\xd8 junk" * 99)


def with_a_palette_mask(dataset: Path, name: str) -> None:
    with Image.open(trimap(dataset, name)) as mask:
        indexed = Image.frombytes("P", mask.size, mask.tobytes())
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    indexed.save(trimap(dataset, name))


HARMLESS = [as_gif, as_rgba, as_palette, as_cmyk, with_exif, with_exif_and_a_mask_of_what_is_shown, with_junk]


@fault(
    "Input",
    "photographs as GIF, PNG, CMYK or grey, with a palette, EXIF data or junk behind them; palette masks",
    "used; the mask is the same to the pixel",
)
@pytest.mark.parametrize("oddity", [*HARMLESS, with_a_palette_mask])
def test_an_oddity_changes_next_to_nothing(dataset: Path, oddity: Callable[[Path, str], None]) -> None:
    name = "Abyssinian_1"  # wider than high, and the first of the validation split
    plain = preprocessed()["valid"][0].astype(float)
    oddity(dataset, name)
    odd = preprocessed()["valid"][0].astype(float)
    assert (odd[..., 3] == plain[..., 3]).all(), "the mask moved"
    assert np.abs(odd - plain)[..., :3].mean() < 10, "the photograph is another one"


@fault(
    "Input",
    "photographs as GIF, PNG, CMYK or grey, with a palette, EXIF data or junk behind them; palette masks",
    "used; the mask is the same to the pixel",
)
def test_a_grey_photograph_is_grey_in_all_channels(dataset: Path) -> None:
    path = photograph(dataset, "Abyssinian_1")
    with Image.open(path) as image:
        image.convert("L").save(path, "JPEG")
    red, green, blue, _ = np.moveaxis(preprocessed()["valid"][0], -1, 0)
    assert (red == green).all() and (green == blue).all()


@fault("Numbers", "a mask without a pet", "used as it is")
def test_an_all_background_mask_is_used(dataset: Path) -> None:
    with Image.open(trimap(dataset, "Abyssinian_1")) as mask:
        Image.new("L", mask.size, 2).save(trimap(dataset, "Abyssinian_1"))
    assert (preprocessed()["valid"][0][..., 3] == 2).all()


def without_photograph(dataset: Path, name: str) -> None:
    photograph(dataset, name).unlink()


def without_mask(dataset: Path, name: str) -> None:
    trimap(dataset, name).unlink()


def cut(dataset: Path, name: str) -> None:
    content = photograph(dataset, name).read_bytes()
    photograph(dataset, name).write_bytes(content[: len(content) // 2])


def no_photograph(dataset: Path, name: str) -> None:
    photograph(dataset, name).write_bytes(b"<html>404</html>")


def small_mask(dataset: Path, name: str) -> None:
    with Image.open(trimap(dataset, name)) as mask:
        mask.resize((20, 20), Image.Resampling.NEAREST).save(trimap(dataset, name))


def mask_of_other_values(dataset: Path, name: str) -> None:
    with Image.open(trimap(dataset, name)) as mask:
        mask.point(lambda value: 0 if value == 2 else 255).save(trimap(dataset, name))


def coloured_mask(dataset: Path, name: str) -> None:
    with Image.open(trimap(dataset, name)) as mask:
        mask.convert("RGB").save(trimap(dataset, name))


def cut_mask(dataset: Path, name: str) -> None:
    content = trimap(dataset, name).read_bytes()
    trimap(dataset, name).write_bytes(content[: len(content) // 2])


OFFENCES: dict[Callable[[Path, str], None], str] = {
    without_photograph: "photograph is missing",
    without_mask: "mask is missing",
    cut: "photograph cannot be read",
    no_photograph: "photograph is not a picture",
    small_mask: "photograph is 48 x 48, but its mask is 20 x 20",
    mask_of_other_values: "mask holds 0, 255 beside 1, 2 and 3",
    coloured_mask: "mask has pixels of type RGB",
    cut_mask: "mask cannot be read",
}


def offender(offence: Callable[[Path, str], None]) -> Any:
    """A parameter that is a row in the table of faults."""
    what = f"a photograph of the lists: {offence.__name__.replace('_', ' ')}"
    return pytest.param(offence, marks=fault("Input", what, f"`{OFFENCES[offence]}`, or left out where that is chosen"))


@pytest.mark.parametrize("offence", [offender(offence) for offence in OFFENCES])
def test_an_offender_is_named_or_left_out(dataset: Path, offence: Callable[[Path, str], None]) -> None:
    everything = preprocessed()
    before = names("train")
    shutil.rmtree(preprocess.CACHE)
    shutil.rmtree("metrics")
    shutil.rmtree("plots")
    offence(dataset, before[3])
    said = refused()
    assert f"{before[3]}: {OFFENCES[offence]}" in said and "1 cannot be used" in said
    arrays = preprocessed(on_bad="skip")
    assert names("train") == before[:3] + before[4:]
    assert (arrays["train"] == np.delete(everything["train"], 3, axis=0)).all()
    assert all((arrays[split] == everything[split]).all() for split in ("valid", "test"))
    assert metrics()["bad"] == 1 and f"{before[3]}: {OFFENCES[offence]}" in metrics()["bad_files"][0]


@fault("Input", "many files that cannot be used", "all are listed, one line counts them")
def test_all_offenders_are_listed_at_once(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offenders = {}
    for offence, name in zip(OFFENCES, [*listed("trainval")[:5], *listed("test")[:3]], strict=True):
        offence(dataset, name)
        offenders[name] = OFFENCES[offence]
    said = refused()
    assert "8 cannot be used" in said and "and 3 more" in said and "\n" not in said
    lines = capsys.readouterr().err.splitlines()
    for name, reason in offenders.items():
        assert any(line.startswith(f"{name}: ") and reason in line for line in lines)


@fault("Input", "many files that cannot be used", "all are listed, one line counts them")
@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, "; and 1 more, listed above")])
def test_the_one_line_names_five(dataset: Path, count: int, more: str) -> None:
    for name in listed("test")[:count]:
        without_mask(dataset, name)
    said = refused()
    assert said.count("mask is missing") == 5
    assert f"mask is missing{more}. Repair the source" in said


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize("limit", [0, 2])
def test_room_is_asked_for_all_tensors(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Before anything is decoded: four bytes a pixel of 22 and 6 photographs, or of two of each split."""

    def too_little(_: Path, size: int) -> None:
        raise Refusal(f"{size} bytes are needed")

    monkeypatch.setattr(preprocess, "require_room", too_little)
    assert refused(limit=limit) == f"{(6 if limit else 28) * SIDE * SIDE * 4} bytes are needed"


@pytest.mark.parametrize(("cores", "ahead"), [(1, 4), (2, 8), (None, 4)])
def test_items_are_worked_on_a_few_ahead_and_come_in_order(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, ahead: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = preprocess.in_order(lambda number: number**2, items())
    assert next(results) == (0, 0)
    assert len(taken) == ahead + 1
    assert list(results) == [(number, number**2) for number in range(1, 50)]


@fault("Input", "a file that cannot be used, after a run that was well", "the tensors of that run stay")
def test_a_failure_leaves_the_last_result_alone(dataset: Path) -> None:
    preprocessed()
    before = {path: path.read_bytes() for path in preprocess.CACHE.iterdir()}
    without_mask(dataset, listed("test")[0])
    with pytest.raises(Refusal):
        preprocess.main()
    assert {path: path.read_bytes() for path in preprocess.CACHE.iterdir()} == before


@fault("Input", "a photograph in both lists", "named; or used for testing only")
def test_a_name_in_train_and_test_stays_in_test(dataset: Path) -> None:
    train, test = read_list(dataset / "annotations/trainval.txt"), read_list(dataset / "annotations/test.txt")
    write_lists(dataset, trainval=[*train, test[2]], test=test)
    name = test[2].split()[0]
    assert f"{name} in train: is listed before, in test" in refused()
    preprocessed(on_bad="skip")
    assert name in names("test") and name not in names("train") + names("valid")
    assert metrics()["bad"] == 1


@fault("Input", "a photograph that is listed twice", "named; or used once")
def test_a_name_listed_twice_counts_once(dataset: Path) -> None:
    train, test = read_list(dataset / "annotations/trainval.txt"), read_list(dataset / "annotations/test.txt")
    write_lists(dataset, trainval=[*train, train[1]], test=[*test, test[0]])
    assert "2 cannot be used" in refused()
    preprocessed(on_bad="skip")
    everything = names("train") + names("valid") + names("test")
    assert sorted(everything) == sorted({*everything}) and len(everything) == 28


@fault("Input", "a photograph that is listed twice", "named; or used once")
@given(st.lists(st.integers(1, 12), max_size=40), st.lists(st.integers(1, 12), max_size=10))
def test_no_name_ever_stands_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory, trainval: list[int], test: list[int]
) -> None:
    annotations = tmp_path_factory.mktemp("lists") / "annotations"
    annotations.mkdir()
    write_lists(annotations.parent, trainval=[list_line(n) for n in trainval], test=[list_line(n) for n in test])
    splits, bad = preprocess.read_splits(annotations)
    kept = [entry.name for entries in splits.values() for entry in entries]
    assert len(kept) == len(set(kept)) == len({*trainval, *test})
    assert {entry.name for entry in splits["test"]} == {list_line(n).split()[0] for n in test}
    assert bool(bad) == (len(kept) < len(trainval) + len(test))


def a_mask_of_another_size(source: Path) -> None:
    Image.new("L", (20, 30), 255).save(source / "masks/IMG-002.png")


def no_mask(source: Path) -> None:
    (source / "masks/IMG-002.png").unlink()


def no_photograph_of_a_mask(source: Path) -> None:
    own.write_lists(source / "annotations", trainval=own.names()[3:], test=own.names()[:3])
    (source / "images/IMG-002.jpeg").unlink()


def a_grey_mask(source: Path) -> None:
    Image.linear_gradient("L").resize((48, 48)).save(source / "masks/IMG-002.png")


def a_mask_of_16_bits(source: Path) -> None:
    Image.fromarray(np.full((48, 48), 65535, np.uint16)).save(source / "masks/IMG-002.png")


def half_a_mask(source: Path) -> None:
    content = (source / "masks/IMG-002.png").read_bytes()
    (source / "masks/IMG-002.png").write_bytes(content[: len(content) // 2])


OWN_OFFENCES: dict[Callable[[Path], None], str] = {
    a_mask_of_another_size: "photograph is 48 x 48, but its mask is 20 x 30",
    no_mask: "mask is missing",
    no_photograph_of_a_mask: "photograph is missing",
    a_grey_mask: "beside 1, 2 and 3",
    a_mask_of_16_bits: "mask has pixels of type I;16",
    half_a_mask: "mask cannot be read",
}


@pytest.mark.parametrize(
    "offence",
    [
        pytest.param(
            offence,
            marks=fault(
                "Input",
                f"a source of images/ and masks/ with {offence.__name__.replace('_', ' ')}",
                f"`{OWN_OFFENCES[offence]}`, or left out where that is chosen",
            ),
        )
        for offence in OWN_OFFENCES
    ],
)
def test_an_offender_among_own_masks_is_named_or_left_out(offence: Callable[[Path], None]) -> None:
    offence(own.make_source(Path("own")))
    write_data_params(Path(), source="own")
    download.main()
    with pytest.raises(Refusal, match=f"1 cannot be used: IMG-002: .*{OWN_OFFENCES[offence]}"):
        preprocess.main()
    preprocessed(on_bad="skip")
    everything = names("train") + names("valid") + names("test")
    assert sorted(everything) == [name for name in own.names() if name != "IMG-002"]


def test_photographs_and_masks_of_no_breed() -> None:
    """Split by the rule: every tenth for testing, then the course's rule for the others."""
    source = own.make_source(Path("own"))
    write_data_params(Path(), source="own")
    download.main()
    arrays = preprocessed()
    expected = own.names()
    assert names("test") == [expected[0], expected[10], expected[20]]
    others = [name for name in expected if name not in names("test")]
    assert names("valid") == [others[0], others[10], others[20]]
    assert names("train") == [name for name in others if name not in names("valid")]
    assert {(row["breed"], row["species"]) for split in SPLITS for row in table(split)} == {("", "")}
    assert {(row["breeds"], row["cats"], row["dogs"]) for row in metrics()["splits"]} == {(0, 0, 0)}
    for pixels, name in zip(arrays["train"], names("train"), strict=True):
        with Image.open(next((source / "masks").glob(f"{name}*"))) as mask:
            pet = np.asarray(mask.convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0
        assert (pixels[..., 3] == np.where(pet, 1, 2)).all()


def test_lists_of_ones_own_say_which_photograph_is_for_what(dataset: Path) -> None:
    own.write_lists(dataset / "annotations", train=["pug_4", "Birman_3"], val=["pug_8 4 2 2"], test=["Birman_7"])
    (dataset / "annotations/trainval.txt").unlink()
    preprocessed()
    assert [names(split) for split in SPLITS] == [["pug_4", "Birman_3"], ["pug_8"], ["Birman_7"]]
    assert [table(split)[0]["breed"] for split in SPLITS] == ["", "pug", ""]


@fault("Hostile", "lines of a list with paths and terminal escapes", "named, shown escaped; nothing is read")
def test_a_line_that_is_none_is_an_offender(dataset: Path) -> None:
    train, test = read_list(dataset / "annotations/trainval.txt"), read_list(dataset / "annotations/test.txt")
    write_lists(dataset, trainval=[*train, "../../pug_1 1 2 3"], test=[*test, "pug_1\x1b[2J"])
    said = refused()
    assert "'../../pug_1 1 2 3'" in said and "2 cannot be used" in said and "\x1b" not in said


@fault("Numbers", "a split of which no photograph is left", "one line; nothing is written")
@pytest.mark.parametrize(("trainval", "test", "empty"), [(20, 0, "test"), (1, 5, "train"), (0, 5, "train")])
def test_a_split_without_a_photograph(trainval: int, test: int, empty: str) -> None:
    make_dataset(preprocess.DATASET, trainval=trainval, test=test)
    assert f"not one photograph for {empty}" in refused(on_bad="skip")


@fault("Numbers", "a split of which no photograph is left", "one line; nothing is written")
def test_a_split_of_which_nothing_is_left(dataset: Path) -> None:
    for name in listed("test"):
        cut(dataset, name)
    assert "not one photograph for test" in refused(on_bad="skip")


@fault("Input", "no dataset", "one line says what makes it")
def test_without_a_dataset() -> None:
    assert "download" in refused()
