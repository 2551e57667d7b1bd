from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import browser
import plot
from reliability import fault
from report import document
from report.looks import KNOWN as LOOKS
from results import make_results, write_arrays
from scoring.scores import POINTS
from utils import Refusal

SRC = Path(plot.__file__).parent
HOSTILE = '<img src=x onerror=alert(1)>&"quoted"'
IMAGES = ("curves_dice", "curves_loss", "dice_distribution", "dice_by_breed", "thresholds", "test_sheet", "worst")
pytestmark = pytest.mark.slow

OUTPUTS = ["plots/report.html", *(f"plots/images/{name}.png" for name in IMAGES)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of the stage; a breed has a hostile name."""
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, breeds=("Abyssinian", HOSTILE, "pug"))
    return folder


@pytest.fixture(scope="module")
def made(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder after the stage has run."""
    folder = tmp_path_factory.mktemp("made") / "all"
    shutil.copytree(results, folder)
    done = run_stage(folder, PYTHONPROFILEIMPORTTIME="1")
    (folder / "imports.txt").write_text(done.stderr)
    return folder


@pytest.fixture
def inputs(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, as working directory."""
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_stage(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SRC / "plot.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=os.environ | environment)


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(made: Path) -> Page:
    return Page((made / "plots/report.html").read_text(encoding="utf-8"))


# --- the stage --------------------------------------------------------------------------------------------------------


def test_every_picture_is_written_and_shows_something(made: Path) -> None:
    for name in IMAGES:
        with Image.open(made / f"plots/images/{name}.png") as image:
            assert image.width > 500 and image.height > 200
            assert len(np.unique(np.asarray(image.convert("L")))) > 50
            assert not {"Software", "Creation Time"} & image.info.keys()


def test_a_second_run_with_other_settings_of_matplotlib_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\nsavefig.dpi: 30\nbackend: svg\n")
    for name in OUTPUTS:
        (tmp_path / name).unlink()
    run_stage(tmp_path, MATPLOTLIBRC=str(tmp_path / "matplotlibrc"))
    assert all((tmp_path / name).read_bytes() == (made / name).read_bytes() for name in OUTPUTS)


@fault("Numbers", "one epoch and one test photograph", "every picture and the page are made")
def test_one_epoch_and_one_photograph_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_results(tmp_path, epochs=1, images=1, shown=1)
    monkeypatch.chdir(tmp_path)
    plot.main()
    assert all((tmp_path / name).stat().st_size for name in OUTPUTS)


def test_no_network_is_loaded(made: Path) -> None:
    imported = {line.split("|")[-1].strip() for line in (made / "imports.txt").read_text().splitlines()}
    assert "report.pictures" in imported and "torch" not in imported


@fault("Input", "words behind a script that takes none", "usage and one line, exit 2")
def test_it_takes_no_arguments(results: Path) -> None:
    command = [sys.executable, str(SRC / "plot.py"), "more"]
    done = subprocess.run(command, cwd=results, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "unrecognized arguments: more" in done.stderr


# --- the page ---------------------------------------------------------------------------------------------------------


@fault("Hostile", "markup in the name of a breed", "it is text in the report; nothing is executed or fetched")
def test_the_page_holds_everything_itself_and_no_script(page: Page) -> None:
    assert not page.all("script") and not page.all("a")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert any((meta.get("content") or "").startswith("default-src 'none'") for meta in page.all("meta"))


def test_the_page_shows_scores_intervals_and_baselines(made: Path, page: Page) -> None:
    written = json.loads((made / "metrics/test.json").read_text())
    scores = {row["method"]: row for row in written["scores"]}
    for name in (*LOOKS, "all_foreground", "mean_mask"):
        assert f"{scores[name]['dice']:.4f}" in page.text
        assert f"{scores[name]['dice_low']:.3f}–{scores[name]['dice_high']:.3f}" in page.text
    assert f"{scores['unet']['dice']:.3f}" in page.text and "80 points" in page.text


def test_the_page_explains_the_points_as_they_are_given(page: Page) -> None:
    for least, earned in POINTS:
        assert re.search(rf"from {least:.2f} on (earns )?{earned}\b", page.text)


def test_the_page_shows_parameters_environment_and_counts(page: Page) -> None:
    parameters = ("0.003", "[64, 32, 16, 16, 16]", "train.augment", "hflip", "true")
    for text in (*parameters, "Example <2 cores>", "1\u202f944\u202f049", "270"):
        assert text in page.text


@fault("Hostile", "markup in the name of a breed", "it is text in the report; nothing is executed or fetched")
def test_names_from_files_are_text_not_markup(page: Page) -> None:
    assert "onerror" not in {key for _, attributes in page.elements for key in attributes}
    assert HOSTILE in page.text


def test_every_image_says_what_it_shows(page: Page) -> None:
    texts = [image["alt"] or "" for image in page.all("img")]
    assert len(texts) == 6 + 2 * 3  # charts and photographs
    assert all(len(text) > 20 for text in texts)
    assert sum("UNet 0." in text for text in texts) == 2 + 1 + 6  # best of the curves, means, photographs


@fault("Hostile", "markup in the name of a breed", "it is text in the report; nothing is executed or fetched")
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_comes_back_from_the_page_as_it_was(name: str, value: str) -> None:
    read = Page(document.tree({name + "x": {"key": value}}) + document.table([(name, "#000")], [(value, name)]))
    assert read.text.replace("\n", "") == f"{name}xkey{value}{name}{value}{name}".replace("\n", "")
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8)
    assert Page(document.image(png, name)).all("img")[0]["alt"] == name


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.004, 0.02, "ResNet34-UNet is better than UNet by 0.012 Dice (95% interval 0.004 to 0.020)"),
        (-0.02, -0.004, "UNet is better than ResNet34-UNet by 0.012 Dice (95% interval 0.004 to 0.020)"),
        (-0.004, 0.028, "No clear winner: ResNet34-UNet minus UNet is +0.012 Dice (95% interval −0.004 to +0.028)"),
        (-0.0001, 0.0001, "minus UNet is +0.000 Dice"),
    ],
)
def test_the_difference_in_words(low: float, high: float, words: str) -> None:
    difference = {"dice": (low + high) / 2, "dice_low": low, "dice_high": high}
    methods = ("unet", "resnet34_unet", "ensemble")
    scores: dict[str, dict[str, Any]] = {name: {"dice": 0.9} for name in methods}
    scores |= {"all_foreground": {"dice": 0.55, "border": "ignore"}, "mean_mask": {"dice": 0.61}}
    said = document.in_words(scores, [{"network": "resnet34_unet", "minus": "unet", **difference}])
    assert words in said and "−0.000" not in said
    assert "0.550" in said and "0.610" in said
    assert said.endswith("In all scores the border counts nowhere.</p>")


def test_a_row_without_any_value_is_left_out() -> None:
    scores: dict[str, dict[str, Any]] = {name: {"dice": 0.9} for name in (*LOOKS, *document.BASELINES)}
    scores["unet"]["dice_cats"] = 0.8
    text = Page(document.scores_table(scores)).text
    assert "Dice, cats" in text and "Dice, dogs" not in text


# --- bad inputs -------------------------------------------------------------------------------------------------------

INPUTS = (
    "params.yaml",
    "plots/history_unet.csv",
    "plots/history_resnet34_unet.csv",
    "plots/test_images.csv",
    "plots/test_breeds.csv",
    "plots/thresholds.csv",
    "metrics/unet.json",
    "metrics/resnet34_unet.json",
    "metrics/test.json",
    "metrics/data.json",
    "dataset/predictions.npz",
    "plots/images/dataset.png",
)


def refused(words: str) -> None:
    """One line that names the file, and nothing written."""
    with pytest.raises(Refusal) as caught:
        plot.main()
    assert re.search(words, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
    assert not [name for name in OUTPUTS if Path(name).exists()]


@fault("Input", "results of which one is missing", "one line names it; no page is written")
@pytest.mark.parametrize("file", INPUTS)
def test_a_missing_input_is_named(inputs: Path, file: str) -> None:
    (inputs / file).unlink()
    refused(f"^{file}: not found")


@fault("Corruption", "one of the results that the report is made from", "one line names it; no page is written")
@pytest.mark.parametrize("file", INPUTS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0\x81", b"[1]"])
def test_an_input_that_is_something_else_is_named(inputs: Path, file: str, content: bytes) -> None:
    (inputs / file).write_bytes(content)
    refused(f"^{file}: ")


@fault(
    "Corruption",
    "numbers in the results that the report is made from",
    "one line names file and key; no page is written",
)
@pytest.mark.parametrize("cell", ["nan", "inf", "much", ""])
def test_a_cell_that_is_no_number_is_named(inputs: Path, cell: str) -> None:
    file = inputs / "plots/history_unet.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], ",".join([*lines[2].split(",")[:-1], cell]), ""]))
    refused("^plots/history_unet.csv: column valid_dice holds something that is not a number")


@fault(
    "Corruption",
    "numbers in the results that the report is made from",
    "one line names file and key; no page is written",
)
def test_a_table_without_rows_is_named(inputs: Path) -> None:
    file = inputs / "plots/thresholds.csv"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    refused("^plots/thresholds.csv: holds no row")


@fault(
    "Corruption",
    "numbers in the results that the report is made from",
    "one line names file and key; no page is written",
)
@pytest.mark.parametrize("key", ["ensemble.dice_low", "mean_mask.dice", "unet.threshold"])
@pytest.mark.parametrize("value", [None, "0.9", True, float("nan"), {}])
def test_a_score_that_is_no_number_is_named(inputs: Path, key: str, value: object) -> None:
    file = inputs / "metrics/test.json"
    written = json.loads(file.read_text())
    method, score = key.split(".")
    next(row for row in written["scores"] if row["method"] == method)[score] = value
    file.write_text(json.dumps(written))
    refused(f"^metrics/test.json: {key} is missing or not a number")


@fault(
    "Corruption",
    "numbers in the results that the report is made from",
    "one line names file and key; no page is written",
)
@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ([], "differences is missing or not a list of objects"),
        ([1], "differences is missing or not a list of objects"),
        (
            [{"network": "unet", "minus": "x", "dice": 0, "dice_low": 0, "dice_high": 0}],
            "of networks that are not scored",
        ),
        ([{"network": "unet", "minus": "resnet34_unet", "dice": 0, "dice_low": 0}], "dice_high is missing"),
    ],
)
def test_a_difference_that_is_none_is_named(inputs: Path, spoilt: list[Any], words: str) -> None:
    file = inputs / "metrics/test.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"differences": spoilt}))
    refused(f"^metrics/test.json: .*{words}")


Arrays = dict[str, Any]


def spoil(key: str, value: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, key: value(arrays[key])}


@fault(
    "Corruption",
    "the kept predictions: parts missing, of other shapes, pickles",
    "one line names them; nothing is executed",
)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {key: value for key, value in arrays.items() if key != "mask_unet"}, "mask_unet is missing"),
        (spoil("names", lambda names: np.array(["nobody_1", *names[1:]])), "nobody_1 is missing"),
        (spoil("names", lambda names: names.astype(object)), "not the predictions"),  # a pickle: never opened
        (spoil("names", lambda names: names[1:]), "not the predictions"),
        (spoil("kinds", lambda kinds: np.full(kinds.shape, "sheet")), "no photograph of the kind worst"),
        (spoil("trimaps", lambda trimaps: trimaps[:, 1:]), "differ in shape"),
        (spoil("images", lambda images: images.astype(float)), "of another type"),
        (spoil("images", lambda images: images[:, 0]), "differ in shape"),
        (spoil("mask_resnet34_unet", lambda masks: masks[:2]), "not the predictions"),
        (spoil("mask_unet", lambda masks: 255 * masks.astype(np.uint8)), "of another type"),
    ],
)
def test_predictions_that_do_not_fit_are_named(inputs: Path, change: Callable[[Arrays], Arrays], words: str) -> None:
    with np.load(io.BytesIO((inputs / "dataset/predictions.npz").read_bytes())) as archive:
        arrays = dict(archive)
    write_arrays(inputs, change(arrays))
    refused(f"^dataset/predictions.npz: .*{words}")


# --- in a browser -----------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def opened(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    with browser.browser(tmp_path_factory.mktemp("profile")) as chromium:
        chromium.show(1280)
        chromium.open(made / "plots/report.html")
        yield chromium


@fault("Hostile", "markup in the name of a breed", "it is text in the report; nothing is executed or fetched")
@needs_browser
def test_nothing_is_requested_and_nothing_goes_wrong(opened: browser.Browser, made: Path) -> None:
    opened.evaluate("document.fonts.ready.then(() => 0)")
    requests = [event["request"]["url"] for event in opened.happened("Network.requestWillBeSent")]
    away = [url for url in requests if not url.startswith("data:")]
    assert away == [(made / "plots/report.html").as_uri()]
    assert not opened.happened("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_screen_and_all_images_are_seen(opened: browser.Browser, width: int) -> None:
    opened.show(width)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    images = opened.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.alt, i.getBoundingClientRect().toJSON()])"
    )
    assert len(images) == 12
    for complete, pixels, text, box in images:
        assert complete and pixels > 0 and text
        assert box["width"] >= 0.25 * min(width, 1180) and box["height"] > 40
        assert box["left"] >= 0 and box["right"] <= width


@needs_browser
def test_the_table_fits_a_phone(opened: browser.Browser) -> None:
    opened.show(390)
    assert opened.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth + 1)")


@needs_browser
def test_dark_is_dark_and_light_is_light(opened: browser.Browser) -> None:
    def corner(dark: bool) -> int:
        opened.show(390, dark=dark)
        with Image.open(io.BytesIO(opened.screenshot())) as shot:
            return int(np.asarray(shot.convert("L"))[2, 2])

    assert corner(dark=True) < 60 and corner(dark=False) > 230


@needs_browser
def test_it_prints_on_a_few_pages(opened: browser.Browser) -> None:
    pages = opened.pdf().count(b"/Type /Page\n")
    assert 2 <= pages <= 8
