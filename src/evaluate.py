"""How good the networks are on the test photographs.

Without options this is the pipeline's stage: it scores saved_models/*.pth with the parameters of params.yaml and writes
metrics/test.json, the tables below plots/ and dataset/predictions.npz for the pictures. With --weights it scores any
weights, prints a table and writes nothing.
"""

# --help is answered before the slow imports.
# ruff: noqa: E402

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from scoring.options import add_border_option, add_prediction_options
from utils import described, run


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    add = parser.add_argument
    add("--weights", nargs="+", type=Path, metavar="W", help="score these; of several also the ensemble")
    add("--data", type=Path, metavar="FOLDER", help="a dataset in the official layout; default: the cached photographs")
    add_prediction_options(parser, "the weights' own; of weights without one, the best on validation")
    add_border_option(parser)
    args = parser.parse_args(words)
    if args.weights is None and (args.data or args.tta or args.threshold or args.border):
        parser.error("--data, --tta, --threshold and --border go with --weights; the stage reads params.yaml")
    if len(set(args.weights or [])) < len(args.weights or []):
        parser.error("--weights: a file is named twice")
    return args


if __name__ == "__main__":
    ARGS = arguments()

import numpy as np
import torch
from torch import Tensor

from oxford_pet import BORDERS, SimpleOxfordPetDataset, counted, foreground
from params import load, networks
from params.evaluation import Evaluate
from progress import progress
from scoring import splits
from scoring.predict import Predictor
from scoring.scores import Scores, averages, groups, points, score, with_interval
from scoring.splits import Split
from shared import checkpoint, device
from shared.metrics import dice, iou, is_pet
from shared.thresholds import THRESHOLDS, Methods, Pixels, batches, best_threshold, threshold_curves
from utils import Refusal, aligned, printable, rounded, write_bytes, write_csv, write_json

CACHE, DATASET = Path("dataset/cache"), Path("dataset/oxford-iiit-pet")
cached = partial(splits.cached, CACHE, DATASET)
BASELINE_SCORES = ("dice", "dice_dataset", "iou", "iou_dataset", "accuracy")
FEW = 50  # photographs: a threshold that fewer have chosen may suit these alone
SHEET, WORST = 8, 12  # photographs kept for the pictures


def stage() -> None:
    values = load()
    names, settings = networks(values), Evaluate.model_validate(values["evaluate"])
    border = values["data"]["border"]
    where = device.setup(values["threads"], portable=True)
    files = [Path(f"saved_models/{name}.pth") for name in names]
    valid = cached("valid")
    trained = loaded(files, valid.side)
    refuse_swapped(files, trained)
    predictors = [Predictor(weights, settings.tta, where) for weights in trained]
    learnt = with_ensemble(names)
    baselines = {"all_foreground": torch.ones(()), "mean_mask": mean_mask(cached_pixels("train"), border)}
    methods = all_methods(predictors, list(baselines.values()))

    curves = dict(zip([*learnt, *baselines], validation_curves(methods, valid, border), strict=True))
    thresholds = {name: chosen_threshold(settings.threshold, curves[name]) for name in learnt}
    thresholds |= {"all_foreground": 0.5, "mean_mask": best_threshold(curves["mean_mask"])}
    test = cached("test")  # opened only here: nothing above may see the test split
    scores = test_scores(methods, thresholds, test, border)

    rows: dict[str, dict[str, Any]] = {}
    for name in learnt:
        rows[name] = summary(scores[name], test.rows, thresholds[name], settings.tta, with_points=name in names)
    for name in baselines:
        rows[name] = baseline_summary(scores[name], thresholds[name])
    rows = {name: row | {"border": border} for name, row in rows.items()}

    photos = pictured(dict(zip(names, predictors, strict=True)), thresholds, test, scores)
    write_bytes(Path("dataset/predictions.npz"), photos)
    write_csv(Path("plots/thresholds.csv"), threshold_rows({name: curves[name] for name in learnt}))
    write_csv(Path("plots/test_images.csv"), image_rows({name: scores[name] for name in learnt}, test.rows))
    write_csv(Path("plots/test_breeds.csv"), group_rows({name: scores[name] for name in learnt}, test.rows))
    write_json(Path("metrics/test.json"), metrics(rows, learnt, differences(names, scores)))
    shown = ["dice", "dice_low", "dice_high", "dice_native", "threshold", "points"]
    print(f"{len(test.rows):,} test photographs; {BORDERS[border]}")
    print(table({name: {key: row[key] for key in shown if key in row} for name, row in rows.items()}))


def with_ensemble(names: Sequence[str]) -> list[str]:
    """The methods that have learnt: each network, and of several the mean of their probabilities."""
    return [*names, "ensemble"] if len(names) > 1 else list(names)


