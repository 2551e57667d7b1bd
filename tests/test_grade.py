"""The grading desk: hand counts for each border rule, and every way in which a mask may be handed in."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import browser
import evaluate
import grade
import inference
import pets
from commands import grades, run_lengths, submissions
from handmade import bright, untrained, with_origin
from oxford_pet import BORDERS, counted, foreground
from scoring.scores import boundary_f1, with_interval
from scripts import script, succeeded, tree, write_params, write_weights
from shared import checkpoint
from shared.metrics import confusion
from utils import Refusal

pytestmark = pytest.mark.slow

# 4 rows of 5: a pet of 4 pixels with 6 of border, and 10 of background. Of the mask, 3 lie on the pet, 3 on the border
# and 2 on the background; 1 of the pet and 3 of the border are not found.
TRIMAP = np.array(
    [
        [2, 3, 3, 3, 2],
        [2, 3, 1, 1, 2],
        [2, 3, 1, 1, 2],
        [2, 2, 3, 2, 2],
    ],
    np.uint8,
)
MASK = np.array(
    [
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ],
    bool,
)
HAND = {  # true positive, false positive, false negative, true negative
    "pet": (6, 2, 4, 8),
    "background": (3, 5, 1, 11),
    "ignore": (3, 2, 1, 8),
}
DICE = {"pet": 12 / 18, "background": 6 / 12, "ignore": 6 / 9}
IOU = {"pet": 6 / 12, "background": 3 / 9, "ignore": 3 / 6}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with one tiny test photograph, pug_1; working directory."""
    make_data(tmp_path / "data", {"pug_1": TRIMAP})
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def six(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with six test photographs; working directory."""
    monkeypatch.chdir(tmp_path)
    return pets.make_dataset(tmp_path / "data", trainval=4, test=6)


def make_data(folder: Path, trimaps: dict[str, np.ndarray]) -> None:
    for name in ("images", "annotations/trimaps"):
        (folder / name).mkdir(parents=True)
    for name, trimap in trimaps.items():
        Image.fromarray(trimap).save(folder / f"annotations/trimaps/{name}.png")
        Image.fromarray(trimap * 60).convert("RGB").save(folder / f"images/{name}.jpg")
    pets.write_lists(folder, trainval=[f"{name} 1 1 1" for name in trimaps], test=[f"{name} 1 1 1" for name in trimaps])


def names(data: Path) -> list[str]:
    return [line.split()[0] for line in (data / "annotations/test.txt").read_text().splitlines()]


def trimap(data: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(data / f"annotations/trimaps/{name}.png"))


def hand_in(folder: str, masks: dict[str, np.ndarray | Image.Image]) -> Path:
    Path(folder).mkdir(exist_ok=True)
    for name, mask in masks.items():
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask.astype(np.uint8) * 255)
        image.save(Path(folder, f"{name}.png"))
    return Path(folder)


def true_masks(data: Path) -> dict[str, np.ndarray | Image.Image]:
    return {name: foreground(trimap(data, name)) for name in names(data)}


def graded(*words: object) -> dict[str, dict[str, str]]:
    """The rows of grades.csv by submission."""
    done = script("grade", *map(str, words), "--data", "data", "--out", "out")
    assert done.code == 0, done.err
    return summary()


def summary(out: str = "out") -> dict[str, dict[str, str]]:
    return {row["submission"]: row for row in rows(f"{out}/grades.csv")}


def rows(file: str) -> list[dict[str, str]]:
    with Path(file).open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


# --- the score equals a hand count ------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", BORDERS)
def test_a_hand_count(border: str) -> None:
    counts, _ = grades.Answer(TRIMAP, border).compared(MASK)
    assert tuple(counts.tolist()) == HAND[border]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("border", BORDERS)
def test_the_table_has_the_hand_count(border: str) -> None:
    row = graded(hand_in("masks", {"pug_1": MASK}), "--border", border)["masks"]
    assert float(row["dice"]) == pytest.approx(DICE[border], abs=1e-5)
    assert float(row["dice_dataset"]) == pytest.approx(DICE[border], abs=1e-5)
    assert float(row["iou"]) == pytest.approx(IOU[border], abs=1e-5)
    assert row["border"] == border
    (one,) = rows("out/grades_photographs.csv")
    assert (one["submission"], one["photograph"], one["problem"]) == ("masks", "pug_1", "")
    assert float(one["dice"]) == pytest.approx(DICE[border], abs=1e-5)


def test_ignored_pixels_count_nowhere() -> None:
    """Whatever a mask says about the border, every score is the same."""
    other = np.where(TRIMAP == 3, ~MASK, MASK)
    for one, two in zip(
        grades.Answer(TRIMAP, "ignore").compared(MASK), grades.Answer(TRIMAP, "ignore").compared(other), strict=True
    ):
        assert torch.equal(one, two)


@given(arrays(np.uint8, (9, 12), elements=st.integers(1, 3)), arrays(bool, (9, 12)), st.sampled_from(list(BORDERS)))
def test_the_part_that_is_looked_at_gives_the_counts_and_the_boundary_of_the_whole(
    trimap: np.ndarray, mask: np.ndarray, border: str
) -> None:
    trimap[:, :4], mask[7:] = 2, False  # so that a part is smaller than the whole
    truth, counting = foreground(trimap, border), counted(trimap, border)
    counts, f1 = grades.Answer(trimap, border).compared(mask)
    ours, real, where = (torch.from_numpy(one)[None] for one in (mask, truth, counting))
    assert torch.equal(counts, confusion(ours, real, where)[0])
    assert f1 == boundary_f1(ours & where, real & where)


def test_an_empty_mask_has_no_boundary_where_the_border_is_ignored() -> None:
    """Were ignored pixels pet in both masks, the outer edge of the border would agree in any two of them."""
    empty, whole = np.zeros_like(MASK), TRIMAP == 1
    assert [float(grades.Answer(TRIMAP, "ignore").compared(mask)[1]) for mask in (empty, whole)] == [0, 1]


def test_means_and_pooled_scores_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One photograph of 4 pixels has Dice 1, one of 100 has 2 * 25 / (25 + 100)."""
    monkeypatch.chdir(tmp_path)
    make_data(Path("data"), {"pug_1": np.ones((2, 2), np.uint8), "pug_2": np.ones((10, 10), np.uint8)})
    quarter = np.zeros((10, 10), bool)
    quarter[:5, :5] = True
    row = graded(hand_in("masks", {"pug_1": np.ones((2, 2)), "pug_2": quarter}))["masks"]
    assert float(row["dice"]) == pytest.approx((1 + 50 / 125) / 2, abs=1e-5)
    assert float(row["dice_dataset"]) == pytest.approx(2 * 29 / (29 + 104), abs=1e-5)
    assert float(row["iou"]) == pytest.approx((1 + 25 / 100) / 2, abs=1e-5)
    assert row["points"] == "0"


def test_intervals_and_differences(six: Path) -> None:
    """To the best on the same photographs, by the project's own bootstrap."""
    truths = true_masks(six)
    half = {name: np.asarray(mask) & (np.arange(48) < 24)[:, None] for name, mask in truths.items()}
    found = graded(hand_in("half", {**half}), hand_in("whole", truths))
    dices = torch.tensor(
        [2 * half[name].sum() / (half[name].sum() + np.asarray(truths[name]).sum()) for name in truths]
    ).double()
    for key, value in with_interval(dices).items():
        assert float(found["half"][key]) == pytest.approx(value, abs=1e-5)
    for key, value in with_interval(dices - 1).items():
        assert float(found["half"][key.replace("dice", "to_best")]) == pytest.approx(value, abs=1e-5)
    assert [float(found["whole"][f"to_best{end}"]) for end in ("", "_low", "_high")] == [0, 0, 0]
    assert list(found) == ["whole", "half"]  # best first
    assert found["whole"]["points"] == "100"


# --- ways to hand in --------------------------------------------------------------------------------------------------

PLAIN = MASK.astype(np.uint8)


def with_palette(*colours: tuple[int, int, int], numbers: np.ndarray = PLAIN) -> Image.Image:
    image = Image.fromarray(numbers).convert("P")
    image.putdata(numbers.ravel().tolist())
    image.putpalette([value for colour in colours for value in colour])
    return image


def opaque(mode: str) -> Image.Image:
    return Image.fromarray(PLAIN * 255).convert(mode)


BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (128, 0, 0)
ENCODINGS: dict[str, Callable[[], Image.Image]] = {
    "0 and 255": lambda: Image.fromarray(PLAIN * 255),
    "0 and 1": lambda: Image.fromarray(PLAIN),
    "trimap": lambda: Image.fromarray(np.where(MASK, 1, 2).astype(np.uint8)),
    "trimap with border": lambda: Image.fromarray(np.where(MASK, np.where(PLAIN.cumsum(1) > 1, 1, 3), 2).astype("u1")),
    "bilevel": lambda: Image.fromarray(PLAIN * 255).convert("1"),
    "palette, black and white": lambda: with_palette(BLACK, WHITE),
    "palette, coloured": lambda: with_palette(BLACK, RED),
    "palette, numbers 2 and 1": lambda: with_palette(RED, RED, BLACK, numbers=np.where(MASK, 1, 2).astype(np.uint8)),
    "palette, numbers that say nothing": lambda: with_palette(*[RED] * 7, BLACK, WHITE, numbers=PLAIN + 7),
    "RGB": lambda: opaque("RGB"),
    "RGBA": lambda: opaque("RGBA"),
    "LA": lambda: opaque("LA"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding(encoding: str, tmp_path: Path) -> None:
    ENCODINGS[encoding]().save(tmp_path / "mask.png")
    assert np.array_equal(submissions.read_mask(tmp_path / "mask.png", "pet"), MASK)


@pytest.mark.parametrize(("border", "expected"), [("pet", TRIMAP != 2), ("background", TRIMAP == 1)])
def test_a_trimap_follows_the_border_rule(border: str, expected: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(TRIMAP).save(tmp_path / "mask.png")
    assert np.array_equal(submissions.read_mask(tmp_path / "mask.png", border), expected)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ["pug_1", "pug_1_mask", "pug_1.jpg"])
def test_each_naming(name: str) -> None:
    row = graded(hand_in("masks", {name: MASK}))["masks"]
    assert (row["missing"], row["surplus"]) == ("0", "0")
    assert float(row["dice"]) == pytest.approx(DICE["pet"], abs=1e-5)


@pytest.mark.usefixtures("data")
def test_a_suffix_in_capitals() -> None:
    hand_in("masks", {"pug_1": MASK})
    Path("masks/pug_1.png").rename("masks/pug_1.PNG")
    assert graded("masks")["masks"]["missing"] == "0"


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("times", [2, 3])
def test_another_size_by_nearest_neighbour(times: int) -> None:
    larger = MASK.repeat(times, 0).repeat(times, 1)
    assert float(graded(hand_in("masks", {"pug_1": larger}))["masks"]["dice"]) == pytest.approx(DICE["pet"], abs=1e-5)


def test_submissions_of_different_sizes(six: Path) -> None:
    truths = true_masks(six)
    small = {name: Image.fromarray(np.asarray(mask)).resize((24, 24)) for name, mask in truths.items()}
    found = graded(hand_in("own", truths), hand_in("small", {**small}))
    assert float(found["own"]["dice"]) == 1
    assert 0.9 < float(found["small"]["dice"]) < 1


def test_missing_and_surplus_photographs(six: Path) -> None:
    """A mask that is missing counts as empty; one of another photograph is named."""
    truths = true_masks(six)
    first, *others = truths
    masks = {name: truths[name] for name in others} | {"stranger_1": truths[first], f"{first}_overlay": truths[first]}
    done = script("grade", str(hand_in("masks", masks)), "--data", "data", "--out", "out")
    row = summary()["masks"]
    assert done.code == 0
    assert (row["missing"], row["surplus"]) == ("1", "1")
    assert float(row["dice"]) == pytest.approx(5 / 6, abs=1e-5)
    assert f"masks: no mask, counted as empty: {first}" in done.err
    assert "masks: belongs to no photograph that is asked for: stranger_1.png" in done.err
    by_photograph = {one["photograph"]: one for one in rows("out/grades_photographs.csv")}
    assert (by_photograph[first]["dice"], by_photograph[first]["problem"]) == ("0", "missing")
    assert f"worst of masks: {first} 0.0000" in done.out


def test_a_missing_mask_of_a_photograph_without_a_pet_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_data(Path("data"), {"pug_1": TRIMAP, "pug_2": np.full((4, 4), 2, np.uint8)})
    row = graded(hand_in("masks", {"pug_1": TRIMAP != 2}))["masks"]
    assert (float(row["dice"]), row["missing"]) == (1, "1")


# --- run lengths ------------------------------------------------------------------------------------------------------


def test_run_lengths_by_hand() -> None:
    """Down the columns, from 1: the columns of MASK hold pixels 7; 9 to 11; 13 and 14; 17 and 18."""
    assert run_lengths.encoded(MASK) == "7 1 9 3 13 2 17 2"
    assert np.array_equal(run_lengths.decoded("7 1 9 3 13 2 17 2", 4, 5), MASK)


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_a_round_trip_loses_no_pixel(height: int, width: int, data: st.DataObject) -> None:
    mask = data.draw(arrays(bool, (height, width)))
    assert np.array_equal(run_lengths.decoded(run_lengths.encoded(mask), height, width), mask)


def test_runs_may_touch() -> None:
    assert run_lengths.decoded("1 4 5 4", 4, 5).sum() == 8
    assert not run_lengths.decoded("", 4, 5).any()
    assert run_lengths.decoded("1 20", 4, 5).all()


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    "text",
    [
        "image_id,encoded_mask\npug_1,7 1 9 3 13 2 17 2\n",
        "\ufeffimage_id,encoded_mask\r\npug_1,7 1 9 3 13 2 17 2\r\n",
        'image_id,encoded_mask\n"pug_1","7 1 9 3 13 2 17 2"',
        "encoded_mask,image_id\n7 1 9 3 13 2 17 2,pug_1\n\n",
        "image_id,encoded_mask\npug_1.jpg,7 1 9 3 13 2 17 2\nstranger_1,1 4\n",
    ],
)
def test_a_csv(text: str) -> None:
    Path("runs.csv").write_text(text, encoding="utf-8", newline="")
    row = graded("runs.csv")["runs.csv"]
    assert float(row["dice"]) == pytest.approx(DICE["pet"], abs=1e-5)
    assert row["kind"] == "run lengths"
    assert row["surplus"] == str(text.count("stranger"))


@pytest.mark.usefixtures("six")
def test_weights_are_graded_with_the_threshold_that_they_bring() -> None:
    checkpoint.save(Path("own.pth"), with_origin(bright(), threshold=0.3))
    assert graded("own.pth")["own.pth"]["threshold"] == "0.3"
    assert graded("own.pth", "--threshold", "0.6")["own.pth"]["threshold"] == "0.6"


def test_photographs_to_masks_to_csv_to_grade(six: Path) -> None:
    """The CSV of inference.py gets exactly the grade of its masks and of its weights."""
    checkpoint.save(Path("unet.pth"), bright())
    inference.main(inference.arguments(["--weights", "unet.pth", "--out", "masks", "--csv", "runs.csv", "data/images"]))
    for name in names(six):
        mask = np.asarray(Image.open(f"masks/{name}_mask.png")) > 0
        (text,) = [row["encoded_mask"] for row in rows("runs.csv") if row["image_id"] == name]
        assert np.array_equal(run_lengths.decoded(text, *mask.shape), mask)
    found = graded("masks", "runs.csv", "unet.pth")
    scores = {tuple(row[key] for key in ("dice", "dice_low", "iou", "boundary_f1")) for row in found.values()}
    assert len(scores) == 1
    assert {row["missing"] for row in found.values()} == {"0"}
    assert {label: row["threshold"] for label, row in found.items()} == {"masks": "", "runs.csv": "", "unet.pth": "0.5"}
    assert found["masks"]["surplus"] == found["runs.csv"]["surplus"] == "4"  # the photographs of trainval


@pytest.mark.usefixtures("six")
def test_a_link_to_the_truth_is_no_submission() -> None:
    Path("linked").symlink_to("data/annotations/trimaps")
    hand_in("masks", true_masks(Path("data")))
    done = script("grade", "linked", "masks", "--data", "data", "--out", "out")
    assert done.code == 1 and "linked: is a link to the truth in data; a submission is" in done.err
    assert float(summary()["masks"]["dice"]) == 1
    assert float(graded("data/annotations/trimaps")["trimaps"]["dice"]) == 1  # of whoever names it


@pytest.mark.usefixtures("data")
def test_a_mask_that_leads_to_itself_stops_no_other() -> None:
    Path("loop").mkdir()
    Path("loop/pug_1.png").symlink_to("pug_1.png")
    Path("around").symlink_to("around")
    hand_in("masks", {"pug_1": MASK})
    done = script("grade", "loop", "around", "masks", "--data", "data", "--out", "out")
    assert done.code == 1, done.err
    assert summary()["loop"]["unreadable"] == "1"
    assert float(summary()["masks"]["dice"]) == pytest.approx(DICE["pet"], abs=1e-5)


@pytest.mark.usefixtures("data")
def test_a_mask_much_larger_than_its_photograph_is_not_decoded() -> None:
    larger = MASK.repeat(5, 0).repeat(5, 1)
    done = script("grade", str(hand_in("masks", {"pug_1": larger})), "--data", "data", "--out", "out")
    assert done.code == 1 and summary()["masks"]["unreadable"] == "1"
    assert "more than 16 times the photograph" in done.err


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read: Permission denied"),
        (MemoryError(), "does not fit into memory"),
        (RuntimeError("CUDA out of memory"), "does not fit into memory"),
    ],
)
def test_a_mask_that_cannot_be_had_counts_as_empty(error: Exception, problem: str) -> None:
    def fails(*_: object) -> np.ndarray:
        raise error

    mask, said = grades.mask_of(submissions.Submission("a", "masks", fails), "pug_1", (2, 3))
    assert (mask.shape, bool(mask.any()), said) == ((2, 3), False, problem)


