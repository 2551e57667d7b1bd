"""Pretend results of all stages before `plot`, in the files it reads."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from oxford_pet import foreground
from pets import make_pet
from report.looks import KNOWN as LOOKS
from utils import write_bytes, write_csv, write_json

NETWORKS = ("unet", "resnet34_unet")
BREEDS = ("Abyssinian", "Birman", "american_pit_bull_terrier", "pug")  # a capital first letter marks a cat
PARAMS = (Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8")

Row = dict[str, Any]


def make_results(
    folder: Path,
    epochs: int = 12,
    images: int = 12,
    shown: int = 3,
    breeds: Sequence[str] = BREEDS,
    side: int = 32,
) -> None:
    """Everything under `folder`; the same call writes the same files."""
    random = np.random.default_rng(7)
    write_bytes(folder / "params.yaml", PARAMS.encode())
    for place, name in enumerate(NETWORKS):
        write_csv(folder / f"plots/history_{name}.csv", history(random, epochs, 0.9 + 0.02 * place))
        write_json(folder / f"metrics/{name}.json", training(epochs, 1_944_049 - 300_000 * place))
    skills = random.beta(14, 1.6, images)
    rows = [image_row(random, index, breeds[index % len(breeds)], skill) for index, skill in enumerate(skills)]
    by_score = sorted(rows, key=lambda row: row["unet_dice"] + row["resnet34_unet_dice"])
    write_csv(folder / "plots/test_images.csv", rows)
    write_csv(folder / "plots/test_breeds.csv", groups(rows))
    write_csv(folder / "plots/thresholds.csv", [threshold_row(step / 20) for step in range(1, 20)])
    write_json(folder / "metrics/test.json", all_scores(rows))
    splits = [{"split": "train", "images": 270}, {"split": "test", "images": images}]
    write_json(folder / "metrics/data.json", {"bad": 0, "splits": splits, "bad_files": []})
    write_predictions(folder, [row["name"] for row in rows[:shown]], [row["name"] for row in by_score[:shown]], side)
    buffer = io.BytesIO()
    Image.new("RGB", (1078, 480), "gray").save(buffer, "PNG")
    write_bytes(folder / "plots/images/dataset.png", buffer.getvalue())


def history(random: np.random.Generator, epochs: int, best: float) -> list[Row]:
    rows = []
    for epoch in range(1, epochs + 1):
        dice = float(best - 0.5 * np.exp(-6 * epoch / max(epochs, 12)) + random.normal(0, 0.008))
        row = {"epoch": epoch, "lr": 0.002, "train_loss": 0.9 - 0.85 * dice, "train_dice": dice + 0.01}
        rows.append(row | {"valid_loss": 0.95 - 0.85 * dice, "valid_dice": dice})
    return rows


def training(epochs: int, parameters: int) -> Row:
    environment = {"device": "cpu", "cpu": "Example <2 cores>", "threads": 2, "torch": "2.11.0"}
    noted = {"best_epoch": epochs, "epochs": epochs, "parameters": parameters, **environment}
    return {"valid_dice": 0.9, "run": [noted]}


def image_row(random: np.random.Generator, index: int, breed: str, skill: float) -> Row:
    species = "cat" if breed[0].isupper() else "dog"
    row = {"name": f"{breed}_{index + 1}", "breed": breed, "species": species, "height": 120, "width": 160}
    for name in LOOKS:
        row[f"{name}_dice"] = float(np.clip(skill + random.normal(0.005, 0.02), 0, 1))
    return row


def groups(rows: list[Row]) -> list[Row]:
    result = []
    for kind, of in (("all", "all"), ("species", "{species}s"), ("breed", "{breed}")):
        for group in sorted({of.format(**row) for row in rows}):
            members = [row for row in rows if of.format(**row) == group]
            means = {f"{name}_dice": mean_dice(members, name) for name in LOOKS}
            result.append({"group": group, "kind": kind, "images": len(members), **means})
    return result


def mean_dice(rows: list[Row], name: str) -> float:
    return float(np.mean([row[f"{name}_dice"] for row in rows]))


def threshold_row(threshold: float) -> Row:
    curve = {name: 0.9 - 0.6 * (threshold - 0.45 - 0.05 * place) ** 2 for place, name in enumerate(LOOKS)}
    return {"threshold": threshold, **curve}


def all_scores(rows: list[Row]) -> Row:
    means = {name: mean_dice(rows, name) for name in LOOKS}
    scores = {name: method_scores(dice) for name, dice in {**means, "all_foreground": 0.55, "mean_mask": 0.61}.items()}
    for name in NETWORKS:
        scores[name]["points"] = 80
    gain = means["resnet34_unet"] - means["unet"]
    pair = {"network": "resnet34_unet", "minus": "unet"}
    return {
        **{name: {"dice": means[name]} for name in LOOKS},
        "scores": [{"method": name, **row} for name, row in scores.items()],
        "differences": [{**pair, "dice": gain, "dice_low": gain - 0.004, "dice_high": gain + 0.004}],
    }


def method_scores(dice: float) -> Row:
    scores: Row = {"dice": dice, "dice_low": dice - 0.02, "dice_high": min(1.0, dice + 0.02), "dice_dataset": dice}
    scores |= {"iou": dice / (2 - dice), "precision": dice, "boundary_f1": dice / 2, "dice_native": dice}
    return scores | {"threshold": 0.45, "tta": "none", "border": "pet"}


def write_predictions(folder: Path, sheet: list[str], worst: list[str], side: int) -> None:
    """What the networks found: the truth, shifted and a little larger."""
    names = [*sheet, *worst]
    pets = [make_pet(side, side, np.random.default_rng([1, index])) for index in range(len(names))]
    arrays: dict[str, Any] = {
        "names": np.array(names),
        "kinds": np.array(["sheet"] * len(sheet) + ["worst"] * len(worst)),
        "images": np.stack([image for image, _ in pets]),
        "trimaps": np.stack([trimap for _, trimap in pets]),
    }
    for step, name in enumerate(NETWORKS, 1):
        masks = [np.roll(255 * foreground(trimap).astype(np.uint8), (step, -2 * step), (0, 1)) for _, trimap in pets]
        larger = [np.asarray(Image.fromarray(mask).filter(ImageFilter.MaxFilter(3))) for mask in masks]
        arrays[f"mask_{name}"] = np.stack(larger) > 0
    write_arrays(folder, arrays)


def write_arrays(folder: Path, arrays: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(folder / "dataset/predictions.npz", buffer.getvalue())
