"""Stage `plot`: histories, metrics and cached predictions become pictures and a report page. No network is run."""

from __future__ import annotations

import argparse

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # before the imports below: `--help` answers at once

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import params
from oxford_pet import foreground
from report import document, pictures
from report.document import Chart
from report.pictures import LOOKS, NETWORKS, Photo
from utils import Refusal, run, write_bytes

IMAGES = Path("plots/images")
HISTORY = ("epoch", "train_loss", "train_dice", "valid_loss", "valid_dice")
DICE = tuple(f"{name}_dice" for name in LOOKS)


def main() -> None:
    values = params.read(params.FILE)
    params.check(values, str(params.FILE))
    histories = {name: read_table(Path(f"plots/history_{name}.csv"), numbers=HISTORY) for name in NETWORKS}
    by_image = read_table(Path("plots/test_images.csv"), numbers=DICE, texts=("name",))
    by_group = read_table(Path("plots/test_breeds.csv"), numbers=("images", *DICE), texts=("group", "kind"))
    curve = read_table(Path("plots/thresholds.csv"), numbers=("threshold", *LOOKS))
    training = {name: read_training(Path(f"metrics/{name}.json")) for name in NETWORKS}
    scores = read_scores(Path("metrics/test.json"))
    counts = read_json(Path("metrics/data.json"))
    photos = read_photos(Path("dataset/predictions.npz"), by_image)
    dataset = read_png(IMAGES / "dataset.png")

    drawn = {
        "curves_dice": pictures.curves(histories, "dice", "Dice", best="max"),
        "curves_loss": pictures.curves(histories, "loss", "Loss", best="min"),
        "dice_distribution": pictures.distribution({name: by_image[f"{name}_dice"].to_numpy() for name in LOOKS}),
        "dice_by_breed": pictures.by_group(by_group),
        "thresholds": pictures.thresholds(curve, {name: scores[name]["threshold"] for name in LOOKS}),
        "test_sheet": pictures.sheet(photos["sheet"], "Test photographs"),
        "worst": pictures.sheet(photos["worst"], "Test photographs with the lowest Dice"),
    }
    html = page(drawn | {"dataset": dataset}, photos, scores, training, counts, values, len(by_image))

    for name, png in drawn.items():
        write_bytes(IMAGES / f"{name}.png", png)
    write_bytes(Path("plots/report.html"), html.encode(errors="replace"))
    print(f"plots/report.html, and {len(drawn)} pictures in {IMAGES}")


def page(
    drawn: Mapping[str, bytes],
    photos: Mapping[str, Sequence[Photo]],
    scores: Mapping[str, Any],
    training: Mapping[str, Any],
    counts: Mapping[str, Any],
    values: Mapping[str, Any],
    images: int,
) -> str:
    test, threshold = each(scores, "dice", LOOKS), each(scores, "threshold", LOOKS)
    best, epoch = each(training, "valid_dice", NETWORKS), each(training, "best_epoch", NETWORKS)
    sections = {
        "Scores": document.scores_table(scores),
        "Training and threshold": document.charts(
            Chart(
                drawn["curves_dice"],
                f"Training and validation Dice by epoch. Best validation Dice: {best}; in epoch: {epoch}.",
                "The weights of the epoch with the best validation Dice are the ones that are tested.",
            ),
            Chart(
                drawn["curves_loss"],
                "Training and validation loss by epoch.",
                "Validation loss that rises while training loss falls means overfitting.",
            ),
            Chart(
                drawn["thresholds"],
                f"Validation Dice by threshold. In use: {threshold}.",
                "A flat top means that the choice hardly matters. The test split has no part in it.",
            ),
        ),
        "Where it succeeds and fails": document.charts(
            Chart(
                drawn["dice_distribution"],
                f"Histograms of the Dice of the test photographs. Means: {test}.",
                "A long tail to the left: a few photographs fail while most do well.",
            ),
            Chart(
                drawn["dice_by_breed"],
                "Mean Dice of the test photographs by breed, the best on top, below all photographs, cats and dogs.",
                "In brackets the number of photographs; few photographs make an unsure mean.",
            ),
        ),
        "Test photographs": document.mistakes_key() + document.strips(photos["sheet"]),
        "Lowest Dice, worst first": document.mistakes_key() + document.strips(photos["worst"]),
        "Data": document.charts(Chart(drawn["dataset"], "Photographs of each split.", "At the size the networks see."))
        + document.tree(counts),
        "Networks and environment": document.networks_table(training),
        "Parameters": document.tree(values),
    }
    lead = document.paragraph(
        f"Mean Dice of the test photographs, and its 95% interval. Photographs: {images}.", "quiet"
    )
    return document.page("Pet segmentation", lead + document.cards(scores) + document.in_words(scores), sections)


