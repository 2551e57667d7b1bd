"""How good the networks are on the test photographs.

Without options this is the pipeline's stage: it scores saved_models/*.pth with the parameters of params.yaml and writes
metrics/test.json, the tables below plots/ and dataset/predictions.npz for the pictures. With --weights it scores any
weights, prints a table and writes nothing.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

from scoring.options import add_prediction_options


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", nargs="+", type=Path, metavar="W", help="score these; of several also the ensemble")
    add("--data", type=Path, metavar="FOLDER", help="a dataset in the official layout; default: the cached photographs")
    add_prediction_options(parser, "the best on validation")
    args = parser.parse_args(words)
    if args.weights is None and (args.data or args.tta or args.threshold):
        parser.error("--data, --tta and --threshold go with --weights; the stage reads params.yaml")
    return args


if __name__ == "__main__":
    ARGS = arguments()  # before the slow imports below, so that --help answers at once

import numpy as np
import torch
from torch import Tensor

import params
from models import NETWORKS
from oxford_pet import BACKGROUND, SimpleOxfordPetDataset, foreground
from progress import progress
from scoring import splits
from scoring.predict import Predictor
from scoring.scores import (
    THRESHOLDS,
    Methods,
    Pixels,
    Scores,
    averages,
    batches,
    best_threshold,
    groups,
    points,
    score,
    threshold_curves,
    with_interval,
)
from scoring.splits import Split
from shared import checkpoint, device
from shared.metrics import dice, iou
from utils import Refusal, printable, rounded, run, write_bytes, write_csv, write_json

CACHE, DATASET = Path("dataset/cache"), Path("dataset/oxford-iiit-pet")
cached = partial(splits.cached, CACHE, DATASET)
PREDICTORS, BASELINES = [*NETWORKS, "ensemble"], ["all_foreground", "mean_mask"]
BASELINE_SCORES = ("dice", "dice_dataset", "iou", "iou_dataset", "accuracy")  # few, or `dvc metrics diff` grows long
SHEET, WORST = 8, 12  # photographs kept for the pictures


def stage() -> None:
    settings = params.load()
    where = device.setup(settings.threads, portable=True)
    tta = settings.evaluate.tta
    files = [Path(f"saved_models/{name}.pth") for name in NETWORKS]
    valid = cached("valid")
    trained = loaded(files, valid.side)
    refuse_swapped(files, trained)
    predictors = [Predictor(weights, tta, where) for weights in trained]
    methods = all_methods(predictors, [torch.ones(()), mean_mask(SimpleOxfordPetDataset(CACHE, "train").tensor())])

    curves = validation_curves(methods, valid)
    thresholds = chosen_thresholds(settings.evaluate.threshold, curves[: len(PREDICTORS)])
    thresholds += [0.5, best_threshold(curves[-1])]  # of the baselines
    test = cached("test")  # not before all is chosen
    scores = test_scores(methods, thresholds, test)

    metrics: dict[str, Any] = {}
    for method, name in enumerate(PREDICTORS):
        metrics[name] = summary(scores.of(method), test.rows, thresholds[method], tta, with_points=name in NETWORKS)
    for method, name in enumerate(BASELINES, len(PREDICTORS)):
        found = averages(scores.of(method))
        metrics[name] = {key: found[key] for key in BASELINE_SCORES} | {"threshold": thresholds[method]}
    dices = dice(scores.counts)
    metrics["difference"] = with_interval(dices[:, 1] - dices[:, 0])

    mean_dice = dices[:, : len(predictors)].mean(1)
    write_bytes(Path("dataset/predictions.npz"), pictured(predictors, thresholds, test, mean_dice))
    write_csv(Path("plots/thresholds.csv"), threshold_rows(curves))
    write_csv(Path("plots/test_images.csv"), image_rows(scores, test.rows))
    write_csv(Path("plots/test_breeds.csv"), group_rows(scores, test.rows))
    write_json(Path("metrics/test.json"), metrics)
    shown = ["dice", "dice_low", "dice_high", "dice_native", "threshold", "points"]
    print(table({name: {key: values[key] for key in shown if key in values} for name, values in metrics.items()}))


def any_weights(args: argparse.Namespace) -> None:
    """--weights: nothing is written."""
    where, tta = device.setup(torch.get_num_threads(), portable=True), args.tta or "none"
    side = checkpoint.load(args.weights[0]).image_size if args.data else cached("test").side
    open_split = partial(splits.official, args.data, side) if args.data else cached
    test = open_split("test")
    predictors = [Predictor(weights, tta, where) for weights in loaded(args.weights, side)]
    methods, names = all_methods(predictors), labels(args.weights)
    if args.threshold is None:
        thresholds = [best_threshold(curve) for curve in validation_curves(methods, open_split("valid"))]
    else:
        thresholds = [args.threshold] * len(names)
    scores = test_scores(methods, thresholds, test)
    print(f"{len(test.rows):,} photographs at {side} x {side} pixels")
    entries = [
        summary(scores.of(i), test.rows, threshold, tta, with_points=True) for i, threshold in enumerate(thresholds)
    ]
    print(table(dict(zip(names, entries, strict=True))))


def labels(files: Sequence[Path]) -> list[str]:
    stems = [file.stem for file in files]
    names = stems if len({*stems, "ensemble"}) > len(stems) else [str(file) for file in files]
    return [*names, "ensemble"] if len(files) > 1 else names


def loaded(files: Sequence[Path], side: int) -> list[checkpoint.Weights]:
    found = [checkpoint.load(file) for file in files]
    for file, weights in zip(files, found, strict=True):
        if weights.image_size != side:
            advice = "score it alone with --data, or train again"
            raise Refusal(f"{file}: trained at {weights.image_size} pixels, but the photographs have {side}; {advice}")
    return found


def refuse_swapped(files: Sequence[Path], trained: Sequence[checkpoint.Weights]) -> None:
    for file, weights in zip(files, trained, strict=True):
        if weights.network != file.stem:
            raise Refusal(f"{file}: holds weights of {weights.network}; train {file.stem} again (`dvc repro`)")


# --- scoring ----------------------------------------------------------------------------------------------------------


def all_methods(predictors: Sequence[Predictor], baselines: Sequence[Tensor] = ()) -> Methods:
    """Each network, of several also the mean of their probabilities, and what knows nothing of the photograph."""

    def methods(images: Tensor) -> Tensor:
        found = [predictor(images) for predictor in predictors]
        if len(predictors) > 1:
            found.append(torch.stack(found).mean(0))
        return torch.stack([*found, *(plain.to(found[0]).expand_as(found[0]) for plain in baselines)], 1)

    return methods


def mean_mask(train: Pixels) -> Tensor:
    """How often each pixel is pet in the training split."""
    total = sum((batch[..., 3] != BACKGROUND).sum(0) for batch in batches(train))
    return torch.as_tensor(total) / len(train)


def validation_curves(methods: Methods, valid: Split) -> Tensor:
    with progress("validation", len(valid.rows), "photographs") as bar:
        return threshold_curves(methods, valid.pixels, bar.update)


def chosen_thresholds(wanted: Literal["auto"] | float, curves: Tensor) -> list[float]:
    return [best_threshold(curve) if wanted == "auto" else wanted for curve in curves]


def own_mask(trimaps: Path, name: str) -> Tensor:
    return torch.from_numpy(foreground(np.asarray(splits.own_trimap(trimaps, name))))


def test_scores(methods: Methods, thresholds: Sequence[float], test: Split) -> Scores:
    """Batch by batch: only scores stay in memory, in tensors made beforehand; many small ones would fragment it."""
    found = Scores.empty(len(test.rows), len(thresholds))
    with progress("test", len(test.rows), "photographs") as bar, ThreadPoolExecutor() as pool:
        done = 0
        for batch in batches(test.pixels):
            chosen = slice(done, done := done + len(batch))
            names = [row["name"] for row in test.rows[chosen]]
            own_size = pool.map(lambda name: own_mask(test.trimaps, name), names)
            maps = methods(batch[..., :3])
            truth = (batch[..., 3] != BACKGROUND).to(maps.device)
            scores = score(maps, maps.new_tensor(thresholds), truth, list(own_size))
            for whole, part in zip(found, scores, strict=True):
                whole[chosen] = part
            bar.update(len(batch))
    return found


# --- what is written --------------------------------------------------------------------------------------------------


def summary(
    scores: Scores, rows: Sequence[Mapping[str, str]], threshold: float, tta: str, with_points: bool
) -> dict[str, Any]:
    """One method's entry in the metrics."""
    result: dict[str, Any] = with_interval(dice(scores.counts)) | averages(scores)
    for name, kind, mask in groups(rows):
        if kind == "species":
            result[f"dice_{name}"] = averages(scores.where(mask))["dice"]
    result |= {"threshold": threshold, "tta": tta}
    return result | {"points": points(rounded(result["dice"]))} if with_points else result


