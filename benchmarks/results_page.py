"""Writes docs/results.md and its charts from docs/results.csv, benchmarks/experiments.yaml and the recipes.

python benchmarks/results_page.py
"""

from __future__ import annotations

import itertools
import statistics
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from matplotlib.artist import Artist

import params
from compare import CURVES, Row, Run, experiments, measured, rows, runs
from report.looks import KNOWN as LOOKS
from report.looks import OTHERS
from report.pictures import chart, key, legend, png
from scoring.predict import SCALES
from utils import write_bytes

DOCS = ROOT / "docs"
RESULTS = DOCS / "results.md"
OURS = "oxford"
HEAD = """# Results on real photographs

This page compares our [recipe](glossary.md#recipe) with those of four published systems, and each choice in our recipe
with its alternatives. [report.md](report.md) says what follows from it, [records.md](records.md) what a laptop reaches
in half an hour. The first groups have the whole dataset, except for a tenth of its test photographs. The other groups
are older and have a [slice](glossary.md#slice) of it.

## Ours and the best of the published recipes

The scores are test [Dice](glossary.md#dice), the mean over photographs: with several seeds the mean of the seeds, and
in brackets the lowest and the highest. `oxford` is our recipe. The other recipe is the published one with the best
validation Dice. A name with a comma is a recipe with the change that follows the comma. A [point](glossary.md#point) is
0.01 of Dice. Our recipe has grown with what was learnt: on the slice `oxford` is
[slice.yaml](../benchmarks/slice.yaml), with other rates and decays and without squares that grow.
"""
METHOD = """## How it was measured

- `python benchmarks/compare.py --data FOLDER GROUP` runs a group of runs and writes one row for each into
  [results.csv](results.csv). [experiments.yaml](../benchmarks/experiments.yaml) says what the runs of a group have in
  common. `python benchmarks/results_page.py` makes this page from both.
- A run that has its row in results.csv is not run again. To measure it again, remove the row first.
- Dice is the mean over photographs; [pooled](glossary.md#pooled) Dice counts the pixels of all photographs together.
  Both use the [threshold](glossary.md#threshold) and the
  [test-time augmentation](glossary.md#test-time-augmentation) of the recipe.
- The weights of the best validation epoch are scored. No choice is made with test photographs.
- With several seeds (or several [folds](glossary.md#fold) of one seed, where no test photograph is used) the mean comes
  first, and then the lowest and the highest.
- Compare the lowest validation loss, and the epoch that had it, only between recipes with the same loss function.

The whole dataset has 3,312 photographs to train and 368 to validate. The test split has 3,669; 3,302 of them were
scored, in a copy whose photographs have at most 352 pixels on the longer side. Runs on a GPU were made by
`compare.py`'s own functions, several side by side; fp32 products take TF32 there.

The slice has the 505 photographs that [slice.txt](../benchmarks/slice.txt) names. They were scaled down to at most 512
pixels and saved as JPEG of quality 88, so the official files may give slightly different scores. FOLDER holds the
official `images/` and `annotations/`. These lines remove all other photographs from its lists:

```
for list in trainval test; do
  grep -wFf PROJECT/benchmarks/slice.txt annotations/$list.txt > part && mv part annotations/$list.txt
done
```
"""
LEADS = ("photographs", "size", "network", OURS, "other recipe", "its test Dice", "points ahead", "runs of each")
COLUMNS = (
    "variant",
    "network",
    "runs",
    "validation Dice",
    "test Dice",
    "at its own size",
    "pooled test Dice",
    "best epoch",
    "lowest validation loss",
    "epochs",
    "minutes a run",
)


def main() -> None:
    write_bytes(RESULTS, document().encode())
    for group in ordered():
        if found := tested(of_group(group)):
            write_bytes(DOCS / picture(group), drawn(found))
        if lines_over := curves(group):
            write_bytes(DOCS / curve_picture(group), drawn_curves(lines_over))
        if fewer := of_shares(group):
            write_bytes(DOCS / share_picture(group), drawn_shares(fewer))


def document() -> str:
    groups = {group: plan for group, plan in ordered().items() if of_group(group)}
    raced = [group for group, plan in groups.items() if "against" not in plan]
    parts = [HEAD, table(LEADS, (line for group in raced for line in leads(tested(of_group(group))))), METHOD]
    for group, plan in groups.items():
        parts.append(f"## {plan['title']}\n\nGroup `{group}`. {' '.join(plan['about'].split())}\n")
        found = of_group(group)
        parts.append(conditions(found) + "\n")
        if tested(found):
            parts.append(f"![Test Dice of every run]({picture(group)})\n")
        if curves(group):
            parts.append(f"![Validation Dice by epoch]({curve_picture(group)})\n")
        if of_shares(group):
            parts.append(f"![Test Dice by number of training photographs]({share_picture(group)})\n")
        parts.append(table(*filled(COLUMNS, lines(found))))
        reference = plan.get("against", "")
        if compared := list(differences(found, reference)):
            parts.append(f"Points of validation Dice above or below `{reference}`, with the same seed and fold:\n")
            parts.append(table(("variant", "network", "pairs", "points"), compared))
        parts.append("Mean Dice with each test-time augmentation, each at its best threshold on validation:\n")
        parts.append(table(*filled(("variant", "network", "split", *SCALES), augmentations(found))))
        known = measured()
        if missing := [run for run in runs(group) if run.key not in known]:
            parts.append(f"Not run. {listed(missing)}.\n")
    parts.append("## What the authors reported\n\nOn the full dataset. Each author used a measure of his own.\n")
    parts.append(table(("recipe", "reported"), reported()))
    return "\n".join(parts)