def each(values: Mapping[str, Any], key: str, names: Iterable[str]) -> str:
    return ", ".join(f"{LOOKS[name].title} {values[name][key]:.4g}" for name in names)


# --- inputs -----------------------------------------------------------------------------------------------------------


def read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise Refusal(f"{file}: not found; `dvc repro` makes it") from None


def read_png(file: Path) -> bytes:
    png = read_bytes(file)
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise malformed(file, f"not a PNG picture ({error})") from None
    return png


def malformed(file: Path, why: object) -> Refusal:
    return Refusal(f"{file}: {why}; delete it and run `dvc repro` to make it anew")


def read_table(file: Path, numbers: Sequence[str], texts: Sequence[str] = ()) -> pd.DataFrame:
    """The named columns of a CSV with at least one row; every number finite."""
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(file)), dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:  # EmptyDataError and UnicodeDecodeError are ValueErrors
        raise malformed(file, f"not a CSV table ({error})") from None
    missing = [name for name in (*texts, *numbers) if name not in table]
    if missing or table.empty:
        raise malformed(file, f"no column {missing[0]}" if missing else "holds no row")
    for name in numbers:
        table[name] = pd.to_numeric(table[name], errors="coerce")
        if not np.isfinite(table[name]).all():
            raise malformed(file, f"column {name} holds something that is not a number")
    return table


def read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise malformed(file, f"not JSON ({error})") from None
    if not isinstance(values, dict):
        raise malformed(file, "holds no metrics")
    return values


def read_training(file: Path) -> dict[str, Any]:
    values = read_json(file)
    require(file, values, "valid_dice", "best_epoch")
    if not isinstance(values.get("environment"), dict):
        raise malformed(file, "environment is missing")
    return values


def read_scores(file: Path) -> dict[str, Any]:
    values = read_json(file)
    for name in LOOKS:
        require(file, values, f"{name}.dice", f"{name}.dice_low", f"{name}.dice_high", f"{name}.threshold")
    require(file, values, "all_foreground.dice", "mean_mask.dice")
    require(file, values, "difference.dice", "difference.dice_low", "difference.dice_high")
    return values


def require(file: Path, values: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        value: Any = values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise malformed(file, f"{key} is missing or not a number")


def read_photos(file: Path, by_image: pd.DataFrame) -> dict[str, list[Photo]]:
    """The photographs of the two sheets (`sheet`, `worst`), masks thresholded, scores from the table of all images."""
    dice = by_image.drop_duplicates("name").set_index("name")
    photos: dict[str, list[Photo]] = {"sheet": [], "worst": []}
    content = io.BytesIO(read_bytes(file))
    try:
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for index, (name, kind) in enumerate(zip(arrays["names"].tolist(), arrays["kinds"].tolist(), strict=True)):
            limits = zip(NETWORKS, arrays["thresholds"].tolist(), strict=True)
            photo = Photo(
                name,
                arrays["images"][index],
                foreground(arrays["trimaps"][index]),
                {network: arrays[network][index] >= 255 * limit for network, limit in limits},
                {network: float(dice.loc[name, f"{network}_dice"]) for network in NETWORKS},
            )
            side = photo.image.shape[0]
            shapes = {photo.image.shape[:2], photo.truth.shape, *(mask.shape for mask in photo.predicted.values())}
            if shapes != {(side, side)} or photo.image.shape[2:] != (3,) or photo.image.dtype != np.uint8:
                raise ValueError("pictures and masks differ in shape")
            photos[kind].append(photo)
    except KeyError as error:
        raise malformed(file, f"{error.args[0]} is missing in it, or in plots/test_images.csv") from None
    except Exception as error:  # of damaged bytes NumPy and zipfile raise all kinds
        raise malformed(file, f"not the predictions that evaluate writes ({str(error).partition('.')[0]})") from None
    for kind, members in photos.items():
        if not members:
            raise malformed(file, f"no photograph of the kind {kind}")
    return photos


if __name__ == "__main__":
    run(main)
