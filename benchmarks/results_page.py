"""Writes docs/results.md from docs/results.csv, benchmarks/experiments.yaml and the recipes.

python benchmarks/results_page.py
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import params
from compare import KEY, Row, Run, experiments, rows, runs
from utils import write_bytes

RESULTS = ROOT / "docs/results.md"
TITLES = {"unet": "UNet", "resnet34_unet": "ResNet34-UNet", "ensemble": "both together"}
HEAD = """# Results on real photographs

Made by `python benchmarks/results_page.py` from [results.csv](results.csv), a row for each run, which
`python benchmarks/compare.py --data FOLDER GROUP` measured; what a group holds in common stands in
[experiments.yaml](../benchmarks/experiments.yaml). Dice is the mean over photographs, pooled Dice counts all pixels
together first; both include what the recipe brings, threshold and test-time augmentation too. The best epoch on
validation is kept; the test photographs choose nothing. Where there are several seeds, the mean stands first and the
lowest and highest behind it. A line is here only if it was run.
"""
COLUMNS = ("variant", "network", "runs", "validation Dice", "test Dice", "pooled test Dice", "epochs", "minutes a run")


def main() -> None:
    write_bytes(RESULTS, document().encode())


def document() -> str:
    measured = {tuple(row[name] for name in KEY): row for row in rows()}
    parts = [HEAD]
    for group, plan in experiments().items():
        of_group = list(runs(group))
        parts.append(f"## {plan['title']}\n\n{' '.join(plan['about'].split())}\n")
        done = [run for run in of_group if run.key in measured]
        if done:
            found = [measured[run.key] for run in done]
            parts.append(conditions(found) + "\n")
            parts.append(table(COLUMNS, lines(done, found)))
        if missing := [run for run in of_group if run.key not in measured]:
            parts.append(f"Not run: {listed(missing)}.\n")
    parts.append("## What the authors reported\n\nOn the full dataset, each by their own measure.\n")
    parts.append(table(("recipe", "reported"), reported()))
    return "\n".join(parts)


def lines(done: Sequence[Run], found: Sequence[Row]) -> Iterator[list[str]]:
    """A line for each variant and network, over its seeds and folds."""
    for variant, network in dict.fromkeys((run.variant, run.network) for run in done):
        own = [row for row in found if (row["variant"], row["network"]) == (variant, network)]
        scores = [spread(own, name) for name in ("valid_dice", "test_dice", "test_dice_dataset")]
        minutes = statistics.mean(float(row["seconds"]) for row in own) / 60
        yield [variant, TITLES[network], str(len(own)), *scores, own[0]["epochs"], f"{minutes:.0f}"]


def spread(own: Sequence[Row], name: str) -> str:
    values = [float(row[name]) for row in own if row[name]]
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else mean


def conditions(found: Sequence[Row]) -> str:
    def all_of(name: str) -> str:
        return " or ".join(dict.fromkeys(row[name] for row in found))

    return (
        f"{all_of('photographs')} photographs to learn from, {all_of('image_size')} px, width {all_of('width')}, "
        f"{all_of('precision')}, on {all_of('hardware')}, {all_of('threads')} thread(s) a run, beside other work."
    )


def listed(missing: Sequence[Run]) -> str:
    """Each variant once, with what is lacking of it."""
    lacking: dict[tuple[str, str], list[int]] = {}
    for run in missing:
        lacking.setdefault((run.variant, run.network), []).append(run.seed)
    return "; ".join(
        f"{variant}, {TITLES[network]}, {'seed' if len(seeds) == 1 else 'seeds'} {' '.join(map(str, seeds))}"
        for (variant, network), seeds in lacking.items()
    )


def reported() -> Iterator[list[str]]:
    for file in sorted((ROOT / "recipes").glob("*.yaml")):
        recipe: dict[str, Any] = params.read(file)
        if "reported" in recipe:
            yield [file.stem, recipe["reported"]]


def table(head: Sequence[str], body: Iterator[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main()