def threshold_rows(curves: Tensor) -> list[dict[str, float]]:
    values = zip(PREDICTORS, curves, strict=False)
    columns = {"threshold": THRESHOLDS} | {name: curve.tolist() for name, curve in values}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def image_rows(scores: Scores, rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    pet = scores.counts[:, 0, [0, 2]].sum(-1) / scores.counts[:, 0].sum(-1)
    columns = {"foreground": pet.tolist()}
    for method, name in enumerate(PREDICTORS):
        one = scores.of(method)
        columns |= {f"{name}_dice": dice(one.counts).tolist(), f"{name}_iou": iou(one.counts).tolist()}
        columns |= {f"{name}_boundary_f1": one.boundary_f1.tolist(), f"{name}_dice_native": one.dice_native.tolist()}
    return [{**row, **{key: cells[i] for key, cells in columns.items()}} for i, row in enumerate(rows)]


def group_rows(scores: Scores, rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    result = []
    for group, kind, mask in groups(rows):
        row: dict[str, Any] = {"group": group, "kind": kind, "images": int(mask.sum())}
        for method, name in enumerate(PREDICTORS):
            row |= {f"{name}_{key}": value for key, value in averages(scores.of(method).where(mask)).items()}
        result.append(row)
    return result


def pictured(predictors: Sequence[Predictor], thresholds: Sequence[float], test: Split, dices: Tensor) -> bytes:
    """An .npz of some test photographs, evenly spread for the sheet, and of the worst, with what the networks found."""
    spread = np.unique(np.linspace(0, len(dices) - 1, SHEET).round().astype(int)).tolist()
    worst = dices.argsort(stable=True)[:WORST].tolist()
    chosen = torch.cat([test.pixels[row : row + 1] for row in [*spread, *worst]])
    arrays: dict[str, Any] = {
        "names": np.array([test.rows[row]["name"] for row in [*spread, *worst]]),
        "kinds": np.array(["sheet"] * len(spread) + ["worst"] * len(worst)),
        "images": chosen[..., :3].numpy(),
        "trimaps": chosen[..., 3].numpy(),
        "thresholds": np.array(thresholds[: len(predictors)]),
    }
    for name, predictor in zip(NETWORKS, predictors, strict=True):
        maps = torch.cat([predictor(batch[..., :3]) for batch in batches(chosen)])
        arrays[name] = (255 * maps).round().byte().cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each score, a column for each method."""
    keys = list(dict.fromkeys(key for values in columns.values() for key in values))
    lines = [["", *map(printable, columns)]]
    for key in keys:
        cells = [values.get(key, "") for values in columns.values()]
        lines.append([key, *(f"{rounded(cell):.4f}" if isinstance(cell, float) else str(cell) for cell in cells)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]).rstrip()
        for first, *rest in lines
    )


if __name__ == "__main__":
    run((lambda: any_weights(ARGS)) if ARGS.weights else stage)
