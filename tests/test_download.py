"""The stage download: every kind of source ends in the same dataset, or in one line and nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import download
import own
from misbehaving import Request, closed_port, serving
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


def by_hand(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both archives in the place where a download would put them, on a machine without a network."""
    files = pack(source, Path("archives"))
    published = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(download, "MIRRORS", (f"http://127.0.0.1:{closed_port()}",))
    monkeypatch.setattr(download, "PUBLISHED_MD5", published)
    return shutil.copytree(Path("archives"), Path(".downloads/oxford"))


def test_archives_put_there_by_hand_need_no_network(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand(source, monkeypatch)
    assert downloaded("oxford") == wanted(source)


@fault("Corruption", "an archive that was put into .downloads by hand is cut", "it is named, and asked for again")
def test_a_wrong_archive_put_there_by_hand_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = by_hand(source, monkeypatch) / "images.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-50])
    assert "images.tar.gz could not be downloaded" in refused("oxford")
    assert ".downloads/oxford/images.tar.gz: " in capsys.readouterr().out


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


@fault("Input", "a photograph under a suffix that is no picture's", "taken, and named: its content decides")
def test_a_photograph_under_an_unusual_suffix_is_taken_and_named(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = wanted(source)
    (source / "images/pug_4.jpg").rename(source / "images/pug_4.heic")
    (source / "images/pug_8.jpg").rename(source / "images/pug_8")
    assert downloaded(source) == before
    said = capsys.readouterr().err
    assert "source/images/pug_4.heic: not a usual suffix of a photograph; taken as it is" in said
    assert "source/images/pug_8: not a usual suffix" in said and said.count("\n") == 2


@fault("Input", "links in a source folder: to a photograph, to nothing, to itself", "followed; the others are missing")
def test_links_in_a_source(source: Path) -> None:
    before = wanted(source)
    images = source / "images"
    images.joinpath("pug_4.jpg").rename(source / "elsewhere")
    images.joinpath("pug_4.jpg").symlink_to(Path("../elsewhere"))
    for name, target in (("pug_8.jpg", "nowhere"), ("pug_12.jpg", "pug_12.jpg")):
        (images / name).unlink()
        (images / name).symlink_to(target)
        before.pop(f"images/{name}")
    found = downloaded(source)
    assert found == before
    assert not any(path.is_symlink() for path in download.DATASET.rglob("*"))


# --- lists of one's own -----------------------------------------------------------------------------------------------


def test_own_lists_stand_in_place_of_the_official_ones(source: Path) -> None:
    """With suffixes, with the official lines, and names alone; what the source knows of a name is taken over."""
    own.write_lists(
        Path("lists"),
        train=["pug_4", "# a comment", "Birman_3.jpg", "pug_8 9 2 9"],
        val=["american_bulldog_2.JPG", "Birman_11"],
        test=["pug_16", "Abyssinian_1"],
    )
    files = downloaded(source, lists="lists")
    texts = {name: content.decode() for name, content in files.items() if name.endswith(".txt")}
    assert texts == {
        "annotations/train.txt": "pug_4 4 2 2\n# a comment\nBirman_3 3 1 2\npug_8 9 2 9\n",
        "annotations/val.txt": "american_bulldog_2 2 2 1\nBirman_11 3 1 2\n",
        "annotations/test.txt": "pug_16 4 2 2\nAbyssinian_1 1 1 1\n",
    }
    chosen = {"pug_4", "Birman_3", "pug_8", "american_bulldog_2", "Birman_11", "pug_16", "Abyssinian_1"}
    assert {Path(name).stem for name in files if name.startswith("images")} == chosen
    assert len(files) == 3 + 2 * len(chosen)


def test_own_lists_may_be_limited_to_breeds(source: Path) -> None:
    own.write_lists(Path("lists"), train=["pug_4", "Birman_3"], val=["pug_8"], test=["pug_12", "Birman_7"])
    downloaded(source, lists="lists", breeds=["pug"])
    lists = {name: read_list(download.DATASET / f"annotations/{name}.txt") for name in ("train", "val", "test")}
    assert lists == {"train": ["pug_4 4 2 2"], "val": ["pug_8 4 2 2"], "test": ["pug_12 4 2 2"]}


def test_a_dataset_that_was_made_with_own_lists_is_a_source(source: Path) -> None:
    own.write_lists(Path("lists"), train=["pug_4"], val=["pug_8"], test=["pug_12"])
    first = downloaded(source, lists="lists")
    shutil.copytree(download.DATASET, "copy")
    assert downloaded("copy") == first


@fault("Input", "data.lists without a list, not text, or no folder", "one line; the dataset of before stays")
@pytest.mark.parametrize(
    ("lists", "reason"),
    [
        ("nowhere", "data.lists = nowhere: no such folder; leave it empty for the official lists"),
        ("params.yaml", "data.lists = params.yaml: no such folder"),
        ("lists", "lists/val.txt: is missing, and data.lists needs train.txt, val.txt, test.txt"),
        ("latin", "latin/test.txt: is not text in UTF-8"),
    ],
)
def test_lists_that_are_none(source: Path, lists: str, reason: str) -> None:
    (own.write_lists(Path("lists"), train=["pug_4"], val=[], test=["pug_8"]) / "val.txt").unlink()
    own.write_lists(Path("latin"), train=["pug_4"], val=["pug_8"], test=[]).joinpath("test.txt").write_bytes(b"\xe9")
    assert reason in refused(source, lists=lists)


@fault("Hostile", "names in data.lists with paths and terminal escapes", "not read; named by preprocess")
def test_own_lists_cannot_reach_out_of_the_source(source: Path) -> None:
    (source / "secret.jpg").write_bytes(b"secret")
    hostile = ["../secret", "/etc/passwd", "a\x1b[2J", "..", ".hidden", "x" * 300]
    own.write_lists(Path("lists"), train=["pug_4", *hostile], val=["pug_8"], test=["pug_12"])
    files = downloaded(source, lists="lists")
    assert {name for name in files if name.startswith("images")} == {f"images/pug_{n}.jpg" for n in (4, 8, 12)}
    assert b"../secret\n/etc/passwd" in files["annotations/train.txt"], "kept, so that preprocess names them"


# --- images/ and masks/ -----------------------------------------------------------------------------------------------


def test_images_and_masks_become_the_official_layout() -> None:
    source = own.make_source(Path("own"))
    files = downloaded(source)
    names = own.names()
    assert read_list(download.DATASET / "annotations/test.txt") == [names[0], names[10], names[20]]
    others = [name for name in names if name not in (names[0], names[10], names[20])]
    assert read_list(download.DATASET / "annotations/trainval.txt") == others
    assert {Path(name).stem for name in files if name.endswith(".jpg")} == {*names}
    for name in names:
        with Image.open(download.DATASET / f"annotations/trimaps/{name}.png") as trimap:
            pet = np.asarray(trimap)
        with Image.open(next((source / "masks").glob(f"{name}*"))) as mask:
            assert (pet == np.where(np.asarray(mask), 1, 2)).all()
    assert downloaded(source) == files


def test_images_and_masks_with_own_lists() -> None:
    source, names = own.make_source(Path("own")), own.names()
    own.write_lists(Path("lists"), train=names[3:9], val=[f"{names[0]}.png"], test=names[1:3])
    files = downloaded(source, lists="lists")
    assert read_list(download.DATASET / "annotations/val.txt") == [names[0]]
    assert {Path(name).stem for name in files if name.endswith(".jpg")} == {*names[:9]}


def test_spaces_in_names_become_underscores() -> None:
    """In lists, in names of photographs and in names of masks."""
    source = own.make_source(Path("own"))
    (source / "images/IMG-000.JPG").rename(source / "images/my  cat (1).JPG")
    (source / "masks/IMG-000.png").rename(source / "masks/my cat (1).png")
    (source / "images/IMG-001.png").rename(source / "images/rex 1 2 3.png")
    (source / "masks/IMG-001_mask.png").rename(source / "masks/rex 1 2 3_mask.png")
    files = downloaded(source)
    both = {f"images/{name}.jpg" for name in ("my_cat_(1)", "rex_1_2_3")}
    assert both <= files.keys() and "annotations/trimaps/my_cat_(1).png" in files
    assert "annotations/trimaps/rex_1_2_3.png" in files
    own.write_lists(Path("lists"), train=["my cat (1).JPG"], val=["rex 1 2 3"], test=["IMG-002", "Birman_1 1 1 1"])
    lists = {name: text for name, text in downloaded(source, lists="lists").items() if name.endswith(".txt")}
    assert lists == {
        "annotations/train.txt": b"my_cat_(1)\n",
        "annotations/val.txt": b"rex_1_2_3\n",
        "annotations/test.txt": b"IMG-002\nBirman_1 1 1 1\n",
    }


@fault("Input", "two photographs of one name with different suffixes", "one is used, the other named")
def test_a_photograph_with_the_name_of_another_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    source = own.make_source(Path("own"))
    photograph = (source / "images/IMG-000.JPG").read_bytes()
    (source / "images/IMG-000.bmp").write_bytes(b"hidden")
    assert downloaded(source)["images/IMG-000.jpg"] == photograph
    said = "own/images: 1 with the name of another photograph, left out: IMG-000.bmp\n"
    assert capsys.readouterr().err == said


def test_masks_beside_lists_in_the_official_place() -> None:
    source = own.make_source(Path("own"))
    own.write_lists(source / "annotations", trainval=own.names()[2:14], test=own.names()[:2])
    files = downloaded(source)
    assert {Path(name).stem for name in files if name.startswith("images")} == {*own.names()[:14]}
    assert files["annotations/test.txt"] == b"IMG-000\nIMG-001\n"


@fault("Input", "a mask without a photograph", "left out, and named")
def test_surplus_masks_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    source = own.make_source(Path("own"))
    for number in range(7):
        shutil.copyfile(source / "masks/IMG-000.png", source / f"masks/left{number}.png")
    files = downloaded(source)
    assert not any("left" in name for name in files)
    said = capsys.readouterr().err
    assert said == (
        "own/masks: 7 without a photograph, left out: left0.png, left1.png, left2.png, left3.png, left4.png ...\n"
    )


BAD_MASKS: dict[str, tuple[Image.Image, str]] = {
    "grey": (Image.linear_gradient("L").resize((60, 48)), "not 0 and 1, 0 and 255, or 1, 2 and 3"),
    "three values": (Image.fromarray(np.array([[0, 1, 255]], np.uint8)), "holds 0, 1, 255, not 0 and 1, 0 and 255"),
    "colours": (Image.new("RGB", (60, 48)), "has pixels of type RGB, not one value each"),
    "16 bits": (Image.fromarray(np.full((48, 60), 65535, np.uint16)), "has pixels of type I;16"),
    "transparency": (Image.new("LA", (60, 48)), "has pixels of type LA"),
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=fault("Input", f"a mask of images/ and masks/: {kind}", f"`{reason}`; or left out"))
        for kind, (_, reason) in BAD_MASKS.items()
    ],
)
def test_what_is_no_mask_is_named_and_left_to_preprocess(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = own.make_source(Path("own"))
    mask, reason = BAD_MASKS[kind]
    mask.save(source / "masks/IMG-000.png")
    files = downloaded(source)
    assert files["annotations/trimaps/IMG-000.png"] == (source / "masks/IMG-000.png").read_bytes()
    said = capsys.readouterr().err
    assert said.startswith("own/masks/IMG-000.png: ") and reason in said


def test_masks_that_are_trimaps_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    source = own.make_source(Path("own"))
    Image.fromarray(np.array([[1, 2, 3]], np.uint8)).save(source / "masks/IMG-000.png")
    files = downloaded(source)
    assert files["annotations/trimaps/IMG-000.png"] == (source / "masks/IMG-000.png").read_bytes()
    assert capsys.readouterr().err == ""


@fault("Input", "a photograph of images/ and masks/ whose name cannot stand in a list", "one line with its name")
@pytest.mark.parametrize("name", ["#1", "a,b", "a\\b", 'a"b', "x" * 241])
def test_a_name_that_cannot_stand_in_a_list(name: str) -> None:
    source = own.make_source(Path("own"))
    (source / "images" / f"{name}.jpg").write_bytes(b"")
    assert f"own/images: {name!r} cannot stand in a list; rename it" in refused(source)


@fault("Input", "data.breeds for photographs of no breed", "one line; the dataset of before stays")
def test_there_are_no_breeds_to_choose() -> None:
    assert "'pug', no breed of this source; it names no breeds" in refused(own.make_source(Path("own")), breeds=["pug"])


def test_what_a_link_leads_to_is_not_removed(tmp_path: Path) -> None:
    """Neither where the folder itself is a link nor where one lies in it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "kept.jpg").write_bytes(b"kept")
    mode = disk.stat().st_mode
    (tmp_path / "link").symlink_to(disk)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(disk)
    for name in ("link", "folder"):
        download.remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]
    assert (disk / "kept.jpg").read_bytes() == b"kept"
    assert disk.stat().st_mode == mode
