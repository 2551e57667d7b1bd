"""A source that changed since the download is said, in one line, and nothing else is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import download
import own
import preprocess
from commands.stale import stale
from pets import list_line, make_dataset, write_data_params
from photos import sheet
from reliability import fault
from results import make_results
from scripts import script

ROW = "a source folder that changed since the download"
ENDS = "one line of preprocess and of summary.py, with the command that takes it up"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sheet, "TILE", 32)


@pytest.fixture(params=["links", "copies"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hard links to the source's files, or copies."""

    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(download, "reflinked", lambda *_: False)
    if request.param == "copies":
        monkeypatch.setattr(os, "link", no_links)


def downloaded(source: str, **data: object) -> None:
    write_data_params(Path(), source=source, image_size=32, **data)
    download.main()


def rewritten(file: Path, change: Callable[[bytes], bytes]) -> None:
    """As editors and `cp` do it: a new file under the old name."""
    content = change(file.read_bytes())
    file.unlink()
    file.write_bytes(content)


def longer(file: Path) -> None:
    rewritten(file, lambda content: content + b"x")


def of_the_same_size(file: Path) -> None:
    rewritten(file, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, (2e9, 2e9))


def touched(file: Path) -> None:
    rewritten(file, lambda content: content)
    os.utime(file, (2e9, 2e9))


@fault("Input", ROW, ENDS)
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("how", [longer, of_the_same_size, Path.unlink])
@pytest.mark.parametrize("file", ["images/pug_4.jpg", "annotations/trimaps/pug_4.png"])
def test_a_changed_file_is_said(how: Callable[[Path], object], file: str) -> None:
    make_dataset(Path("source"), trainval=12, test=4)
    downloaded("source")
    assert stale() is None
    how(Path("source") / file)
    assert stale() == (
        f"source: changed since the download: 1, such as {file}; `dvc repro --force download`, then `dvc repro`, "
        "takes them up"
    )
    download.main()
    assert stale() is None


@pytest.mark.usefixtures("shared")
def test_a_file_that_was_only_written_again_is_not() -> None:
    make_dataset(Path("source"), trainval=12, test=4)
    downloaded("source")
    for file in Path("source").rglob("*.*g"):
        touched(file)
    assert stale() is None


@fault("Input", ROW, ENDS)
def test_a_line_added_to_a_list_and_its_photograph_are_said() -> None:
    make_dataset(Path("source"), trainval=12, test=4)
    downloaded("source")
    shutil.copyfile("source/images/pug_4.jpg", "source/images/pug_20.jpg")
    assert stale() is None, "in no list"
    with Path("source/annotations/test.txt").open("a", encoding="utf-8") as file:
        file.write(list_line(20) + "\n")
    assert (stale() or "").startswith("source: changed since the download: 2, such as annotations/test.txt; ")


@fault("Input", ROW, ENDS)
@pytest.mark.parametrize("change", ["mask", "surplus", "photograph", "gone"])
def test_images_and_masks(change: str) -> None:
    source = own.make_source(Path("own"))
    downloaded("own")
    assert stale() is None
    mask = source / "masks/IMG-002.png"
    for file in source.rglob("*.png"):
        touched(file)
    assert stale() is None
    if change == "mask":
        Image.new("L", (48, 48), 255).save(mask)
        os.utime(mask, (0, 0))  # as an archive may leave it
        said = "1, such as annotations/trimaps/IMG-002.png"
    elif change == "gone":
        mask.unlink()
        said = "1, such as annotations/trimaps/IMG-002.png"
    elif change == "photograph":
        shutil.copyfile(source / "images/IMG-000.JPG", source / "images/IMG-100.JPG")
        shutil.copyfile(source / "masks/IMG-000.png", source / "masks/IMG-100.png")
        said = "3, such as annotations/trainval.txt"
    else:
        shutil.copyfile(mask, source / "masks/left.png")
        assert stale() is None
        return
    assert f"own: changed since the download: {said}; " in (stale() or "")
    download.main()
    assert stale() is None


@fault("Input", ROW, ENDS)
@pytest.mark.parametrize("packed", [False, True])
def test_other_lists(packed: bool) -> None:
    """Also where the photographs come from elsewhere, as long as nothing else chooses among them."""
    make_dataset(Path("source"), trainval=12, test=4)
    lists = own.write_lists(Path("lists"), train=["pug_4", "# x", "Birman_3.jpg"], val=["pug_8"], test=["pug_12"])
    downloaded("source", lists="lists")
    if packed:
        write_data_params(Path(), source="oxford", lists="lists")
    assert stale() is None
    own.write_lists(lists, train=["pug_4"])
    where = "lists: changed since the download: 1, such as train.txt; "
    assert (stale() or "").startswith(
        where if packed else "source: changed since the download: 3, such as annotations/"
    )


@pytest.mark.parametrize("source", ["sample", "oxford", "https://example.org/pets", "nowhere", "a\0b", "~nobody/x"])
def test_other_sources_have_nothing_to_say(source: str) -> None:
    make_dataset(download.DATASET, trainval=4, test=2)
    write_data_params(Path(), source=source)
    assert stale() is None


def test_without_a_dataset_or_parameters_there_is_nothing_to_say() -> None:
    make_dataset(Path("source"), trainval=4, test=2)
    write_data_params(Path(), source="source")
    assert stale() is None
    make_dataset(download.DATASET, trainval=4, test=1)
    assert stale()
    Path("params.yaml").write_text("data: {source: [}")
    assert stale() is None
    Path("params.yaml").unlink()
    assert stale() is None


@fault("Input", "a source folder that lost its lists since the download", "one line; the stage goes on")
def test_a_source_that_cannot_be_taken_up_any_more_is_said() -> None:
    make_dataset(Path("source"), trainval=12, test=4)
    downloaded("source")
    Path("source/annotations/test.txt").unlink()
    assert (stale() or "").startswith("source: changed since the download, and cannot be taken up: source/annotations/")


def test_own_lists_that_cannot_be_taken_up_any_more_are_named() -> None:
    """Of archives, only they are compared."""
    make_dataset(Path("source"), trainval=12, test=4)
    lists = own.write_lists(Path("lists"), train=["pug_4"], val=["pug_8"], test=["pug_12"])
    downloaded("source", lists="lists")
    write_data_params(Path(), source="oxford", lists="lists")
    (lists / "val.txt").unlink()
    assert (stale() or "").startswith("lists: changed since the download, and cannot be taken up: lists/val.txt")


@fault("Input", ROW, ENDS)
def test_preprocess_and_summary_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset(Path("source"), trainval=12, test=4)
    make_results(Path())
    downloaded("source")
    preprocess.main()
    assert "changed since" not in capsys.readouterr().out + script("summary").out
    longer(Path("source/images/pug_4.jpg"))
    said = "source: changed since the download: 1, such as images/pug_4.jpg; `dvc repro --force download`"
    preprocess.main()
    assert said in capsys.readouterr().out
    assert said in script("summary").out
