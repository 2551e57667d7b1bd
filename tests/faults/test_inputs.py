"""Bad input, from the script that meets it to the line that the user reads: the code says failure, nothing is left."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import own
from download import SUMS
from misbehaving import Request, serving
from reliability import fault
from scripts import DATASET, Ended, process, script, tree, write_params

PHOTO, MASK = DATASET / "images/pug_4.jpg", DATASET / "annotations/trimaps/pug_4.png"
TRAINVAL, TEST = DATASET / "annotations/trainval.txt", DATASET / "annotations/test.txt"
SOURCE_TEST, SOURCE_TRAINVAL = Path("source/annotations/test.txt"), Path("source/annotations/trainval.txt")
TRAIN, VALID = Path("dataset/cache/train.npy"), Path("dataset/cache/valid.npy")
UNET, PARAMS, RECIPE = Path("saved_models/unet.pth"), Path("params.yaml"), Path("recipes/mine.yaml")
SCORES, CURVES, PICTURED = Path("metrics/test.json"), Path("plots/thresholds.csv"), Path("dataset/predictions.npz")

pytestmark = pytest.mark.usefixtures("place")

Arrange = Callable[[], object]


class Case(NamedTuple):
    what: str
    arrange: Arrange
    command: str
    says: str  # parts of the line, with ` ... ` between them
    code: int = 1

    def __str__(self) -> str:
        return self.what


def row(case: Case) -> Any:
    """A case as a parameter that stands in the table."""
    ends = f"`{case.command.split()[0]}: {case.says}`, exit {case.code}"
    return pytest.param(case, marks=fault("Input", case.what, ends), id=case.what)


LISTING = ("preprocess", "inference")  # these name each offender on a line of its own before the last line


# --- ways to spoil ----------------------------------------------------------------------------------------------------


def write(path: Path, content: str | bytes = b"") -> Arrange:
    def arrange() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return arrange


def add(path: Path, line: str) -> Arrange:
    return lambda: path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")


def cut(path: Path, share: float = 0.5) -> Arrange:
    return lambda: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def without(path: Path) -> Arrange:
    return lambda: shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path) -> Arrange:
    def arrange() -> None:
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)

    return arrange


def special(path: Path, make: Callable[[Path], object]) -> Arrange:
    def arrange() -> None:
        path.unlink()
        make(path)

    return arrange


def picture(path: Path, change: Callable[[Image.Image], Image.Image], kind: str) -> Arrange:
    def arrange() -> None:
        with Image.open(path) as image:
            changed = change(image)
        changed.save(path, kind)

    return arrange


def with_params(**changes: Any) -> Arrange:
    return lambda: write_params(**changes)


def archives(**contents: Callable[[tarfile.TarFile], object]) -> Arrange:
    """images.tar.gz and annotations.tar.gz in the source, in place of its folders, with other contents where given."""

    def arrange() -> None:
        for name in ("images", "annotations"):
            with tarfile.open(f"source/{name}.tar.gz", "w:gz") as tar:
                contents.get(name, lambda tar, name=name: tar.add(f"source/{name}", name))(tar)
            shutil.rmtree(f"source/{name}")

    return arrange


def then(*steps: Arrange) -> Arrange:
    return lambda: [step() for step in steps]


def recipe(content: str) -> Arrange:
    return write(RECIPE, content)


def array(path: Path, values: Callable[[], np.ndarray]) -> Arrange:
    return lambda: np.save(path, values())


def scores(change: Callable[[dict[str, Any]], object]) -> Arrange:
    def arrange() -> None:
        values = json.loads(SCORES.read_text())
        change(values)
        SCORES.write_text(json.dumps(values))

    return arrange


def own_lists(**lists: list[str]) -> Arrange:
    """In place of trainval.txt."""

    def arrange() -> None:
        TRAINVAL.unlink()
        own.write_lists(TRAINVAL.parent, **lists)

    return arrange


def nothing() -> None:
    pass


ANY = f"evaluate --weights {UNET} --data {DATASET}"
INFER = f"inference --weights {UNET} --out out"
LAUGHS = "all:\n- &a0 [1, 1]\n" + "".join(f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
UNUSABLE = "1 cannot be used: pug_4: "

CASES = [
    # photographs
    Case("a photograph is an empty file", write(PHOTO), "preprocess", UNUSABLE + "photograph is not a picture"),
    Case("a photograph is an SVG", write(PHOTO, "<svg/>"), "preprocess", UNUSABLE + "photograph is not a picture"),
    Case("a photograph is a PDF", write(PHOTO, "%PDF-1.7\n"), "preprocess", UNUSABLE + "photograph is not a picture"),
    Case("a photograph is a folder", folder(PHOTO), "preprocess", UNUSABLE + "photograph is not a file"),
    Case("a photograph is a pipe", special(PHOTO, os.mkfifo), "preprocess", UNUSABLE + "photograph is not a file"),
    Case(
        "a photograph is a link to itself",
        special(PHOTO, lambda path: path.symlink_to(path.name)),
        "preprocess",
        UNUSABLE + "photograph cannot be read: Too many levels of symbolic links",
    ),
    Case(
        "a photograph is a link to nothing",
        special(PHOTO, lambda path: path.symlink_to("nowhere")),
        "preprocess",
        UNUSABLE + "photograph is missing",
    ),
    Case(
        "a photograph has numbers without a known white",
        picture(PHOTO, lambda image: image.convert("F"), "TIFF"),
        "preprocess",
        UNUSABLE + "photograph has pixels of type F",
    ),
    Case(
        "a photograph was made smaller, its mask was not",
        picture(PHOTO, lambda image: image.resize((24, 30)), "JPEG"),
        "preprocess",
        UNUSABLE + "photograph is 24 x 30, but its mask is 60 x 48",
    ),
    Case(
        "a photograph of a dataset to score has an end too early",
        cut(DATASET / "images/pug_16.jpg"),
        ANY + " --threshold 0.5",
        "images/pug_16.jpg: cannot be read ... repair it or take it off the list",
    ),
    Case("a photograph to segment is not there", nothing, INFER + " none.jpg", "not usable, and named above: 1"),
    Case("a photograph to segment is a device", nothing, INFER + " /dev/null", "not usable, and named above: 1"),
    Case("a folder to segment holds no photographs", folder(Path("in")), INFER + " in", "named above: 1"),
    Case("a photograph to segment is a text", nothing, INFER + " params.yaml", "not usable, and named above: 1"),
    # masks
    Case("a mask is an empty file", write(MASK), "preprocess", UNUSABLE + "mask is not a picture"),
    Case("a mask is a folder", folder(MASK), "preprocess", UNUSABLE + "mask is not a file"),
    Case(
        "a mask was stored as JPEG",
        picture(MASK, lambda mask: mask.point(lambda value: 80 * value), "JPEG"),
        "preprocess",
        UNUSABLE + "mask holds ... beside 1, 2 and 3",
    ),
    Case(
        "a mask counts from 0",
        picture(MASK, lambda mask: mask.point(lambda value: value - 1), "PNG"),
        "preprocess",
        UNUSABLE + "mask holds 0 beside 1, 2 and 3",
    ),
    Case(
        "a mask has 16 bits",
        picture(MASK, lambda mask: Image.fromarray(np.asarray(mask).astype(np.uint16)), "PNG"),
        "preprocess",
        UNUSABLE + "mask has pixels of type I;16",
    ),
    Case(
        "a mask has an alpha channel",
        picture(MASK, lambda mask: mask.convert("LA"), "PNG"),
        "preprocess",
        UNUSABLE + "mask has pixels of type LA",
    ),
    Case(
        "a mask has one bit",
        picture(MASK, lambda mask: mask.convert("1"), "PNG"),
        "preprocess",
        UNUSABLE + "mask has pixels of type 1",
    ),
    Case(
        "a mask of the test split has gone since preprocess",
        without(DATASET / "annotations/trimaps/pug_16.png"),
        "evaluate",
        "trimaps/pug_16.png: is missing; get the dataset's annotations anew",
    ),
    # lists
    Case("a list is a folder", folder(TEST), "preprocess", "test.txt: Is a directory"),
    Case("a source's list is a folder", folder(SOURCE_TEST), "download", "test.txt: Is a directory"),
    Case(
        "a list is in UTF-16",
        lambda: SOURCE_TEST.write_bytes(SOURCE_TEST.read_text().encode("utf-16")),
        "download",
        "test.txt: is not text in UTF-8; get the annotations anew",
    ),
    Case(
        "a list of a dataset is in Latin-1",
        lambda: TRAINVAL.write_bytes("Sphynx_é_1 1 1 1\n".encode("latin-1")),
        "preprocess",
        "a list is not text in UTF-8",
    ),
    Case("a list is empty", write(TEST), "preprocess", "not one photograph for test"),
    Case("a list has one line", write(TRAINVAL, "pug_4 4 2 2\n"), "preprocess", "not one photograph for train"),
    Case("a list is a table", write(TEST, "name,class\n"), "preprocess", "'name,class': is no line of a list"),
    Case(
        "a line of a list lacks a number",
        add(TEST, "pug_4 1 2"),
        "preprocess",
        "'pug_4 1 2': is no line of a list: 3 fields",
    ),
    Case("a line of a list names another kind", add(TEST, "pug_77 1 3 1"), "preprocess", "species '3' is not 1 or 2"),
    Case(
        "a line of a list holds a zero byte", add(TEST, "pug\0_4 1 2 1"), "preprocess", "is not of the form Breed_123"
    ),
    Case(
        "a name in a list is longer than names of files can be",
        add(TRAINVAL, "p" * 300 + "_1 4 2 2"),
        "preprocess",
        "is no line of a list: ... is longer than the name of a file can be",
    ),
    Case("a list names what is not there", add(TEST, "pug_77 4 2 2"), "preprocess", "pug_77: mask is missing"),
    Case(
        "a list names a photograph twice", add(TEST, "pug_16 4 2 2"), "preprocess", "pug_16 in test: is listed before"
    ),
    Case(
        "a list of one's own names a photograph twice",
        own_lists(train=["pug_4", "pug_8", "pug_4"], val=["Birman_3"]),
        "preprocess",
        "1 cannot be used: pug_4 in train: is listed before, in train",
    ),
    Case(
        "lists of one's own name a photograph for training and for testing",
        own_lists(train=["pug_4", "pug_16"], val=["Birman_3"]),
        "preprocess",
        "1 cannot be used: pug_16 in train: is listed before, in test",
    ),
    Case(
        "lists of one's own name a photograph for training and for validation",
        own_lists(train=["pug_4", "pug_8"], val=["Birman_3", "pug_8"]),
        "preprocess",
        "1 cannot be used: pug_8 in valid: is listed before, in train",
    ),
    Case(
        "a list of one's own is empty",
        own_lists(train=["pug_4"], val=["# nothing"]),
        "preprocess",
        "not one photograph for valid; see data.breeds, data.lists, and the 0 left out",
    ),
    Case(
        "a list of one's own holds a path, and a name with a space",
        own_lists(train=["pug_4", "images/pug_8", "my cat"], val=["Birman_3"]),
        "preprocess",
        "2 cannot be used: train list, 'images/pug_8': is no line of a list: ... is not the name of a photograph; "
        "train list, 'my cat': is no line of a list: 2 fields in place of NAME or NAME CLASS SPECIES BREED",
    ),
    Case("the lists lack one of three", own_lists(train=["pug_4"]), "preprocess", "trainval.txt: not found"),
    Case(
        "data.lists is a file",
        with_params(data={"lists": "params.yaml"}),
        "download",
        "data.lists = params.yaml: no such folder",
    ),
    Case("a list of a dataset to score is a folder", folder(TEST), ANY, "test.txt: Is a directory"),
    Case(
        "a dataset to score is a file", nothing, f"evaluate --weights {UNET} --data params.yaml", "test.txt: not found"
    ),
    # archives
    Case(
        "archives are no longer than their names",
        then(archives(), write(Path("source/images.tar.gz"))),
        "download",
        "source/images.tar.gz: is damaged or no .tar.gz",
    ),
    Case(
        "an archive is packed in another way",
        then(archives(), lambda: repack("xz")),
        "download",
        "source/images.tar.gz: not a sound gzip archive",
    ),
    Case("an archive is not packed", then(archives(), lambda: repack("")), "download", "not a sound gzip archive"),
    Case("an archive ends early", then(archives(), cut(Path("source/images.tar.gz"))), "download", "a damaged gzip"),
    Case("an archive is empty", archives(images=lambda _: None), "download", "holds no folder `images`"),
    Case(
        "an archive holds a file in place of the folder",
        archives(images=lambda tar: tar.add("params.yaml", "images")),
        "download",
        "source/images.tar.gz: holds no folder `images`: another archive than the dataset's",
    ),
    Case(
        "an archive holds no lists",
        archives(annotations=lambda tar: tar.add("source/annotations/trimaps", "annotations/trimaps")),
        "download",
        "trainval.txt: is missing, and without it there is no split",
    ),
    Case(
        "checksums beside the archives are a folder",
        then(archives(), folder(Path("source") / SUMS)),
        "download",
        "source/md5sums.txt: Is a directory",
    ),
    Case(
        "one of two archives is missing",
        then(archives(), without(Path("source/images.tar.gz"))),
        "download",
        "does not hold",
    ),
    # sources
    Case(
        "the source is a file", with_params(data={"source": "params.yaml"}), "download", "params.yaml: no such folder"
    ),
    Case(
        "the source is an empty folder",
        then(with_params(data={"source": "in"}), folder(Path("in"))),
        "download",
        "does not hold",
    ),
    Case(
        "the source is another kind of address",
        with_params(data={"source": "ftp://127.0.0.1/pets"}),
        "download",
        "data.source = ftp://127.0.0.1/pets: not an address such as https://HOST/FOLDER",
        2,
    ),
    Case(
        "the source is an address without a host",
        with_params(data={"source": "http:///pets"}),
        "download",
        "data.source = http:///pets: not an address such as https://HOST/FOLDER",
        2,
    ),
    Case(
        "the source is an address that is none",
        with_params(data={"source": "http://[::1/pets"}),
        "download",
        "data.source = http://[::1/pets: not an address such as https://HOST/FOLDER",
        2,
    ),
    Case(
        "the source is an address with an impossible port",
        with_params(data={"source": "http://127.0.0.1:99999/"}),
        "download",
        "md5sums.txt could not be downloaded ... no way to ask",
    ),
    Case(
        "the source is a path longer than paths can be",
        with_params(data={"source": "p" * 5000}),
        "download",
        "no such folder" if sys.version_info >= (3, 14) else "File name too long",
    ),
    Case(
        "the source belongs to a user who is not there",
        with_params(data={"source": "~nobody-here/pets"}),
        "download",
        "~nobody-here/pets: no such folder",
    ),
    Case(
        "the source is a name with a zero byte",
        with_params(data={"source": "a\0b"}),
        "download",
        "a\\x00b: no such folder",
    ),
    # parameters
    Case("params.yaml is not there", without(PARAMS), "plot", "params.yaml: not found; run from the root", 2),
    Case("params.yaml is a folder", folder(PARAMS), "train --model unet", "params.yaml: Is a directory", 1),
    Case(
        "params.yaml is a picture", lambda: shutil.copy(PHOTO, PARAMS), "preprocess", "params.yaml: not valid YAML", 2
    ),
    Case(
        "params.yaml has a tab before a key", add(PARAMS, "\tseed: 1"), "preprocess", "params.yaml: not valid YAML", 2
    ),
    Case(
        "params.yaml holds the marks of a merge",
        add(PARAMS, "<<<<<<< HEAD"),
        "evaluate",
        "params.yaml: not valid YAML",
        2,
    ),
    Case(
        "a parameter is a date that is none",
        add(PARAMS, "day: 2001-99-99"),
        "preprocess",
        "params.yaml: not valid YAML",
        2,
    ),
    Case(
        "a parameter is a number of 5,000 digits",
        add(PARAMS, "big: " + "9" * 5000),
        "preprocess",
        "params.yaml: not valid YAML",
        2,
    ),
    Case(
        "a parameter is a hexadecimal number of 5,000 digits",
        add(PARAMS, "big: 0x" + "f" * 5000),
        "preprocess",
        "params.yaml: not valid YAML: '0xfff",
        2,
    ),
    Case(
        "a parameter is a few lists that hold each other, billions of values",
        add(PARAMS, LAUGHS),
        "preprocess",
        "all = [[1, 1], ... unknown key",
        2,
    ),
    Case(
        "a parameter is a flag in words",
        with_params(train={"shuffle": "yes"}),
        "train --model unet",
        "train.shuffle = 'yes': should be a valid boolean",
        2,
    ),
    Case(
        "the last learning rate exceeds the first",
        with_params(train={"lr_min": 1}),
        "train --model unet",
        "train.lr_min = 1.0: should not exceed lr",
        2,
    ),
    # tensors, weights and results
    Case(
        "the tensors are not there", without(TRAIN), "train --model unet", "train.npy: not found; preprocess makes it"
    ),
    Case("the tensors are a folder", folder(TRAIN), "train --model unet", "train.npy: Is a directory"),
    Case(
        "the tensors end early",
        cut(TRAIN),
        "train --model unet",
        "train.npy: damaged; remove it and run preprocess again",
    ),
    Case(
        "the tensors have no mask",
        array(TRAIN, lambda: np.zeros((5, 32, 32, 3), np.uint8)),
        "train --model unet",
        "not (N, side, side, 4)",
    ),
    Case(
        "the tensors are of size 0",
        array(TRAIN, lambda: np.zeros((5, 0, 0, 4), np.uint8)),
        "train --model unet",
        "train.npy: damaged",
    ),
    Case(
        "the tensors of two splits differ in size",
        array(VALID, lambda: np.full((2, 48, 48, 4), 2, np.uint8)),
        "train --model unet",
        "train.npy and valid.npy differ in size; run preprocess again",
    ),
    Case(
        "the tensors are not square",
        array(TRAIN, lambda: np.full((5, 32, 48, 4), 2, np.uint8)),
        "train --model unet",
        "train.npy: damaged: not (N, side, side, 4)",
    ),
    Case(
        "the table beside the tensors lacks a column",
        lambda: drop_column(Path("dataset/cache/test.csv"), "name"),
        "evaluate",
        "test.csv: does not belong to test.npy",
    ),
    Case(
        "the table beside the tensors is binary",
        write(Path("dataset/cache/test.csv"), b"\xff\xfe\0" * 9),
        "evaluate",
        "test.csv: does not belong to test.npy",
    ),
    Case("weights are text", write(UNET, "hello"), INFER + f" {PHOTO}", "unet.pth: not a weights file, or damaged"),
    Case("weights are a folder", folder(UNET), "evaluate", "unet.pth: is a folder, not a weights file"),
    Case(
        "weights and photographs are swapped",
        nothing,
        f"inference --weights {PHOTO} --out out {UNET}",
        "pug_4.jpg: not a weights file",
    ),
    Case(
        "weights are of another network than their name says",
        lambda: shutil.copy("saved_models/resnet34_unet.pth", UNET),
        "evaluate",
        "unet.pth: holds weights of resnet34_unet; train unet again",
    ),
    Case("results are a list", write(SCORES, "[1]"), "summary", "metrics/test.json: no scores to show"),
    Case(
        "results are null", scores(lambda s: s.update(scores=None)), "summary", "metrics/test.json: no scores to show"
    ),
    Case(
        "results have text for a number",
        scores(lambda s: s["scores"][0].update(dice="good")),
        "plot",
        "unet.dice is missing or not a number",
    ),
    Case("a table of results is a folder", folder(CURVES), "plot", "plots/thresholds.csv: Is a directory"),
    Case(
        "kept predictions are a text",
        write(PICTURED, "hello"),
        "plot",
        "predictions.npz: not the predictions that evaluate writes",
    ),
    # command lines
    Case(
        "a network is unknown",
        nothing,
        "train --model vgg",
        "params.yaml: no network has the section 'vgg'; there are unet",
        2,
    ),
    Case("a network is not named", nothing, "train", "the following arguments are required: --model", 2),
    Case("a threshold is no number", nothing, ANY + " --threshold much", "argument --threshold: invalid", 2),
    Case("a threshold is not a number at all", nothing, ANY + " --threshold nan", "nan is not between 0 and 1", 2),
    Case(
        "an option needs another",
        nothing,
        f"evaluate --data {DATASET}",
        "--data, --tta, --threshold and --border go with --weights",
        2,
    ),
    Case("there are no photographs to segment", nothing, INFER, "name a photograph or a folder", 2),
    Case("so many at a time are none", nothing, INFER + " a.jpg --batch 0", "0 is less than 1", 2),
    Case(
        "results would go into a file",
        nothing,
        f"inference --weights {UNET} --out params.yaml {PHOTO}",
        "params.yaml: is a file; --out takes a folder",
    ),
    Case(
        "results would go into the photographs",
        nothing,
        f"inference --weights {UNET} --out saved_models saved_models",
        "saved_models: is a folder of photographs; choose another --out",
    ),
    Case("a script takes no arguments", nothing, "plot now", "unrecognized arguments: now", 2),
    # recipes
    Case("a recipe is unknown", nothing, "recipe mine", "recipes: no recipe 'mine'; there are none", 2),
    Case("a recipe is a folder", folder(RECIPE), "recipe mine", "recipes/mine.yaml: Is a directory", 1),
    Case(
        "a recipe needs a GPU and says no epochs",
        recipe("about: x\nneeds_gpu: true\nparams: {seed: 1}"),
        "recipe mine",
        "no GPU here",
    ),
    Case(
        "a recipe's epochs are text",
        recipe("about: x\nparams: {train: {epochs: many}}"),
        "recipe mine --apply",
        "mine.yaml over params.yaml: train.epochs = 'many': should be a valid integer",
        2,
    ),
    Case(
        "a recipe has a value for a section",
        recipe("about: x\nparams: {train: 5}"),
        "recipe mine --apply",
        "train = 5: should be a valid mapping",
        2,
    ),
    Case(
        "a recipe to write down comes with options",
        recipe("about: x\nparams: {seed: 1}"),
        "recipe mine --apply -S seed=2",
        "--apply runs nothing, so -S seed=2 has no meaning with it",
        2,
    ),
    Case(
        "a recipe runs where dvc.lock holds the marks of a merge",
        then(recipe("about: x\nparams: {data: {source: oxford}}"), write(Path("dvc.lock"), "stages:\n<<<<<<< HEAD\n")),
        "recipe mine",
        "dvc.lock: not valid YAML",
        2,
    ),
]


def repack(kind: str) -> None:
    with tarfile.open("source/images.tar.gz", f"w:{kind}") as tar:  # type: ignore[call-overload]
        tar.add("params.yaml", "images/pug_4.jpg")


def drop_column(file: Path, name: str) -> None:
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, [key for key in rows[0] if key != name], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("case", [row(case) for case in CASES])
def test_it_ends_in_one_line_and_writes_nothing(case: Case) -> None:
    case.arrange()
    check(case, script)


@pytest.mark.parametrize("name", ["download", "inference", "train", "recipe"])
def test_a_process_ends_alike(name: str) -> None:
    case = next(case for case in CASES if case.command.split()[0] == name)
    case.arrange()
    assert check(case, process) == check(case, script)


def check(case: Case, run: Callable[..., Ended]) -> Ended:
    name, *words = case.command.split()
    before = tree()
    done = run(name, *words)
    assert done.code == case.code
    assert tree() == before
    gist = ".*".join(map(re.escape, case.says.split(" ... ")))
    assert re.match(rf"{name}(\.py: error)?: .*{gist}", done.line), done.line
    told = [line for line in done.err.splitlines() if not line.startswith(("usage: ", " "))]
    assert len(told) == 1 or name in LISTING
    return done


def answering(status: int, body: bytes = b"") -> Callable[[Request], None]:
    return lambda request: request.answer(status, body)


def server(what: str, says: str) -> Case:
    return Case(
        f"the source's server {what}", nothing, "download", f"annotations.tar.gz could not be downloaded ... {says}"
    )


SERVERS = {
    server("does not have it", "the server answered 404"): answering(404),
    server("asks for a login", "the server answered 401"): answering(401),
    server("is out of order", "the server answered 500 ... (5 times)"): answering(500),
    server("shows a page", "sent a web page in place of the file"): answering(200, b"<html>"),
    server("gives something else", "not a sound gzip archive"): answering(200, b"PK\3\4"),
    server("gives only half", "the connection ended"): lambda request: request.answer(200, b"\x1f\x8b", 100),
    server("hangs up", "no connection (5 times)"): lambda _: None,
    server("redirects in a circle", "redirects in a circle"): lambda request: request.answer(
        302, Location=request.path
    ),
}


@pytest.mark.parametrize("case", [row(case) for case in SERVERS])
def test_a_server_without_the_dataset(case: Case) -> None:
    def behave(request: Request) -> None:
        SERVERS[case](request) if request.path.endswith(".gz") else request.answer(404)

    with serving({}, behave) as local:
        write_params(data={"source": local.url})
        check(case, script)
