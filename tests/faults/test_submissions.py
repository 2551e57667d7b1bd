"""What may be wrong with what is handed in: it is named, the others are graded, nothing lands outside of --out."""

from __future__ import annotations

import csv
import random
import shutil
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from commands import run_lengths
from hostile import bomb
from oxford_pet import foreground
from photos import Unusable
from reliability import fault
from scripts import DATASET, Ended, script, tree
from utils import Refusal

pytestmark = pytest.mark.usefixtures("place")

OUT = {"out/grades.csv", "out/grades_photographs.csv", "out/grades.html"}
HEADER = b"image_id,encoded_mask\n"
NAMED = "the photograph and the reason are named, its mask counts as empty, the others are graded"
REFUSED = "the submission is named with the reason; the others are graded; exit 1"


def names() -> list[str]:
    return [line.split()[0] for line in (DATASET / "annotations/test.txt").read_text().splitlines()]


def truth(name: str) -> np.ndarray:
    with Image.open(DATASET / f"annotations/trimaps/{name}.png") as trimap:
        return foreground(np.asarray(trimap))


@pytest.fixture
def good(place: Path) -> Path:
    """A folder of right masks."""
    folder = place / "good"
    folder.mkdir()
    for name in names():
        Image.fromarray(truth(name)).save(folder / f"{name}.png")
    return folder


def grade(*submissions: object) -> tuple[Ended, dict[str, dict[str, str]]]:
    """How it ended, and the rows by submission; nothing but --out was written, and nothing odd was printed."""
    before = tree()
    done = script("grade", *map(str, submissions), "--out", "out")
    assert {name for name, content in tree().items() if before.get(name) != content} <= OUT
    assert before.keys() <= tree().keys()
    assert "Traceback" not in done.err
    assert all(line.isprintable() for line in (done.out + done.err).split("\n"))
    found = {row["submission"]: row for row in table("grades.csv")} if Path("out/grades.csv").exists() else {}
    return done, found


def table(name: str) -> list[dict[str, str]]:
    with Path("out", name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- masks ------------------------------------------------------------------------------------------------------------


def sixteen_bits(file: Path) -> None:
    Image.fromarray(np.full((48, 48), 65535, np.uint16)).save(file)


def two_meanings(file: Path) -> None:
    """Number 0 is white and number 1 black."""
    image = Image.new("P", (48, 48))
    image.putdata([pixel % 2 for pixel in range(48 * 48)])
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(file)


def link_to_the_truth(file: Path) -> None:
    file.unlink()
    file.symlink_to((DATASET / f"annotations/trimaps/{file.stem}.png").resolve())


def link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to("absent")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def picture(mode: str, colour: object) -> Callable[[Path], None]:
    return lambda file: Image.new(mode, (48, 48), colour).save(file)  # type: ignore[arg-type]


MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-40]), "cannot be read"),
    "empty": (lambda file: file.write_bytes(b""), "is not a picture"),
    "junk": (lambda file: file.write_bytes(random.Random(0).randbytes(500)), "is not a picture"),
    "text": (lambda file: file.write_text("<svg/>"), "is not a picture"),
    "16 bits": (sixteen_bits, "has pixels of type I;16, not 8 bits each"),
    "coloured": (picture("RGB", (200, 0, 0)), "is coloured"),
    "transparent": (picture("RGBA", (0, 0, 0, 0)), "is partly transparent"),
    "grey": (picture("L", 128), "holds values from 128 to 128"),
    "two meanings": (two_meanings, "has a palette whose numbers say one thing and whose colours another"),
    "all values": (
        lambda file: Image.linear_gradient("L").crop((0, 0, 8, 256)).save(file),
        "holds values from 0 to 255",
    ),
    "huge": (lambda file: file.write_bytes(bomb(1 << 20, 1 << 20, grey=True)), "pixels"),
    "too few pixels": (lambda file: file.write_bytes(bomb(100, 100, grey=True)), "cannot be read"),
    "a folder": (folder, "is not a file"),
    "a link to the truth": (link_to_the_truth, "has a mask that is a link out of the folder"),
    "a link to nothing": (link_to_nothing, "is missing"),
}