def any_weights(args: argparse.Namespace) -> None:
    """--weights: nothing is written."""
    where, tta = device.setup(torch.get_num_threads(), portable=True), args.tta or "none"
    border = args.border or "pet"
    side = checkpoint.load(args.weights[0]).image_size if args.data else cached("test").side
    open_split = partial(splits.official, args.data, side) if args.data else cached
    test = open_split("test")
    trained, names = loaded(args.weights, side), with_ensemble(labels(args.weights))
    predictors = [Predictor(weights, tta, where) for weights in trained]
    if args.threshold:
        thresholds, lines = dict.fromkeys(names, args.threshold), [f"thresholds: {args.threshold}, by --threshold"]
    else:
        thresholds, lines = thresholds_for(names, trained, all_methods(predictors), open_split, border)
    baselines = {"all_foreground": torch.ones(())}
    thresholds["all_foreground"] = 0.5
    try:
        open_masks = partial(splits.official_masks, args.data, side) if args.data else cached_pixels
        baselines["mean_mask"], thresholds["mean_mask"] = mean_mask_and_threshold(open_masks, border)
    except Refusal as reason:
        lines.append(f"mean_mask is left out: {reason}")
    scores = test_scores(all_methods(predictors, list(baselines.values())), thresholds, test, border)
    columns = {name: summary(scores[name], test.rows, thresholds[name], tta, with_points=True) for name in names}
    columns |= {name: baseline_summary(scores[name], thresholds[name]) for name in baselines}
    print(f"{len(test.rows):,} photographs at {side} x {side} pixels; {BORDERS[border]}")
    print(*map(printable, lines), table(columns), sep="\n")


def thresholds_for(
    names: Sequence[str],
    trained: Sequence[checkpoint.Weights],
    methods: Methods,
    open_split: Callable[[str], Split],
    border: str,
) -> tuple[dict[str, float], list[str]]:
    """The weights' own, and for what has none the best on validation; and what is to be said about it.

    Where all weights have one, the ensemble takes the mean.
    """
    origins = {name: weights.origin for name, weights in zip(names, trained, strict=False) if weights.origin}
    found = {name: origin.threshold for name, origin in origins.items()}
    chose = {name: origin.valid.photographs for name, origin in origins.items()}
    if len(found) == len(trained) < len(names):
        found["ensemble"], chose["ensemble"] = fmean(found.values()), min(chose.values())
    how = [f"the weights' own for {', '.join(found)}"] if found else []
    if lacking := [name for name in names if name not in found]:
        try:
            valid = open_split("valid")
        except Refusal as reason:
            advice = "--threshold T needs no validation photographs"
            raise Refusal(f"{reason}; {advice}", reason.code) from None
        curves = dict(zip(names, validation_curves(methods, valid, border), strict=True))
        found |= {name: best_threshold(curves[name]) for name in lacking}
        chose |= dict.fromkeys(lacking, len(valid.rows))
        how.append(f"the best on {len(valid.rows):,} validation photographs for {', '.join(lacking)}")
    lines = [f"thresholds: {'; '.join(how)}"]
    if few := [f"{name} {chose[name]}" for name in names if chose[name] < FEW]:
        advice = f"chosen on fewer than {FEW}, it may suit these alone; compare with --threshold 0.5"
        lines.append(f"warning: few photographs chose the threshold ({', '.join(few)}); {advice}")
    return {name: found[name] for name in names}, lines


def cached_pixels(split: str) -> Tensor:
    return SimpleOxfordPetDataset(CACHE, split).tensor()


def mean_mask_and_threshold(open_masks: Callable[[str], Pixels], border: str) -> tuple[Tensor, float]:
    """As in the stage: from the training photographs, and the best on validation."""
    mask = mean_mask(open_masks("train"), border)
    valid = open_masks("valid")
    curves = threshold_curves(lambda images: mask.repeat(len(images), 1, 1, 1), valid, border, lambda _: None)
    return mask, best_threshold(curves[0])


def labels(files: Sequence[Path]) -> list[str]:
    stems = [file.stem for file in files]
    taken = ("ensemble", "all_foreground", "mean_mask")
    return stems if len({*stems, *taken}) == len(stems) + len(taken) else [str(file) for file in files]


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


def mean_mask(train: Pixels, border: str) -> Tensor:
    """How often each pixel is pet in the training split, of the photographs that count there."""
    pet, all_ = torch.zeros(()), torch.zeros(())
    for batch in batches(train):
        counts = counted(batch[..., 3], border)
        pet, all_ = pet + (foreground(batch[..., 3], border) & counts).sum(0), all_ + counts.sum(0)
    return pet / all_.clamp(min=1)


def validation_curves(methods: Methods, valid: Split, border: str) -> Tensor:
    with progress("validation", len(valid.rows), "photographs") as bar:
        return threshold_curves(methods, valid.pixels, border, bar.update)


