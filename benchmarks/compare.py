"""Runs the recipes side by side on real photographs and keeps a row for each run in docs/results.csv.

python benchmarks/compare.py --data FOLDER GROUP...

What a group compares, and under which common conditions, stands in benchmarks/experiments.yaml. A run that has its row
is not run again (take the row out to measure it anew, and with it goes that of its ensemble); one that was interrupted
goes on from its last epoch. Everything is made below --work, which holds a folder for each run. Of a group with
`curves: true` docs/curves.csv keeps the validation Dice of each epoch and the seconds until then. `tta` names the
kinds of test-time augmentation to score with, or `own` for that of the recipe alone. A group with `test: false` touches
no test photograph.
"""

from __future__ import annotations

import argparse
import csv
import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import evaluate
import params
from oxford_pet import SimpleOxfordPetDataset, foreground
from params import whole
from params.whole import Params
from scoring import splits
from scoring.predict import SCALES, Predictor
from shared import checkpoint
from shared.checkpoint import hash_of_tensors
from shared.metrics import confusion, dice, is_pet
from shared.thresholds import Methods, batches, best_threshold, threshold_curves
from utils import replacing, write_bytes, write_csv

EXPERIMENTS, RESULTS = ROOT / "benchmarks/experiments.yaml", ROOT / "docs/results.csv"
SLICE = "benchmarks/slice.yaml"
CURVES = ROOT / "docs/curves.csv"
NETWORKS = params.networks(params.read(ROOT / "params.yaml"))
FOLDS = 5
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KEY = ("group", "variant", "network", "seed", "fold")
SCORES = ("valid_dice", "test_dice", "test_dice_dataset", "test_dice_native")
Row = dict[str, Any]
Predict = Callable[[torch.Tensor], torch.Tensor]


class Run(NamedTuple):
    """One training, or a variant's two networks as an ensemble.

    `fold` is one of FOLDS of trainval to validate on, with no test; empty is the course's split.
    """

    group: str
    variant: str
    network: str  # or "ensemble"
    seed: int
    fold: int | str
    values: dict[str, Any]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(part) for part in self[:5])

    @property
    def folder(self) -> str:
        return "-".join(part for part in self.key if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", choices=list(experiments()), help="what to run, in this order")
    parser.add_argument("--data", required=True, help="its archives' folder or URL prefix, or a folder unpacked")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench", help="where the runs are (.bench here)")
    parser.add_argument("--network", choices=NETWORKS, help="only this one, and no ensemble")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    args = parser.parse_args()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.workers))  # to score with
    todo = [run for group in args.groups for run in runs(group) if args.network in (None, run.network)]
    for side in sorted({run.values["data"]["image_size"] for run in todo}):
        cache(args.work, side, args.data)
    lock = threading.Lock()
    with ThreadPoolExecutor(args.workers) as pool:
        try:
            for done in as_completed([pool.submit(one, run, args.work, lock) for run in trainings(todo)]):
                done.result()
        finally:  # one that fails ends the others once they are through
            pool.shutdown(cancel_futures=True)
    for run in todo:
        if run.network == "ensemble" and run.key not in measured():
            keep(run, args.work, lock)


@functools.cache
def experiments() -> dict[str, Any]:
    return yaml.safe_load(EXPERIMENTS.read_text(encoding="utf-8"))


def runs(group: str) -> Iterator[Run]:
    """Seed by seed, so that a group that is cut short has every variant once."""
    plan = experiments()[group]
    for seed in plan["seeds"]:
        for fold in plan.get("folds", [""]):
            for variant, own in plan["variants"].items():
                networks = own.get("networks", plan["networks"])
                for network in [*networks, "ensemble"] if len(networks) > 1 else networks:
                    if seed in own.get("seeds", plan["seeds"]):
                        yield Run(group, variant, network, seed, fold, chosen(plan, own, seed))