@fault("Input", "a mask that is cut, of 16 bits, grey, coloured, transparent, huge or no picture", NAMED)
@pytest.mark.parametrize("kind", MASKS)
def test_a_bad_mask(good: Path, kind: str) -> None:
    name, *others = names()
    spoil, reason = MASKS[kind]
    spoil(good / f"{name}.png")
    done, found = grade(good)
    assert done.code == 1
    assert f"good: cannot be read, counted as empty: {name} " in done.err
    assert reason in done.err
    assert (found["good"]["unreadable"], found["good"]["missing"]) == ("1", "0")
    scores = {row["photograph"]: row["dice"] for row in table("grades_photographs.csv")}
    assert scores == {name: "0", **dict.fromkeys(others, "1")}


@fault("Input", "two masks of one photograph", NAMED)
def test_two_masks(good: Path) -> None:
    name = names()[0]
    Image.fromarray(truth(name)).save(good / f"{name}_mask.png")
    done, _ = grade(good)
    assert done.code == 1
    assert f"{name} has two masks, {name}.png and {name}_mask.png" in done.err


@fault("Input", "masks that are missing or of other photographs", "both are counted and named; exit 0")
def test_missing_and_surplus(good: Path) -> None:
    first, second, *_ = names()
    (good / f"{first}.png").rename(good / "stranger_1.png")
    (good / f"{second}.png").unlink()
    done, found = grade(good)
    assert done.code == 0
    assert (found["good"]["missing"], found["good"]["surplus"]) == ("2", "1")


HOSTILE = [
    '=HYPERLINK("http:..x","y")',
    "+1+cmd|' .C calc'!A0",
    "-2+3",
    "@SUM(1)",
    " =1+1",
    "<script>alert(1)<script>",
    '"><img src=x onerror=alert(1)>',
    "two\nlines",
    "\x1b[2Jcolours",
    "\u202egnp",
    "$(touch executed)",
]