def chosen_threshold(wanted: Literal["auto"] | float, curve: Tensor) -> float:
    return best_threshold(curve) if wanted == "auto" else wanted


def own_trimap(trimaps: Path, name: str) -> Tensor:
    return torch.from_numpy(np.array(splits.own_trimap(trimaps, name)))


def test_scores(methods: Methods, thresholds: Mapping[str, float], test: Split, border: str) -> dict[str, Scores]:
    """Each method's scores. Results go into preallocated tensors, batch by batch, so that memory stays flat."""
    found = Scores.empty(len(test.rows), len(thresholds))
    with progress("test", len(test.rows), "photographs") as bar, ThreadPoolExecutor() as pool:
        start = 0
        for batch in batches(test.pixels):
            stop = start + len(batch)
            names = [row["name"] for row in test.rows[start:stop]]
            own_size = pool.map(lambda name: own_trimap(test.trimaps, name), names)
            maps = methods(batch[..., :3])
            trimaps = batch[..., 3].to(maps.device)
            scores = score(maps, maps.new_tensor(list(thresholds.values())), trimaps, list(own_size), border)
            for whole, part in zip(found, scores, strict=True):
                whole[start:stop] = part
            bar.update(len(batch))
            start = stop
    return {name: found.of(method) for method, name in enumerate(thresholds)}


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


def baseline_summary(scores: Scores, threshold: float) -> dict[str, float]:
    """The entry of what has learnt nothing."""
    found = averages(scores)
    return {key: found[key] for key in BASELINE_SCORES} | {"threshold": threshold}


def differences(names: Sequence[str], scores: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """Of each pair of networks: by how much the later one is ahead, on the same photographs."""
    dices = {name: dice(scores[name].counts) for name in names}
    return [{"network": b, "minus": a, **with_interval(dices[b] - dices[a])} for a, b in combinations(names, 2)]


def metrics(
    rows: Mapping[str, Mapping[str, Any]], learnt: Sequence[str], differences: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The Dice of each network stands by its name, for DVC. DVC leaves lists out, so its tables stay narrow."""
    few = {name: {"dice": rows[name]["dice"]} for name in learnt}
    scores = [{"method": name, **row} for name, row in rows.items()]
    return few | {"scores": scores} | ({"differences": list(differences)} if differences else {})


def threshold_rows(curves: Mapping[str, Tensor]) -> list[dict[str, float]]:
    columns = {"threshold": THRESHOLDS} | {name: curve.tolist() for name, curve in curves.items()}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def image_rows(scores: Mapping[str, Scores], rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    counts = next(iter(scores.values())).counts
    columns = {"foreground": (counts[:, [0, 2]].sum(-1) / counts.sum(-1)).tolist()}
    for name, one in scores.items():
        columns |= {f"{name}_dice": dice(one.counts).tolist(), f"{name}_iou": iou(one.counts).tolist()}
        columns |= {f"{name}_boundary_f1": one.boundary_f1.tolist(), f"{name}_dice_native": one.dice_native.tolist()}
    return [{**row, **{key: cells[i] for key, cells in columns.items()}} for i, row in enumerate(rows)]


def group_rows(scores: Mapping[str, Scores], rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    result = []
    for group, kind, mask in groups(rows):
        row: dict[str, Any] = {"group": group, "kind": kind, "images": int(mask.sum())}
        for name, one in scores.items():
            row |= {f"{name}_{key}": value for key, value in averages(one.where(mask)).items()}
        result.append(row)
    return result


def pictured(
    predictors: Mapping[str, Predictor], thresholds: Mapping[str, float], test: Split, scores: Mapping[str, Scores]
) -> bytes:
    """An .npz of some test photographs, evenly spread for the sheet, and of the worst, with each network's masks."""
    dices = torch.stack([dice(scores[name].counts) for name in predictors], 1).mean(1)
    spread = np.unique(np.linspace(0, len(dices) - 1, SHEET).round().astype(int)).tolist()
    worst = dices.argsort(stable=True)[:WORST].tolist()
    chosen = torch.cat([test.pixels[row : row + 1] for row in [*spread, *worst]])
    arrays: dict[str, Any] = {
        "names": np.array([test.rows[row]["name"] for row in [*spread, *worst]]),
        "kinds": np.array(["sheet"] * len(spread) + ["worst"] * len(worst)),
        "images": chosen[..., :3].numpy(),
        "trimaps": chosen[..., 3].numpy(),
    }
    for name, predictor in predictors.items():
        masks = [is_pet(predictor(batch[..., :3]), thresholds[name]) for batch in batches(chosen)]
        arrays[f"mask_{name}"] = torch.cat(masks).cpu().numpy()
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
    return aligned(lines)


if __name__ == "__main__":
    run((lambda: any_weights(ARGS)) if ARGS.weights else stage)
