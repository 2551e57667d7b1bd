"""Pictures are judged by what they show: where which colour is."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dvc_render import VegaRenderer  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis.extra import numpy as arrays
from PIL import Image

from report import pictures
from report.looks import KNOWN as LOOKS
from report.pictures import EXCESS, MISSED, PANEL, Photo, rgb
from results import NETWORKS
from training import ROOT

TEMPLATES = Path(__file__).parents[1] / ".dvc/plots"


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def places(picture: np.ndarray, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of exactly this colour."""
    rows, columns = np.nonzero((picture == rgb(colour)).all(-1))
    return rows, columns


def shows(picture: np.ndarray, name: str) -> bool:
    return len(places(picture, LOOKS[name].colour)[0]) > 50


def history(valid: float, epochs: int) -> pd.DataFrame:
    columns = {"epoch": range(1, epochs + 1), "train_dice": valid + 0.05, "valid_dice": valid}
    return pd.DataFrame(columns | {"train_loss": 1 - valid, "valid_loss": 1.1 - valid})


@pytest.mark.parametrize("epochs", [1, 2, 300])
@pytest.mark.parametrize("quantity", ["dice", "loss"])
def test_curves_show_both_networks_the_better_one_where_it_belongs(epochs: int, quantity: str) -> None:
    histories = {"unet": history(0.9, epochs), "resnet34_unet": history(0.6, epochs)}
    picture = decoded(pictures.curves(histories, quantity, quantity.title(), dict.fromkeys(NETWORKS, 1)))
    unet, resnet = (places(picture[120:], LOOKS[name].colour)[0] for name in NETWORKS)  # below the legend
    assert picture.shape[0] > 400 and picture.shape[1] > 600
    assert len(unet) > 20 and len(resnet) > 20
    assert (np.median(unet) < np.median(resnet)) == (quantity == "dice")


def test_a_bad_first_epoch_does_not_flatten_the_other_losses() -> None:
    def spread(first: float) -> float:
        losses = history(0.5, 12).assign(valid_loss=np.linspace(0.5, 0.2, 12), train_loss=0.4)
        losses.loc[0, "train_loss"] = first
        picture = decoded(pictures.curves({"unet": losses}, "loss", "Loss", {"unet": 12}))[120:]
        rows, columns = places(picture, LOOKS["unet"].colour)
        right = columns > 200  # past the first epoch
        return float(np.ptp(rows[right]))

    assert spread(15) > 0.3 * spread(0.5) > 30
    assert spread(3) < spread(0.5) / 3  # not cut: only a peak that hides all else is


def test_the_epoch_that_was_kept_is_marked() -> None:
    """Also where another one has a higher Dice, as a smaller size may."""
    columns = []
    for epoch in (5, 15):
        table = history(0.5, 20).assign(valid_dice=np.linspace(0.9, 0.5, 20), train_dice=0.1)
        picture = decoded(pictures.curves({"unet": table}, "dice", "Dice", {"unet": epoch}))[120:]
        _, found = places(picture, LOOKS["unet"].colour)
        columns.append(int(np.bincount(found).argmax()))  # where most of the colour is above one another
    assert 0.4 < (columns[1] - columns[0]) / picture.shape[1] < 0.6


def test_the_validation_curve_is_solid_and_the_training_curve_dashed() -> None:
    picture = decoded(pictures.curves({"unet": history(0.5, 20)}, "dice", "Dice", {"unet": 1}))[120:]
    rows, columns = places(picture, LOOKS["unet"].colour)
    solid = np.bincount(rows).argmax()
    dashed = np.bincount(rows[rows < solid - 20]).argmax()
    full, part = (columns[rows == row] for row in (solid, dashed))
    assert len(full) > 0.9 * np.ptp(full)
    assert 0.4 * np.ptp(part) < len(part) < 0.85 * np.ptp(part)


def test_the_threshold_in_use_is_marked() -> None:
    table = pd.DataFrame({"threshold": np.linspace(0.05, 0.95, 19), **dict.fromkeys(LOOKS, 0.8)})

    def marker(used: float) -> float:
        rows, columns = places(decoded(pictures.thresholds(table, {"ensemble": used}))[100:], "#CC79A7")
        level = np.bincount(rows).argmax()
        return float(columns[abs(rows - level) > 4].mean())  # the line is thin, the marker is not

    assert marker(0.3) + 100 < marker(0.7)


