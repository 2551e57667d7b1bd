"""The stage download: every kind of source ends in the same dataset, or in one line and nothing."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import download
from misbehaving import Request, serving
from oxford_pet import read_list
from pets import make_dataset, write_data_params, write_lists
from reliability import fault
from source import fetch, sample
from utils import Refusal

TREE = dict[str, bytes]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def source() -> Path:
    folder = make_dataset(Path("source"), trainval=12, test=6)
    (folder / "images" / "Abyssinian_99.jpg").write_bytes(b"in no list")
    (folder / "images" / "Abyssinian_1.mat").write_bytes(b"stray")
    (folder / "annotations" / "trimaps" / "._Abyssinian_1.png").write_bytes(b"stray")
    return folder


def pack(source: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    for name in download.ARCHIVES:
        with tarfile.open(folder / name, "w:gz") as tar:
            tar.add(source / name.split(".")[0], name.split(".")[0])
    return {name: (folder / name).read_bytes() for name in download.ARCHIVES}


def sums_of(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.md5(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()


def downloaded(source: str | Path, **data: object) -> TREE:
    write_data_params(Path(), source=str(source), **data)
    download.main()
    assert not list(Path("dataset").glob(".*"))
    return tree(download.DATASET)


def refused(source: str | Path, **data: object) -> str:
    """Why; the dataset there was before stays as it was, and nothing new stands beside it."""
    make_dataset(download.DATASET, trainval=1, test=1)
    before = tree(Path("dataset"))
    write_data_params(Path(), source=str(source), **data)
    with pytest.raises(Refusal) as caught:
        download.main()
    assert tree(Path("dataset")) == before
    return str(caught.value)


def tree(folder: Path) -> TREE:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wanted(source: Path) -> TREE:
    """What a source's dataset consists of: the lists and what they name."""
    lists = [read_list(source / "annotations" / name) for name in ("trainval.txt", "test.txt")]
    names = [line.split()[0] for lines in lists for line in lines]
    files = [f"annotations/{name}.txt" for name in ("list", "trainval", "test")]
    files += [f"images/{name}.jpg" for name in names] + [f"annotations/trimaps/{name}.png" for name in names]
    return {name: (source / name).read_bytes() for name in files}


def test_a_folder_already_unpacked(source: Path) -> None:
    assert downloaded(source) == wanted(source)


def test_the_sample_is_drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "draw", make_dataset)
    assert downloaded("sample") == wanted(make_dataset(Path("same")))


@pytest.mark.parametrize("with_sums", [False, True])
def test_a_folder_of_archives(source: Path, with_sums: bool) -> None:
    files = pack(source, Path("archives"))
    if with_sums:
        (Path("archives") / download.SUMS).write_bytes(sums_of(files))
    assert downloaded("archives") == wanted(source)
    assert not Path(".downloads").exists()


@pytest.mark.parametrize("with_sums", [False, True])
def test_archives_behind_an_address(source: Path, with_sums: bool) -> None:
    files = pack(source, Path("archives"))
    sums = {download.SUMS: sums_of(files)} if with_sums else {}
    with serving(files | sums) as server:
        assert downloaded(f"{server.url}/some/where/") == wanted(source)
        asked = len(server.paths)
        downloaded(f"{server.url}/some/where/", breeds=["pug"])
        assert len(server.paths) == asked, "other breeds are no reason to download again"


@fault("Corruption", "a downloaded archive, in .downloads", "fetched again")
def test_an_archive_damaged_in_the_cache_is_fetched_again(source: Path) -> None:
    with serving(pack(source, Path("archives"))) as server:
        downloaded(server.url)
        (cached,) = Path(".downloads").glob("*/images.tar.gz")
        cached.write_bytes(cached.read_bytes()[:-50])
        assert downloaded(server.url) == wanted(source)


@fault("Input", "a page in place of the checksums", "as if there were none")
def test_a_page_in_place_of_the_checksums_means_there_are_none(source: Path) -> None:
    def behave(request: Request) -> None:
        request.answer(200, b"<html>Start page</html>") if request.path.endswith(".txt") else request.give()

    with serving(pack(source, Path("archives")), behave) as server:
        assert downloaded(server.url) == wanted(source)


@fault("Input", "an archive that does not fit its checksums", "one line; never unpacked")
def test_a_wrong_archive_behind_an_address_is_never_unpacked(source: Path) -> None:
    files = pack(source, Path("archives"))
    sums = sums_of(files | {"images.tar.gz": b"something else"})
    with serving(files | {download.SUMS: sums}) as server:
        assert "images.tar.gz" in refused(server.url)
    assert not list(Path(".downloads").glob("*/images.tar.gz"))


def test_the_official_archives_from_the_second_mirror(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pack(source, Path("archives"))
    published = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    with serving({}) as empty, serving(files) as full:
        monkeypatch.setattr(download, "MIRRORS", (empty.url, full.url))
        monkeypatch.setattr(download, "PUBLISHED_MD5", published)
        assert downloaded("oxford") == wanted(source)
        asked = len(full.paths)
        downloaded("oxford", breeds=["pug"])
        assert len(full.paths) == asked


def test_the_published_archives_are_the_ones_asked_for() -> None:
    assert download.MIRRORS[0] == "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
    assert download.PUBLISHED_MD5 == {
        "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
        "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
    }


def test_some_breeds_only(source: Path) -> None:
    files = downloaded(source, breeds=["pug", "Birman"])
    chosen = {name for name in wanted(source) if "pug" in name or "Birman" in name or name.endswith(".txt")}
    assert files.keys() == chosen
    for split in ("trainval", "test"):
        before = read_list(source / f"annotations/{split}.txt")
        after = read_list(download.DATASET / f"annotations/{split}.txt")
        assert after == [line for line in before if line.startswith(("pug", "Birman"))]


@fault("Input", "a breed that is in no list", "one line with the nearest name, or all names")
@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Pug", "pug"), ("PUG", "pug"), ("birmann", "Birman"), ("American Bulldog", "american_bulldog")],
)
def test_an_unknown_breed_names_the_nearest(source: Path, typed: str, meant: str) -> None:
    assert f"did you mean {meant}?" in refused(source, breeds=["pug", typed])