def test_a_mistake_in_the_code_is_not_hidden() -> None:
    def fails(*_: object) -> np.ndarray:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        grades.mask_of(submissions.Submission("a", "weights", fails), "pug_1", (2, 3))


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_have_the_dice_that_evaluate_finds(six: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the photograph's own size, whatever the size of the network; a threshold is used."""
    checkpoint.save(Path("low.pth"), bright(32))
    checkpoint.save(Path("high.pth"), bright(48))
    for threshold in ("0.5", "0.001"):
        found = graded("low.pth", "high.pth", "--threshold", threshold)
        for name in ("low.pth", "high.pth"):
            evaluate.any_weights(evaluate.arguments(["--weights", name, "--data", str(six), "--threshold", threshold]))
            (native,) = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "dice_native" in line]
            assert float(found[name]["dice"]) == pytest.approx(float(native), abs=1e-4)
            assert found[name]["threshold"] == threshold
        assert "ensemble" not in found


@pytest.mark.usefixtures("six")
def test_two_networks_and_no_ensemble() -> None:
    checkpoint.save(Path("a.pth"), bright())
    checkpoint.save(Path("b.pth"), untrained())
    assert set(graded("a.pth", "b.pth")) == {"a.pth", "b.pth"}


# --- the truth --------------------------------------------------------------------------------------------------------