@fault(
    "Hostile", "submissions and masks whose names are formulas, markup or terminal escapes", "shown as text everywhere"
)
def test_hostile_names(good: Path) -> None:
    Path("at").mkdir()
    for text in HOSTILE:
        shutil.copytree(good, Path("at", text))
        shutil.copyfile(good / f"{names()[0]}.png", Path("at", text, f"{text}.png"))
    done, _ = grade(*[f"at/{text}" for text in HOSTILE])
    assert done.code == 0, done.err
    for file in ("grades.csv", "grades_photographs.csv"):
        for row in table(file):
            assert not row["submission"].lstrip().startswith(("=", "+", "-", "@"))
            assert row["submission"].isprintable()
    page = Path("out/grades.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;script&gt;" in page
    assert not Path("executed").exists()


@fault(
    "Hostile", "submissions and masks whose names are formulas, markup or terminal escapes", "shown as text everywhere"
)
def test_a_photograph_whose_name_is_a_formula(good: Path) -> None:
    name, new = names()[0], "=1+1_7"
    for file in (DATASET / f"images/{name}.jpg", DATASET / f"annotations/trimaps/{name}.png", good / f"{name}.png"):
        file.rename(file.with_stem(new))
    listed = DATASET / "annotations/test.txt"
    listed.write_text(listed.read_text().replace(name, new))
    done = script("grade", str(good), "--data", str(DATASET), "--out", "out")
    assert done.code == 0, done.err
    assert table("grades_photographs.csv")[0]["photograph"] == f"'{new}"


# --- run lengths ------------------------------------------------------------------------------------------------------


def write_runs(**changed: str) -> Path:
    """Of all photographs, right but for those that are changed."""
    run_lengths.write(Path("runs.csv"), {name: run_lengths.encoded(truth(name)) for name in names()} | changed)
    return Path("runs.csv")


RUNS = {
    "overlapping": ("1 5 3 4", "holds a run, 1 5, that overlaps the next one"),
    "in wrong order": ("9 2 1 3", "holds a run, 9 2, that starts behind the next one"),
    "from 0": ("0 5", "holds a run, 0 5, that starts before pixel 1"),
    "of no pixels": ("3 0", "holds a run, 3 0, that has no pixels"),
    "out of range": ("2000 306", "that ends behind pixel 2304, the last"),
    "far out of range": ("99999999999 99999999999", "that ends behind pixel 2304"),
    "absurd numbers": (f"{10**30} 1", "has more runs or larger numbers than"),
    "too many": ("1 1 " * 2000, "has more runs or larger numbers than"),
    "without a length": ("1 5 9", "ends with a start that has no length"),
    "negative": ("-1 5", "holds more than numbers and spaces"),
    "fractions": ("1.5 2", "holds more than numbers and spaces"),
    "other digits": ("\u0661 \u0662", "holds more than numbers and spaces"),
    "a formula": ("=1+1", "holds more than numbers and spaces"),
    "a list": ("[1, 2]", "holds more than numbers and spaces"),
}


@fault("Input", "run lengths that overlap, are out of order or range, cut, or no numbers", NAMED)
@pytest.mark.parametrize("kind", RUNS)
def test_bad_runs(good: Path, kind: str) -> None:
    name = next(name for name in names() if truth(name).size == 48 * 48)
    text, reason = RUNS[kind]
    done, found = grade(write_runs(**{name: text}), good)
    assert done.code == 1
    assert f"runs.csv: cannot be read, counted as empty: {name} " in done.err
    assert reason in done.err
    assert (found["runs.csv"]["unreadable"], found["good"]["unreadable"]) == ("1", "0")
    assert float(found["runs.csv"]["dice"]) == pytest.approx(1 - 1 / len(names()), abs=1e-5)


@fault("Input", "a CSV whose rows are in another order, of other photographs, doubled or cut", "each is named or taken")
def test_rows_of_a_csv(good: Path) -> None:
    first, second, third, *_ = names()
    lines = write_runs().read_bytes().splitlines(keepends=True)
    whole = b"".join([lines[0], *reversed(lines[1:])])
    Path("order.csv").write_bytes(whole)
    Path("doubled.csv").write_bytes(whole + lines[1])
    Path("surplus.csv").write_bytes(whole + b"stranger_1,1 5\n=1+1,1 5\n")
    at = whole.index(f"\n{first},".encode())  # the last row
    Path("cut.csv").write_bytes(whole[: at + 5])
    Path("cells.csv").write_bytes(whole.replace(f"\n{second},".encode(), f"\n{second},1 5,".encode()))
    Path("bytes.csv").write_bytes(whole.replace(f"\n{third},".encode(), f"\n{third},\xff".encode("latin-1")))
    Path("quote.csv").write_bytes(whole.replace(f"\n{third},".encode(), f'\n{third},"'.encode()))
    kinds = ("order", "doubled", "surplus", "cut", "cells", "bytes", "quote")
    done, found = grade(*[f"{kind}.csv" for kind in kinds], good)
    assert done.code == 1
    said = {kind: [found[f"{kind}.csv"][key] for key in ("missing", "unreadable", "surplus")] for kind in kinds}
    assert said == {
        "order": ["0", "0", "0"],
        "doubled": ["0", "1", "0"],
        "surplus": ["0", "0", "2"],
        "cut": ["1", "1", "0"],
        "cells": ["1", "1", "0"],
        "bytes": ["1", "1", "0"],
        "quote": ["1", "1", "0"],
    }
    assert float(found["order.csv"]["dice"]) == 1
    assert f"doubled.csv: cannot be read, counted as empty: {first} has 2 rows" in done.err
    assert "bytes.csv: cannot be read: line 3 is not UTF-8" in done.err


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "does not begin with the line image_id,encoded_mask"),
    "binary junk": (random.Random(1).randbytes(5000), "does not begin with the line"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "does not begin with the line"),
    "other columns": (b"id,rle\npug_4,1 5\n", "does not begin with the line"),
    "no header": (b"pug_4,1 5\n", "does not begin with the line"),
    "UTF-16": ("image_id,encoded_mask\n".encode("utf-16"), "does not begin with the line"),
    "no rows": (HEADER, "no row has the name of a photograph"),
    "other photographs": (HEADER + b"stranger_1,1 5\n", "no row has the name of a photograph"),
}


@fault("Input", "a CSV that is none, or of other photographs or columns", REFUSED)
@pytest.mark.parametrize("kind", FILES)
def test_a_csv_that_is_none(good: Path, kind: str) -> None:
    content, reason = FILES[kind]
    Path("bad.csv").write_bytes(content)
    done, found = grade("bad.csv", good)
    assert done.code == 1
    assert reason in done.err
    assert reason in found["bad.csv"]["problem"]
    assert float(found["good"]["dice"]) == 1


def sparse(file: Path, start: bytes, size: int) -> None:
    """A file that claims a size and takes no room."""
    with file.open("wb") as content:
        content.write(start)
        content.truncate(size)