@fault("Input", "a breed that is in no list", "one line with the nearest name, or all names")
def test_a_breed_like_no_other_names_them_all(source: Path) -> None:
    assert "known here: Abyssinian, Birman, american_bulldog, pug" in refused(source, breeds=["zebra"])


def spoil_sums(folder: Path) -> None:
    (folder / download.SUMS).write_text(f"{'0' * 32}  images.tar.gz\n")


def spoil_sums_format(folder: Path) -> None:
    (folder / download.SUMS).write_text("images.tar.gz is fine\n")


def cut_images(folder: Path) -> None:
    archive = folder / "images.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])


def swap_archives(folder: Path) -> None:
    (folder / "annotations.tar.gz").replace(folder / "images.tar.gz")
    (folder / "annotations.tar.gz").write_bytes((folder / "images.tar.gz").read_bytes())


def drop_images(folder: Path) -> None:
    (folder / "images.tar.gz").unlink()


@fault(
    "Input", "archives in a folder: other checksums, cut, swapped, one missing", "one line; the dataset of before stays"
)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_sums, "images.tar.gz: its MD5 is"),
        (spoil_sums_format, "is not what md5sum writes"),
        (cut_images, "images.tar.gz: a damaged gzip archive"),
        (swap_archives, "holds no folder `images`"),
        (drop_images, "does not hold annotations.tar.gz and images.tar.gz"),
    ],
)
def test_spoiled_archives_in_a_folder(source: Path, spoil: Callable[[Path], None], reason: str) -> None:
    pack(source, Path("archives"))
    spoil(Path("archives"))
    assert reason in refused("archives")


@fault("Input", "a source without its lists", "one line; the dataset of before stays")
@pytest.mark.parametrize("missing", ["trainval.txt", "test.txt"])
def test_a_missing_list(source: Path, missing: str) -> None:
    (source / "annotations" / missing).unlink()
    assert f"{missing}: is missing" in refused(source)


@fault("Input", "a source's list that is not text", "one line; the dataset of before stays")
def test_a_list_in_bytes_of_another_kind(source: Path) -> None:
    (source / "annotations" / "test.txt").write_bytes(b"\xff\xfe\x00")
    assert "is not text" in refused(source)


@fault("Input", "a source that is not there, or is the dataset itself", "one line; the dataset of before stays")
def test_a_source_that_is_not_there() -> None:
    assert "no such folder" in refused("nowhere")


@fault("Input", "a source that is not there, or is the dataset itself", "one line; the dataset of before stays")
def test_the_dataset_as_its_own_source() -> None:
    assert "where the dataset is written to" in refused(download.DATASET)


@fault(
    "Input", "a source that lacks photographs of its lists", "left to preprocess, which names all that is wrong at once"
)
def test_files_that_lists_name_in_vain_are_left_to_preprocess(source: Path) -> None:
    (source / "images" / "pug_4.jpg").unlink()
    assert "images/pug_4.jpg" not in downloaded(source)


@fault("Hostile", "a list that names files outside of the source", "they are not read")
def test_a_list_cannot_reach_out_of_the_source(source: Path) -> None:
    (source / "secret_1.jpg").write_bytes(b"secret")
    lines = [*read_list(source / "annotations/trainval.txt"), "../secret_1 1 1 1", "/etc/passwd_1 1 1 1", "? ? ?"]
    write_lists(source, trainval=lines, test=read_list(source / "annotations/test.txt"))
    files = downloaded(source, breeds=["pug"])
    assert not any("secret" in name or "passwd" in name for name in files)
    assert b"? ? ?" in files["annotations/trainval.txt"], "kept, so that preprocess names it"


def test_files_of_a_local_folder_take_no_second_room(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = source / "images/pug_4.jpg"
    try:
        os.link(original, "a link")
    except OSError as error:
        pytest.skip(f"no links on this file system: {error}")
    monkeypatch.setattr(download, "reflinked", lambda *_: False)
    downloaded(source)
    assert original.samefile(download.DATASET / "images/pug_4.jpg")


@fault("Disk", "a file system without links", "files are copied")
def test_where_nothing_can_be_shared_files_are_copied(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert downloaded(source) == wanted(source)


def test_a_new_source_leaves_nothing_of_the_old(source: Path) -> None:
    downloaded(source)
    other = make_dataset(Path("other"), trainval=4, test=4, seed=1)
    assert downloaded(other) == wanted(other)


def test_a_file_may_have_any_suffix_of_a_picture_in_any_case(source: Path) -> None:
    """What it is follows from its content."""
    before = wanted(source)
    images, trimaps = source / "images", source / "annotations/trimaps"
    names = [line.split()[0] for line in read_list(source / "annotations/trainval.txt")]
    for name, suffix in zip(names, (".JPG", ".jpeg", ".png", ".WebP"), strict=False):
        (images / f"{name}.jpg").rename(images / f"{name}{suffix}")
    (trimaps / f"{names[0]}.png").rename(trimaps / f"{names[0]}.PNG")
    (images / f"{names[5]}.png").write_bytes(b"beside the usual one")
    (images / f"{names[6]}.mat").write_bytes(b"no picture")
    assert downloaded(source) == before