def test_archives_are_read_and_leave_nothing(six: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = Path("temporary")
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary.resolve()))
    Path("packed").mkdir()
    for name in ("images", "annotations"):
        with tarfile.open(f"packed/{name}.tar.gz", "w:gz") as tar:
            tar.add(six / name, name)
    masks = hand_in("masks", true_masks(six))
    done = script("grade", str(masks), "--data", "packed", "--out", "out")
    assert done.code == 0, done.err
    assert float(summary()["masks"]["dice"]) == 1
    assert "<img" in Path("out/grades.html").read_text(encoding="utf-8")
    assert list(temporary.iterdir()) == []


def test_masks_need_no_photographs(six: Path) -> None:
    """Only the pictures of the page are left out."""
    for photograph in (six / "images").iterdir():
        photograph.unlink()
    assert float(graded(hand_in("masks", true_masks(six)))["masks"]["dice"]) == 1
    page = Path("out/grades.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert names(six)[0] in page


def test_weights_need_the_photographs_and_masks_are_graded_without(six: Path) -> None:
    (six / f"images/{names(six)[0]}.jpg").unlink()
    masks = hand_in("masks", true_masks(six))
    checkpoint.save(Path("a.pth"), bright())
    done = script("grade", str(masks), "a.pth", "--data", str(six), "--out", "out")
    assert done.code == 1
    assert f"a.pth: weights are graded on photographs, but {six}/images lacks 1 of them" in done.err
    assert float(summary()["masks"]["dice"]) == 1


@pytest.mark.usefixtures("place")
def test_without_data_the_cached_test_split() -> None:
    masks = hand_in("masks", true_masks(Path("dataset/oxford-iiit-pet")))
    done = script("grade", str(masks), "saved_models/unet.pth")
    assert done.code == 0, done.err
    assert "4 photographs of the cached test split, each at its own size; the border counts as pet" in done.out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    pets.make_dataset(folder / "dataset/oxford-iiit-pet", trainval=12, test=4)
    return folder


@pytest.fixture
def place(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose photographs are preprocessed, with weights; working directory."""
    monkeypatch.chdir(finished)
    write_params()
    succeeded("preprocess")
    write_weights()
    return finished


# --- what is printed and written --------------------------------------------------------------------------------------


def test_without_out_nothing_is_written(six: Path) -> None:
    masks = hand_in("masks", true_masks(six))
    before = tree()
    done = script("grade", str(masks), "--data", "data")
    assert done.code == 0
    assert tree() == before
    head, line = done.out.splitlines()[1:3]
    assert head.split()[:3] == ["kind", "Dice", "95%"]
    assert line.split()[:7] == ["masks", "masks", "1.0000", "1.0000", "to", "1.0000", "best"]


def test_submissions_of_one_name_are_told_apart(six: Path) -> None:
    for student in ("alice", "bob"):
        Path(student).mkdir()
        hand_in(f"{student}/masks", true_masks(six))
    assert set(graded("alice/masks", "bob/masks")) == {"alice/masks", "bob/masks"}


def test_the_page_in_a_browser(six: Path, tmp_path: Path) -> None:
    """No request, no scroll to the side, light and dark, on a phone and on a desk."""
    if not browser.PROGRAM:
        pytest.skip("no Chromium")
    folders = [hand_in(f"student {number}", true_masks(six)) for number in range(6)]
    graded(*folders, "--border", "ignore")
    with browser.browser(tmp_path / "profile") as page:
        page.show(390)
        page.open(Path("out/grades.html"))
        colours = set()
        for width, dark in ((390, False), (390, True), (1280, False), (1280, True)):
            page.show(width, dark=dark)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2
        requests = [event["request"]["url"] for event in page.happened("Network.requestWillBeSent")]
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert not page.happened("Runtime.exceptionThrown")
        text = page.evaluate("document.body.innerText")
    assert "the border counts nowhere" in text
    assert "Worst photographs of student 5" in text


# --- what cannot be graded --------------------------------------------------------------------------------------------


def test_a_bad_submission_does_not_stop_the_others(six: Path) -> None:
    masks = hand_in("masks", true_masks(six))
    Path("empty").mkdir()
    Path("notes.txt").write_text("hello")
    Path("junk.pth").write_bytes(b"junk")
    words = ["absent", "empty", "notes.txt", "junk.pth", str(masks)]
    done = script("grade", *words, "--data", "data", "--out", "out")
    assert done.code == 1
    assert done.line == "grade: named above: submissions that cannot be graded: 4, masks: 0"
    found = summary()
    assert float(found["masks"]["dice"]) == 1
    for label, reason in {
        "absent": "is missing",
        "empty": "no PNG in it has the name of a photograph",
        "notes.txt": "a submission is a folder of mask PNGs",
        "junk.pth": "not a weights file",
    }.items():
        assert reason in found[label]["problem"]
        assert found[label]["dice"] == ""
        assert any(line.split() == [label, "not", "graded"] for line in done.out.splitlines())
        assert reason in done.err
        assert reason in Path("out/grades.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["absent", "--data", "data"], "none of the submissions can be graded"),
        (["masks", "--data", "absent"], "absent/annotations/test.txt: not found"),
        (["masks", "--data", "data", "--out", "file"], "file: is a file; --out takes a folder"),
        (["masks", "--data", "data", "--out", "masks"], "masks: is graded or compared with"),
        (["masks", "--data", "data", "--out", "data/../data"], "is graded or compared with"),
        (["masks"], "not found"),
    ],
)
def test_a_run_that_cannot_be(six: Path, words: Sequence[str], line: str) -> None:
    hand_in("masks", true_masks(six))
    Path("file").write_text("")
    before = tree()
    done = script("grade", *words)
    assert done.code == 1
    assert line in done.line
    assert tree() == before


@pytest.mark.parametrize(
    "words", [[], ["a", "a"], ["a", "--border", "other"], ["a.pth", "--threshold", "1"], ["a", "--threshold", "0.5"]]
)
def test_a_wrong_command_line_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        grade.arguments(words)
    assert end.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_a_csv_that_would_replace_a_photograph(six: Path) -> None:
    checkpoint.save(Path("unet.pth"), bright())
    photograph = next((six / "images").iterdir())
    before = photograph.read_bytes()
    for target, reason in ((photograph, "is an input and would be overwritten"), (six, "is a folder")):
        words = ["--weights", "unet.pth", "--out", "out", "--csv", str(target), str(photograph)]
        with pytest.raises(Refusal, match=reason):
            inference.main(inference.arguments(words))
    assert photograph.read_bytes() == before
    assert not Path("out").exists()


def test_the_csv_has_no_row_for_what_cannot_be_read(six: Path) -> None:
    checkpoint.save(Path("unet.pth"), bright())
    Path("broken.jpg").write_bytes(b"no")
    words = ["--weights", "unet.pth", "--out", "out", "--csv", "new/runs.csv", "broken.jpg", str(six / "images")]
    with pytest.raises(Refusal, match="not usable, and named above: 1"):
        inference.main(inference.arguments(words))
    assert len(rows("new/runs.csv")) == 10
