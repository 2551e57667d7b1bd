"""Stage `plot`: histories, metrics and cached predictions become pictures and a report page. No network is run."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from oxford_pet import foreground
from params import load, networks
from report import document, pictures
from report.document import Chart
from report.looks import looks
from report.pictures import Photo
from utils import Refusal, described, run, write_bytes

IMAGES = Path("plots/images")
HISTORY = ("epoch", "train_loss", "train_dice", "valid_loss", "valid_dice")


class Scores(NamedTuple):
    """metrics/test.json."""

    rows: dict[str, dict[str, Any]]  # of each method
    differences: list[dict[str, Any]]  # of each pair of networks

    def of(self, names: Sequence[str], key: str) -> dict[str, Any]:
        return {name: self.rows[name][key] for name in names}


def main() -> None:
    values = load()
    names = networks(values)
    learnt = [*names, "ensemble"] if len(names) > 1 else names
    dices = [f"{name}_dice" for name in learnt]
    histories = {name: read_table(Path(f"plots/history_{name}.csv"), numbers=HISTORY) for name in names}
    by_image = read_table(Path("plots/test_images.csv"), numbers=dices, texts=("name",))
    by_group = read_table(Path("plots/test_breeds.csv"), numbers=("images", *dices), texts=("group", "kind"))
    curve = read_table(Path("plots/thresholds.csv"), numbers=("threshold", *learnt))
    training = {name: read_training(Path(f"metrics/{name}.json")) for name in names}
    scores = read_scores(Path("metrics/test.json"), learnt)
    counts = read_counts(Path("metrics/data.json"))
    photos = read_photos(Path("dataset/predictions.npz"), by_image, names, values["data"]["border"])
    dataset = read_png(IMAGES / "dataset.png")

    kept = {name: row["best_epoch"] for name, row in training.items()}  # of those at full size, where squares grow
    lowest = {name: int(table["epoch"][table["valid_loss"].to_numpy().argmin()]) for name, table in histories.items()}
    drawn = {
        "curves_dice": pictures.curves(histories, "dice", "Dice", kept),
        "curves_loss": pictures.curves(histories, "loss", "Loss", lowest),
        "dice_distribution": pictures.distribution({name: by_image[f"{name}_dice"].to_numpy() for name in learnt}),
        "dice_by_breed": pictures.by_group(by_group, learnt),
        "thresholds": pictures.thresholds(curve, scores.of(learnt, "threshold")),
        "test_sheet": pictures.sheet(photos["sheet"], "Test photographs"),
        "worst": pictures.sheet(photos["worst"], "Test photographs with the lowest Dice"),
    }
    html = page(
        drawn | {"dataset": dataset},
        photos,
        scores,
        training,
        counts,
        values,
        len(by_image),
        pictures.has_breeds(by_group),
    )

    for name, png in drawn.items():
        write_bytes(IMAGES / f"{name}.png", png)
    write_bytes(Path("plots/report.html"), html.encode(errors="replace"))
    print(f"plots/report.html, and {len(drawn)} pictures in {IMAGES}")


def page(
    drawn: Mapping[str, bytes],
    photos: Mapping[str, Sequence[Photo]],
    scores: Scores,
    training: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, Any],
    values: Mapping[str, Any],
    images: int,
    breeds: bool,
) -> str:
    learnt = [*training, "ensemble"] if len(training) > 1 else list(training)
    test, threshold = each(scores.of(learnt, "dice")), each(scores.of(learnt, "threshold"))
    best, epoch = (each({name: row[key] for name, row in training.items()}) for key in ("valid_dice", "best_epoch"))
    sections = {
        "Scores": document.scores_table(scores.rows),
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
                "Mean Dice of the test photographs by breed, the best on top, below all photographs, cats and dogs."
                if breeds
                else pictures.NO_BREEDS,
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
    lead += document.cards(scores.rows) + document.in_words(scores.rows, scores.differences)
    return document.page("Pet segmentation", lead, sections)


def each(values: Mapping[str, float]) -> str:
    return ", ".join(f"{look.title} {values[name]:.4g}" for name, look in looks(values).items())


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
    """One network's line of the report: its validation Dice, and what is known of the run."""
    values = read_json(file)
    require(file, values, "valid_dice")
    run_of = rows(file, values, "run")[0]
    require(file, run_of, "best_epoch")
    return {"valid_dice": values["valid_dice"], **run_of}


def read_scores(file: Path, learnt: Sequence[str]) -> Scores:
    values = read_json(file)
    found = {str(row.get("method")): row for row in rows(file, values, "scores")}
    for name in learnt:
        require(file, found, f"{name}.dice", f"{name}.dice_low", f"{name}.dice_high", f"{name}.threshold")
    require(file, found, "all_foreground.dice", "mean_mask.dice")
    differences = rows(file, values, "differences") if len(learnt) > 1 else []
    for pair in differences:
        require(file, pair, "dice", "dice_low", "dice_high")
        if not {pair.get("network"), pair.get("minus")} <= {*learnt}:
            raise malformed(file, "differences: of networks that are not scored")
    return Scores(found, differences)


def read_counts(file: Path) -> dict[str, Any]:
    """What preprocess counted, a group for each split."""
    values = read_json(file)
    splits = {str(row.pop("split", "")): row for row in rows(file, values, "splits")}
    return {key: value for key, value in values.items() if key != "splits"} | splits


def rows(file: Path, values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = values.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
        raise malformed(file, f"{key} is missing or not a list of objects")
    return found


def require(file: Path, values: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        value: Any = values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise malformed(file, f"{key} is missing or not a number")


def read_photos(file: Path, by_image: pd.DataFrame, names: Sequence[str], border: str) -> dict[str, list[Photo]]:
    """The photographs of the two sheets (`sheet`, `worst`) with their masks, scores from the table of all images."""
    dice = by_image.drop_duplicates("name").set_index("name")
    photos: dict[str, list[Photo]] = {"sheet": [], "worst": []}
    content = io.BytesIO(read_bytes(file))
    try:
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for index, (name, kind) in enumerate(zip(arrays["names"].tolist(), arrays["kinds"].tolist(), strict=True)):
            photo = Photo(
                name,
                arrays["images"][index],
                foreground(arrays["trimaps"][index], border),
                {network: arrays[f"mask_{network}"][index] for network in names},
                {network: float(dice.loc[name, f"{network}_dice"]) for network in names},
            )
            side = photo.image.shape[0]
            masks = [photo.truth, *photo.predicted.values()]
            if {photo.image.shape[:2], *(mask.shape for mask in masks)} != {(side, side)}:
                raise ValueError("pictures and masks differ in shape")
            if (
                photo.image.shape[2:] != (3,)
                or photo.image.dtype != np.uint8
                or any(mask.dtype != bool for mask in masks)
            ):
                raise ValueError("pictures or masks are of another type")
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
    described(__doc__).parse_args()
    run(main)