def test_the_distribution_has_a_histogram_for_each_network_in_order() -> None:
    scores = dict(zip(LOOKS, (np.full(9, 0.55), np.full(9, 0.75), np.linspace(0.5, 1, 9)), strict=True))
    picture = decoded(pictures.distribution(scores))
    rows, columns = zip(*(map(np.mean, places(picture, look.colour)) for look in LOOKS.values()), strict=True)
    assert rows[0] < rows[1] < rows[2]
    assert columns[0] + 100 < columns[1]


@pytest.mark.parametrize("value", [0.0, 0.93, 1.0])
def test_the_distribution_of_a_single_photograph_is_a_bar(value: float) -> None:
    picture = decoded(pictures.distribution({name: np.array([value]) for name in LOOKS}))
    assert all(shows(picture, name) for name in LOOKS)


def breeds(scores: dict[str, float]) -> tuple[pd.DataFrame, list[str]]:
    kinds = ["all", *["breed"] * (len(scores) - 1)]
    dice = {f"{name}_dice": np.array(list(scores.values())) + 0.01 * place for place, name in enumerate(LOOKS)}
    return pd.DataFrame({"group": list(scores), "kind": kinds, "images": 5, **dice}), list(LOOKS)


def test_the_best_breed_is_on_top_below_all_photographs() -> None:
    picture = decoded(pictures.by_group(*breeds({"all": 0.7, "worse": 0.5, "better": 0.9})))[70:]
    rows, columns = places(picture, LOOKS["unet"].colour)
    cuts = np.flatnonzero(np.diff(rows) > 5) + 1  # rows come sorted: a jump is a new group
    places_of_dots = [part.mean() for part in np.split(columns, cuts)]
    assert len(places_of_dots) == 3
    assert places_of_dots[2] < places_of_dots[0] < places_of_dots[1]


def test_without_breeds_the_picture_says_so() -> None:
    table, names = breeds({"all": 0.7})
    assert not pictures.has_breeds(table) and pictures.has_breeds(breeds({"all": 0.7, "pug": 0.7})[0])
    picture = decoded(pictures.by_group(table, names))
    assert all(shows(picture, name) for name in LOOKS)
    as_if = decoded(pictures.by_group(table.assign(kind="breed"), names))
    heading = slice(0, 30)  # rows
    assert (picture[heading] != as_if[heading]).any(), "another heading"


def test_many_breeds_and_long_names_have_room() -> None:
    few = decoded(pictures.by_group(*breeds({"all": 0.7, "pug": 0.7})))
    names = [f"{'long_name_' * 9}{i} $\\frac$" for i in range(37)]
    many = decoded(pictures.by_group(*breeds({"all": 0.7} | dict(zip(names, np.linspace(0.5, 0.9, 37), strict=True)))))
    assert many.shape[1] == few.shape[1]
    assert many.shape[0] > few.shape[0] + 36 * 30
    assert all(shows(many, name) for name in LOOKS)
    assert (many[:, -1] == 255).all()


masks = arrays.arrays(bool, (4, 4))


@given(masks, masks, arrays.arrays(np.uint8, (4, 4)))
def test_mistakes_and_nothing_else_are_coloured(truth: np.ndarray, predicted: np.ndarray, grey: np.ndarray) -> None:
    picture = pictures.marked(grey, truth, predicted)
    assert ((picture == rgb(EXCESS)).all(-1) == (predicted & ~truth)).all()
    assert ((picture == rgb(MISSED)).all(-1) == (truth & ~predicted)).all()
    right = picture[truth == predicted]
    assert (right == right[:, :1]).all()
    lit, dark = picture[truth & predicted, 0], picture[~truth & ~predicted, 0]
    assert not lit.size or not dark.size or lit.min() > dark.max()