def ordered() -> dict[str, Any]:
    """The groups: first those of the whole dataset. Those that compare recipes on test come before the others, and the
    largest squares first."""

    def place(plan: dict[str, Any]) -> tuple[bool, int]:
        return "slice" in plan, 0 if "folds" in plan else -plan["common"]["data"]["image_size"]

    here = {group: plan for group, plan in experiments().items() if plan.get("page") != "records"}
    return dict(sorted(here.items(), key=lambda entry: place(entry[1])))


def of_group(group: str) -> list[Row]:
    known = measured()
    return [known[run.key] for run in runs(group) if run.key in known]


def tested(found: Sequence[Row]) -> list[Row]:
    return [row for row in found if row["test_dice"]]


def together(found: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Variant, network, and their rows over seeds and folds."""
    for variant, network in dict.fromkeys((row["variant"], row["network"]) for row in found):
        yield variant, network, [row for row in found if (row["variant"], row["network"]) == (variant, network)]


def lines(found: Sequence[Row]) -> Iterator[list[str]]:
    for variant, network, own in together(found):
        scores = [spread(own, name) for name in ("valid_dice", "test_dice", "test_dice_native", "test_dice_dataset")]
        best = ", ".join(row["best_epoch"] for row in own if row["best_epoch"])
        losses = [f"{spread([row], 'valid_loss')} ({row['valid_loss_epoch']})" for row in own if row["valid_loss"]]
        seconds = [float(row["seconds"]) for row in own]
        minutes = " to ".join(dict.fromkeys(f"{end / 60:.0f}" for end in (min(seconds), max(seconds))))
        ends = [best or "-", ", ".join(losses) or "-", own[0]["epochs"], minutes]
        yield [variant, LOOKS[network].title, str(len(own)), *scores, *ends]


def differences(found: Sequence[Row], reference: str, score: str = "valid_dice") -> Iterator[list[str]]:
    """Each variant against the reference in pairs of the same seed and fold; chance that both share goes out."""
    for variant, network, own in together(found):
        base = {
            (row["seed"], row["fold"]): row for row in found if (row["variant"], row["network"]) == (reference, network)
        }
        pairs = [(row, base[place]) for row in own if (place := (row["seed"], row["fold"])) in base]
        if pairs and variant != reference:
            points = [100 * (float(one[score]) - float(other[score])) for one, other in pairs]
            yield [variant, LOOKS[network].title, str(len(pairs)), ranged(points, "+z.1f")]


def augmentations(found: Sequence[Row]) -> Iterator[list[str]]:
    for variant, network, own in together(found):
        for split in ("valid", "test") if tested(own) else ("valid",):
            yield [variant, LOOKS[network].title, split, *(scored(own, f"{split}_{tta}") for tta in SCALES)]


def scored(own: Sequence[Row], name: str) -> str:
    return f"{mean(own, name):.3f}" if all(row[name] for row in own) else "-"


def leads(found: Sequence[Row]) -> Iterator[list[str]]:
    """Ours against the best published recipe, which validation names, as it is and with a change."""
    for network in dict.fromkeys(row["network"] for row in found):
        own = {variant: part for variant, name, part in together(found) if name == network}
        for changed in (False, True):
            others = [name for name in own if recipe(name) != OURS and (name != recipe(name)) == changed]
            if OURS not in own or not others:
                continue
            best = max(others, key=lambda name: mean(own[name], "valid_dice"))
            ours, theirs = (mean(own[name], "test_dice") for name in (OURS, best))
            yield [
                f"{int(own[OURS][0]['photographs']):,}",
                f"{own[OURS][0]['image_size']} px",
                LOOKS[network].title,
                spread(own[OURS], "test_dice"),
                best,
                spread(own[best], "test_dice"),
                f"{100 * (ours - theirs):+.1f}",
                f"{len(own[OURS])} and {len(own[best])}",
            ]


def recipe(variant: str) -> str:
    """`oxford` of `oxford, decay 1`."""
    return variant.split(",")[0]


def mean(own: Iterable[Row], name: str) -> float:
    return statistics.mean(float(row[name]) for row in own)


def spread(own: Sequence[Row], name: str) -> str:
    values = [float(row[name]) for row in own if row[name]]
    return ranged(values, ".3f") if values else "-"


def ranged(values: Sequence[float], form: str) -> str:
    """The mean; of several, the lowest and the highest too."""
    middle = f"{statistics.mean(values):{form}}"
    return f"{middle} ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else middle


def picture(group: str) -> str:
    return f"results_{group}.png"


def drawn(found: Sequence[Row]) -> bytes:
    """Every run a mark: its test Dice, by variant."""
    variants = list(dict.fromkeys(row["variant"] for row in found))
    networks = [name for name in LOOKS if any(row["network"] == name for row in found)]
    figure, axes = chart("test Dice", "", 1.2 + 0.45 * len(variants))
    for shift, name in enumerate(networks):
        own = [row for row in found if row["network"] == name]
        heights = [variants.index(row["variant"]) + 0.22 * (shift - (len(networks) - 1) / 2) for row in own]
        look = LOOKS[name]
        axes.plot([float(row["test_dice"]) for row in own], heights, look.marker, color=look.colour)
    axes.set_yticks(range(len(variants)), [textwrap.fill(name, 26) for name in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    legend(figure, "Test Dice of every run", [key(LOOKS[name], LOOKS[name].title) for name in networks], 3)
    return png(figure)


def curves(group: str) -> dict[str, list[float]]:
    """The validation Dice of each epoch, by variant, for the first seed of a group of one network; else the lines are
    too many."""
    plan = experiments()[group]
    own = [row for row in rows(CURVES) if row["group"] == group and row["seed"] == str(plan["seeds"][0])]
    found = {
        variant: [float(row["valid_dice"]) for row in own if row["variant"] == variant] for variant in plan["variants"]
    }
    return {variant: dices for variant, dices in found.items() if dices} if len(plan["networks"]) == 1 else {}


def curve_picture(group: str) -> str:
    return f"results_{group}_curves.png"


def drawn_curves(found: Mapping[str, Sequence[float]]) -> bytes:
    figure, axes = chart("epoch", "validation Dice", 4.2)
    colours = [*(look.colour for look in LOOKS.values()), *(colour for colour, _ in OTHERS)]
    styles = itertools.product(("-", "--"), colours)
    handles: list[Artist] = []
    for (variant, dices), (dashes, colour) in zip(found.items(), styles, strict=False):
        handles += axes.plot(range(1, len(dices) + 1), dices, dashes, color=colour, label=variant)
    axes.set_ylim(bottom=0.5)
    legend(figure, "Validation Dice by epoch", handles, 3)
    return png(figure)


def of_shares(group: str) -> list[Row]:
    """The rows of the reference and of its variants with a share of the photographs, the fewest photographs first."""
    plan = experiments()[group]
    shared = {name for name, variant in plan["variants"].items() if "share" in variant}
    own = [row for row in tested(of_group(group)) if row["variant"] in shared]
    whole = [row for row in tested(of_group(group)) if own and row["variant"] == plan["against"]]
    return sorted(own + whole, key=lambda row: int(row["photographs"]))


def share_picture(group: str) -> str:
    return f"results_{group}_photographs.png"


def drawn_shares(found: Sequence[Row]) -> bytes:
    figure, axes = chart("photographs to train", "test Dice", 3.6)
    handles: list[Artist] = []
    for network, look in LOOKS.items():
        own = [row for row in found if row["network"] == network]
        counts, dices = [int(row["photographs"]) for row in own], [float(row["test_dice"]) for row in own]
        handles += axes.plot(counts, dices, marker=look.marker, color=look.colour, label=look.title) if own else []
    numbers = sorted({int(row["photographs"]) for row in found})
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    legend(figure, "Test Dice by number of training photographs", handles, 3)
    return png(figure)


def conditions(found: Sequence[Row]) -> str:
    def all_of(name: str) -> str:
        return " or ".join(dict.fromkeys(row[name] for row in found if row[name]))

    return (
        f"Training photographs: {all_of('photographs')}. Size: {all_of('image_size')} px. Width: {all_of('width')}. "
        f"Precision: {all_of('precision')}. Machine: {all_of('hardware')}, {all_of('threads')} thread(s) a run, "
        "sometimes with other work beside it."
    )


def listed(missing: Sequence[Run]) -> str:
    """What lacks the same seeds and folds stands together."""
    places: dict[str, list[str]] = {}
    for run in missing:
        place = f"seed {run.seed}" if run.fold == "" else f"seed {run.seed} of fold {run.fold}"
        places.setdefault(f"{run.variant} ({LOOKS[run.network].title})", []).append(place)
    names: dict[str, list[str]] = {}
    for name, own in places.items():
        names.setdefault(" and ".join(own), []).append(name)
    return ". ".join(f"With {place}: {', '.join(own)}" for place, own in names.items())


def reported() -> Iterator[list[str]]:
    for file in sorted((ROOT / "recipes").glob("*.yaml")):
        recipe: dict[str, Any] = params.read(file)
        if "reported" in recipe:
            yield [file.stem, recipe["reported"]]


def filled(head: Sequence[str], body: Iterable[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns that say nothing."""
    columns = [column for column in zip(head, *body, strict=True) if set(column[1:]) != {"-"}]
    first, *rest = zip(*columns, strict=True)
    return list(first), [list(row) for row in rest]


def table(head: Sequence[str], body: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main()