@fault("Hostile", "a CSV of a billion rows, or with a row of gigabytes", "refused after a part of it, in flat memory")
def test_an_endless_csv(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("rows.csv").open("wb") as file:
        file.write(HEADER)
        file.writelines([b"a_1,\n" * 1000] * 150)
    sparse(Path("row.csv"), HEADER + b"pug_4,", 4 << 30)
    for name in ("rows.csv", "row.csv"):
        tracemalloc.start()
        with pytest.raises(Refusal):
            run_lengths.Table(Path(name), lambda _: None)
        assert tracemalloc.get_traced_memory()[1] < 4 * run_lengths.MAX_ROW
        tracemalloc.stop()
    monkeypatch.setattr(run_lengths, "MAX_ROW", 1000)
    sparse(Path("row.csv"), HEADER + b"pug_4,", 10_000)
    done, found = grade("rows.csv", "row.csv", good)
    assert done.code == 1
    assert "has more than 100,000 rows" in found["rows.csv"]["problem"]
    assert "line 2 is longer than" in found["row.csv"]["problem"]
    assert float(found["good"]["dice"]) == 1


def test_as_many_rows_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lengths, "MAX_ROWS", 3)
    Path("three.csv").write_bytes(HEADER + b"a_1,\n" * 3)
    Path("four.csv").write_bytes(HEADER + b"a_1,\n" * 4)
    assert len(run_lengths.Table(Path("three.csv"), lambda _: None).others) == 3
    with pytest.raises(Refusal, match="more than 3 rows"):
        run_lengths.Table(Path("four.csv"), lambda _: None)


@fault("Corruption", "any bytes as a CSV of run lengths, or as runs", "a mask, or one of the named refusals")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.text("0123456789 -\t,\"'\n=\u0661", max_size=30))
def test_any_bytes(content: bytes, text: str) -> None:
    Path("any.csv").write_bytes(HEADER + content)
    found = run_lengths.Table(Path("any.csv"), str)
    for name in found.places:
        check(partial(found.mask, name, 4, 5))
    check(partial(run_lengths.decoded, text, 4, 5))


def check(work: Callable[[], np.ndarray | None]) -> None:
    try:
        mask = work()
    except Unusable as reason:
        assert str(reason)
    else:
        assert mask is not None and mask.shape == (4, 5)
        assert np.array_equal(run_lengths.decoded(run_lengths.encoded(mask), 4, 5), mask)


# --- weights, folders -------------------------------------------------------------------------------------------------


@fault("Input", "weights that are damaged, an empty folder, a file of another kind, nothing", REFUSED)
def test_other_submissions(good: Path) -> None:
    Path("empty").mkdir()
    Path("bad.pth").write_bytes(Path("saved_models/unet.pth").read_bytes()[:-100])
    Path("masks.zip").write_bytes(b"PK\x03\x04")
    Path("nested/masks").mkdir(parents=True)
    reasons = {
        "bad.pth": "not a weights file, or damaged",
        "empty": "no PNG in it has the name",
        "masks.zip": "a submission is a folder of mask PNGs",
        "nested": "a folder in it is not looked into",
        "absent": "is missing",
    }
    done, found = grade(*reasons, good)
    assert done.code == 1
    assert "submissions that cannot be graded: 5" in done.line
    for label, reason in reasons.items():
        assert reason in found[label]["problem"]
    assert float(found["good"]["dice"]) == 1


@fault(
    "Input", "a truth with a bad list or trimap, when submissions are graded", "one line names it; nothing is written"
)
@pytest.mark.parametrize("what", ["list", "trimap", "archive"])
def test_a_bad_truth(good: Path, what: str) -> None:
    data, last = DATASET, names()[-1]
    if what == "list":
        (data / "annotations/test.txt").write_bytes(b"\xff\xfe")
    elif what == "trimap":
        (data / f"annotations/trimaps/{last}.png").write_bytes(b"no")
    else:
        data = Path("packed")
        data.mkdir()
        (data / "annotations.tar.gz").write_bytes(b"\x1f\x8b no")
    before = tree()
    done = script("grade", str(good), "--data", str(data), "--out", "out")
    assert done.code == 1
    named = {"list": "test.txt", "trimap": f"{last}.png", "archive": "is damaged"}
    assert named[what] in done.line
    assert tree() == before