def chosen(plan: Mapping[str, Any], own: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """params.yaml, under the recipe, under the group's common conditions, under the variant's own changes."""
    values = committed("params.yaml")
    recipe = committed(SLICE if own["recipe"] == "slice" else f"recipes/{own['recipe']}.yaml")["params"]
    for overlay in (recipe, plan["common"], own.get("params", {}), {"seed": seed}):
        values = params.overlaid(values, overlay)
    whole.check(values, str(EXPERIMENTS))
    return values


@functools.cache
def committed(name: str) -> dict[str, Any]:
    """Read once for all runs: PyYAML is slow."""
    return params.read(ROOT / name)


def stage(folder: Path, *words: str) -> None:
    """A script of the pipeline in a folder of its own; what it says goes to its log."""
    said = folder / "log.txt"
    with said.open("a", encoding="utf-8") as log:
        command = [sys.executable, str(ROOT / "src" / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"compare: {said}: {said.read_text(encoding='utf-8').splitlines()[-1]}")


def cache(work: Path, side: int, source: str) -> None:
    """Cached tensors of one size."""
    folder = work / f"cache-{side}"
    place = source if "://" in source else str(Path(source).resolve())
    values = params.overlaid(params.read(ROOT / "params.yaml"), {"data": {"source": place, "image_size": side}})
    if (folder / "metrics/data.json").exists():  # written last
        if (held := params.read(folder / "params.yaml")["data"]["source"]) != place:
            sys.exit(f"compare: {work}: holds photographs of {held}, not of {place}; name another folder with --work")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    for script in ("download.py", "preprocess.py"):
        stage(folder, script)


def of_fold(whole: Path, target: Path, fold: int) -> None:
    """Every FOLDS-th photograph of trainval validates, the others train."""
    pixels = np.concatenate([np.load(whole / f"{split}.npy") for split in ("valid", "train")])
    held = np.arange(len(pixels)) % FOLDS == fold
    table = [row for split in ("valid", "train") for row in SimpleOxfordPetDataset(whole, split).rows()]
    for split, rows in (("train", ~held), ("valid", held)):
        write_csv(target / f"{split}.csv", [table[row] for row in np.flatnonzero(rows)])
        with replacing(target / f"{split}.npy") as part, part.open("wb") as file:
            np.save(file, pixels[rows])


def of_part(whole: Path, target: Path, own: Mapping[str, Any], scored: Sequence[str]) -> None:
    """Of the photographs to train one of every `share`, none of the breeds in `without`; of the test split `scored`."""
    target.mkdir(parents=True, exist_ok=True)
    dataset = target.parent / "oxford-iiit-pet"
    if not dataset.is_symlink():
        dataset.symlink_to((whole.parent / dataset.name).resolve())
    for split in ("test", "valid", "train"):
        table, pixels = SimpleOxfordPetDataset(whole, split).rows(), np.load(whole / f"{split}.npy", mmap_mode="r")
        breeds = [row["breed"] for row in table]
        chosen = np.arange(len(table)) % (own.get("share", 1) if split == "train" else 1) == 0
        chosen &= np.isin(breeds, scored) if split == "test" and scored else ~np.isin(breeds, own.get("without", []))
        write_csv(target / f"{split}.csv", [table[row] for row in np.flatnonzero(chosen)])
        with replacing(target / f"{split}.npy") as part, part.open("wb") as file:
            np.save(file, pixels[chosen])


def trainings(todo: Iterable[Run]) -> list[Run]:
    return [run for run in todo if run.network != "ensemble"]


def one(run: Run, work: Path, lock: threading.Lock) -> None:
    if run.key in measured():
        return
    folder = work / run.folder
    plan = experiments()[run.group]
    own, scored = plan["variants"][run.variant], plan.get("scored", [])
    marker, by = folder / "trained.yaml", yaml.safe_dump([run.values, own, scored]).encode()
    if not marker.exists() or marker.read_bytes() != by:
        whole = work / f"cache-{run.values['data']['image_size']}/dataset/cache"
        chosen_photographs(run, whole, folder / "dataset/cache", own, scored)
        (folder / "params.yaml").write_text(yaml.safe_dump(run.values, sort_keys=False), encoding="utf-8")
        stage(folder, "train.py", "--model", run.network)
        write_bytes(marker, by)
    keep(run, work, lock)
    marker.unlink()


def chosen_photographs(run: Run, whole: Path, target: Path, own: Mapping[str, Any], scored: Sequence[str]) -> None:
    if scored or not {"share", "without"}.isdisjoint(own):
        of_part(whole, target, own, scored)
    elif run.fold != "":
        of_fold(whole, target, int(run.fold))
    elif not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(whole.resolve())


def keep(run: Run, work: Path, lock: threading.Lock) -> None:
    """The row of what is trained; an ensemble whose networks are no longer in the folder gets none."""
    members = [run._replace(network=name) for name in NETWORKS] if run.network == "ensemble" else [run]
    if not all((work / member.folder / f"saved_models/{member.network}.pth").exists() for member in members):
        return
    row = together([trained(member, work / member.folder) for member in members])
    row |= dict(zip(KEY, run.key, strict=True)) | scored(members, work, whole.check(run.values, "run"))
    experiments.cache_clear()  # another comparison may keep rows of runs that were planned since
    place = places()
    with lock:
        if experiments()[run.group].get("curves") and run.network != "ensemble":
            others = [known for known in rows(CURVES) if key_of(known) != run.key]
            write_csv(CURVES, in_order([*others, *curve(run, work / run.folder)], place))
        outdated = run._replace(network="ensemble").key  # where one of its networks is new
        write_csv(RESULTS, in_order([*(known for known in rows(RESULTS) if key_of(known) != outdated), row], place))
    print(f"{run.folder}: validation Dice {row['valid_dice']:.4f}, test Dice {row['test_dice'] or '-'}", flush=True)


def together(parts: Sequence[Row]) -> Row:
    """A row of several networks: their parameters and seconds added, what only one of them can have left empty."""
    if len(parts) == 1:
        return parts[0]
    own = dict.fromkeys(("width", "best_epoch", "train_loss", "valid_loss", "valid_loss_epoch"), "")
    return parts[0] | own | {name: sum(part[name] for part in parts) for name in ("parameters", "seconds")}


def trained(run: Run, folder: Path) -> Row:
    assert run.network != "ensemble"
    settings = whole.check(run.values, "run").networks[run.network]
    found = yaml.safe_load((folder / f"metrics/{run.network}.json").read_text(encoding="utf-8"))
    with (folder / f"plots/history_{run.network}.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    losses = [float(epoch["valid_loss"]) for epoch in history]
    made = found["run"][0]
    return dict.fromkeys(KEY, "") | {
        "photographs": len(SimpleOxfordPetDataset(folder / "dataset/cache", "train")),
        "image_size": run.values["data"]["image_size"],
        "width": settings.config["width"],
        "parameters": made["parameters"],
        "precision": settings.train.precision,
        "epochs": made["epochs"],
        "best_epoch": made["best_epoch"],
        "hardware": f"{made['device']} {made['cpu']}" if made["device"] == "CPU" else made["device"],
        "threads": made["threads"],
        "torch": made["torch"],
        "seconds": round(sum(seconds(folder, len(history)))),
        "train_loss": float(history[-1]["train_loss"]),
        "valid_loss": min(losses),
        "valid_loss_epoch": losses.index(min(losses)) + 1,
    }


def seconds(folder: Path, epochs: int) -> list[float]:
    """Of each epoch, with its validation; of one that was done twice those of the second time."""
    log = (folder / "log.txt").read_text(encoding="utf-8")
    found = dict(re.findall(r"epoch +(\d+)/.* ([\d.]+) s, \d+ images/s", log))
    return [float(found[str(epoch)]) for epoch in range(1, epochs + 1)]


def curve(run: Run, folder: Path) -> list[Row]:
    with (folder / f"plots/history_{run.network}.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    key = dict(zip(KEY, run.key, strict=True))
    return [
        key | {"epoch": row["epoch"], "seconds": round(until), "valid_dice": row["valid_dice"]}
        for row, until in zip(history, accumulate(seconds(folder, len(history))), strict=True)
    ]


def scored(members: Sequence[Run], work: Path, settings: Params) -> Row:
    """Dice as the recipe predicts, and for each kind of test-time augmentation with the best threshold of its own."""
    weights = [checkpoint.load(work / run.folder / f"saved_models/{run.network}.pth") for run in members]
    plan = experiments()[members[0].group]
    cached = work / members[0].folder / "dataset/cache"
    pixels_of = {name: SimpleOxfordPetDataset(cached, name).tensor() for name in splits_of(members[0])}
    own, fixed = settings.evaluate.tta, settings.evaluate.threshold
    row: Row = {"threshold": "", "tta": own} | dict.fromkeys(SCORES, "")
    kinds = plan.get("tta", list(SCALES))
    for tta in [own] if kinds == "own" else kinds:
        predict = mean_of([Predictor(each, tta, DEVICE) for each in weights])
        by_threshold = threshold_curves(alone(predict), pixels_of["valid"], "pet", lambda _: None)[0]
        best = best_threshold(by_threshold)
        found = {name: counts(predict, best, pixels) for name, pixels in pixels_of.items()}
        row |= {f"{name}_{tta}": float(dice(each).mean()) for name, each in found.items()}
        if tta == own:
            row["threshold"] = threshold = best if fixed == "auto" else fixed
            if threshold != best:
                found = {name: counts(predict, threshold, pixels) for name, pixels in pixels_of.items()}
            row |= {f"{name}_dice": float(dice(each).mean()) for name, each in found.items()}
            if "test" in found:
                row["test_dice_dataset"] = float(dice(found["test"].sum(0)))
                row["test_dice_native"] = at_own_size(predict, threshold, cached)
    columns = [f"{name}_{tta}" for name in ("valid", "test") for tta in SCALES]
    hashes = " ".join(hash_of_tensors(one)[:16] for one in weights)
    return row | {name: row.get(name, "") for name in columns} | {"tensors": hashes}


def at_own_size(predict: Predict, threshold: float, cache: Path) -> float:
    """Mean test Dice at each photograph's own size."""
    dataset = cache.resolve().parent / "oxford-iiit-pet"
    found = evaluate.test_scores(alone(predict), {"x": threshold}, splits.cached(cache, dataset, "test"), "pet")
    return float(found["x"].dice_native.mean())


def mean_of(predictors: Sequence[Predictor]) -> Predict:
    return lambda images: torch.stack([predict(images) for predict in predictors]).mean(0)


def alone(predict: Predict) -> Methods:
    """As the only method."""
    return lambda images: predict(images).unsqueeze(1)


def splits_of(run: Run) -> tuple[str, ...]:
    return ("valid", "test") if run.fold == "" and experiments()[run.group].get("test", True) else ("valid",)


def counts(predict: Predict, threshold: float, pixels: torch.Tensor) -> torch.Tensor:
    found = [
        confusion(is_pet(predict(batch[..., :3]).cpu(), threshold), foreground(batch[..., 3]))
        for batch in batches(pixels)
    ]
    return torch.cat(found)


def rows(table: Path) -> list[Row]:
    if not table.exists():
        return []
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def key_of(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def measured() -> dict[tuple[str, ...], Row]:
    return {key_of(row): row for row in rows(RESULTS)}


def places() -> dict[tuple[str, ...], int]:
    return {run.key: number for number, run in enumerate(run for group in experiments() for run in runs(group))}


def in_order(found: list[Row], place: Mapping[tuple[str, ...], int]) -> list[Row]:
    """As experiments.yaml has them; rows of what is no longer there go."""
    return sorted((row for row in found if key_of(row) in place), key=lambda row: place[key_of(row)])


if __name__ == "__main__":
    main()