def photo(side: int = 32) -> Photo:
    """Truth: the upper half. UNet: the left half. ResNet34-UNet: right."""
    upper, left = np.zeros((2, side, side), bool)
    upper[: side // 2], left[:, : side // 2] = True, True
    predicted = {"unet": left, "resnet34_unet": upper}
    image = np.full((side, side, 3), (200, 30, 90), np.uint8)
    return Photo("pug_1", image, upper, predicted, {"unet": 0.5, "resnet34_unet": 1.0})


@pytest.mark.parametrize("side", [16, 48, 64, 300])
def test_a_strip_shows_photograph_truth_and_each_mask(side: int) -> None:
    strip = pictures.strip(photo(side))
    panel = strip.shape[0]
    gap = round(pictures.GAP * panel)
    assert panel >= PANEL and panel % side == 0
    assert strip.shape == (panel, 4 * panel + 3 * gap, 4)
    assert (strip[:, panel : panel + gap, 3] == 0).all()
    colour, truth, unet, resnet = (strip[:, step * (panel + gap) :][:, :panel, :3] for step in range(4))
    low, high = panel // 4, 3 * panel // 4
    assert tuple(colour[low, low]) == (200, 30, 90)
    assert truth[low, low, 0] > truth[high, low, 0]
    assert tuple(unet[low, high]) == rgb(MISSED) and tuple(unet[high, low]) == rgb(EXCESS)
    assert (resnet == truth).all()


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_a_sheet_has_room_for_each_photograph(count: int) -> None:
    picture = decoded(pictures.sheet([photo()._replace(name=f"pug_{'x' * 200}{i}") for i in range(count)], "Test"))
    wrong = len(places(picture, EXCESS)[0])
    area = (5 * 160 / (4 + 3 * pictures.GAP)) ** 2 / 4  # of the wrong quarter of one panel
    assert 0.85 * count * area < wrong < 1.1 * count * area + 3000  # and the key
    assert picture.shape[1] > picture.shape[0] * (1.5 if count < 3 else 0.6)


@pytest.mark.parametrize("red", [0.11, 0.29], ids=["no red cones", "no green cones"])
def test_mistakes_are_told_apart_from_networks_and_from_each_other_without_red_and_green(red: float) -> None:
    """As who lacks one kind of cones sees them, after Viénot and others (1999): red and green are one, by weight."""

    def seen(colour: str) -> np.ndarray:
        r, g, b = (np.array(rgb(colour)) / 255) ** 2.2
        return 255 * np.array([red * r + (1 - red) * g, b]) ** (1 / 2.2)

    networks = [look.colour for look in LOOKS.values()]
    for mistake, others in ((EXCESS, [*networks, MISSED]), (MISSED, networks)):
        for other in others:
            assert np.abs(seen(mistake) - seen(other)).max() > 30, (mistake, other)


def test_the_backend_of_a_notebook_is_not_taken() -> None:
    """Which may be missing here: matplotlib then cannot be imported."""
    code = "import report.pictures, matplotlib; print(matplotlib.get_backend())"
    notebook = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | notebook, capture_output=True, text=True, check=True
    )
    assert done.stdout == "agg\n"


def test_equal_numbers_give_equal_bytes() -> None:
    assert pictures.sheet([photo()], "Test") == pictures.sheet([photo()], "Test")
    assert b"Software" not in pictures.sheet([photo()], "Test")


@pytest.mark.parametrize("template", ["curves", "dice_distribution"])
def test_dvc_fills_the_templates_and_they_have_the_same_colours(template: str) -> None:
    y = [{"filename": f"history_{name}.csv", "field": "valid_dice"} for name in NETWORKS]
    points = [{**source, "rev": rev, "epoch": "1", "valid_dice": "0.9"} for rev in ("HEAD", "main") for source in y]
    labels = {"x_label": "the epoch", "y_label": "the Dice", "title": "A title"}
    options = {"x": "epoch", "y": "valid_dice", "anchors_y_definitions": y, **labels}
    renderer = VegaRenderer(points, "plot", template=template, template_dir=str(TEMPLATES), **options)
    filled = renderer.get_filled_template()
    text = json.dumps(filled)
    assert "<DVC" not in text
    assert filled["data"]["values"] == points and {"filename", "field", "rev"} <= points[0].keys()
    assert all(f'"{label}"' in text for label in labels.values())
    assert text.index(LOOKS["unet"].colour) < text.index(LOOKS["resnet34_unet"].colour)
