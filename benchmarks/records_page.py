"""Writes docs/records.md and its chart from the rows of the group `laptop`: how short the way to a Dice is.

python benchmarks/records_page.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from statistics import mean

from matplotlib.artist import Artist

from compare import CURVES, Row, experiments, rows
from report.looks import KNOWN as LOOKS
from report.pictures import chart, legend, png
from results_page import DOCS, differences, of_group, ranged, table, together
from utils import write_bytes

GROUP, IDEAS = "laptop", "ideas"
OURS, SHORT, AVERAGED, WIDE = "laptop", "laptop, 8 epochs", "laptop, averaged", "laptop, twice as wide"
RIVAL = "rotate-bce-dice"
AUGMENTED = ("augmented, 12 epochs", "augmented, 12 epochs, averaged", "augmented, 12 epochs, twice as wide")
BEFORE = ("before, 16 epochs", "before, 28 and 24 epochs", "before, 28 and 24 epochs, twice as wide")
SHOWN = (OURS, SHORT, AVERAGED, WIDE, *AUGMENTED, *BEFORE)
TITLES = ("recipe", "network", "parameters", "seeds", "processor", "threads", "minutes", "validation Dice", "test Dice")
PAGE, PICTURE = DOCS / "records.md", DOCS / "records.png"
HEAD = """# Records: how short the way to a Dice is

The course gives all points from a test [Dice](glossary.md#dice) of 0.90 on. This page says how long two CPU cores need
for it on the real dataset, from scratch. The recipe is `laptop`; nothing of it needs a GPU:

```
python src/recipe.py laptop -S data.source=FOLDER
```

With each of three seeds both networks pass 0.90, after 18 to 21 minutes of training together. `make laptop` does the
same and downloads the dataset first. On every x86-64 processor with AVX2 the weights are the same to the byte; the line
`portable` of [performance.md](performance.md) says what that costs.

With 8 epochs instead of 10, `-S train.epochs=8`, both still pass with each of three seeds, after 15 to 17 minutes.
But the validation Dice of ResNet34-UNet is then below 0.90, so the recipe has 10.

With the seed of params.yaml the whole command took 26 minutes, from the archives in FOLDER to the report page. The
training of UNet took 9 of them, and that of ResNet34-UNet 14. Their test Dice is 0.913 and 0.907, and 0.915 together.

Twice as wide, both networks pass 0.92, after 58 minutes of training together (one seed):

```
python src/recipe.py laptop -S data.source=FOLDER \\
  -S unet.width=16 -S resnet34_unet.width=32 -S 'resnet34_unet.decoder=[128,64,32,16,16]'
```

## Minutes to 0.90 and to 0.92

Minutes are those of the epochs, validation included; an ensemble's are those of both networks together. Where there are
several seeds, the mean comes first, then the lowest and the highest. The test Dice is that at each photograph's own
size, on 3,302 of the 3,669 test photographs, in a copy of the dataset whose photographs have at most 352 pixels on the
longer side. Validation chose the epoch and the threshold.

`augmented` is the recipe with changes of size, place and colours, and 12 epochs. Now it has no augmentation but the
mirror, and after 10 epochs the same mean Dice. In so short a training no network learns the photographs by heart, and
changed photographs are harder to learn: with these changes the training loss ends above the validation loss, without
them below.

`before` is an older recipe, augmented too, with a weight decay of 0.1 and batches of 32. Now it has a decay of 1 and
batches of 16. UNet now has after 10 epochs about the Dice that it had before after 28. Both networks are better after
10 epochs now than after 16 epochs before. Twice as wide, UNet has after 10 epochs about what it had before after 28;
ResNet34-UNet has less, and passes 0.92 by 0.1 points only. `averaged` has an average of weights, which [shortens the
way](#against-the-best-of-the-published-recipes) to a lower Dice, but not to 0.90. It ends with about the same Dice and
takes a little longer, so the recipe goes without it.

The runs with two threads came one after the other, as the recipe trains, and had the machine nearly to themselves.
Those with one thread ran two at a time: the wide networks nearly alone, most others beside the tests of the project. So
their minutes are rough. Their processor was quicker, too: with one core, an epoch of UNet at 64 px and with batches of
32 took 21 seconds. On the processor of the runs with two threads it took 23 to 27 seconds with both cores.

The lines of `laptop` and the published recipe ran on an Intel Xeon (Cascade Lake), the others with two threads on an
AMD EPYC. An epoch of the narrow networks took about as long on both: one of UNet at 64 px took 26 to 30 seconds on the
first and 28 to 42 on the second. Twice as wide, it took a fifth to a quarter less on the first. UNet with the average
of weights ran when the first was slower, 38 to 47 seconds for such an epoch, so its minutes are too many. The chart
shows narrow networks with two threads.
"""
AGAINST = f"""## Against the best of the published recipes

`{RIVAL}` is trained with networks of the same width, with the same photographs at the same size, for 28 and 24 epochs.
`its best` is its best validation Dice, and `its minutes` says when it had that. `our minutes` says when ours first has
as much, with the same seed. All ran with two threads on one machine, with hardly anything beside them;
UNet of `{AVERAGED}` ran in a slow hour, so its minutes are too many.

With the strong weight decay of `{OURS}` the validation Dice goes up and down until the rate falls. Each step then
changes the network much, while BatchNorm's running statistics still belong to the weights before. With an
[average of weights](glossary.md#average-of-weights), `-S train.ema=0.98`, for which the statistics are counted anew, it
rises nearly without a fall. It is there sooner, and ends about as high.
"""
WORTH = """## What each idea was worth

The recipe as it was before, half as long, with what the first column names changed. Points are those of validation Dice
above or below it, with the same seed. A difference of less than half a point may be chance; where two seeds were
trained, their points differ by 0.4 at most. Only `always 128 px` has fewer epochs, as many as the same time gives.
AdamW and batches of 64 save about a tenth of the time; batches of 16 take hardly more.

A decay of 1 with batches of 16 brings most, to both networks. So the recipe has them now. To leave out augmentation,
but for the mirror, brings another 0.4 points to both.
"""
METHOD = f"""## How it was measured

`python benchmarks/compare.py --data FOLDER --workers 2 {GROUP} {IDEAS}` runs the trainings, whose rows stand in
[results.csv](results.csv) and their epochs in [curves.csv](curves.csv).
[experiments.yaml](../benchmarks/experiments.yaml) says what was changed. Runs with two threads had no `--workers 2`.
`python benchmarks/records_page.py` makes this page.
"""


def main() -> None:
    write_bytes(PAGE, document().encode())
    write_bytes(PICTURE, drawn(own_curves()))


def document() -> str:
    found, curves = of_group(GROUP), own_curves()
    parts = [HEAD, table(TITLES, (line for variant in SHOWN for line in records(found, variant)))]
    parts.append(f"![Validation Dice against minutes]({PICTURE.name})\n")
    if raced := list(races(curves)):
        parts += [AGAINST, table(("recipe", "network", "its best", "its minutes", "our minutes", "ratio"), raced)]
    if worth := list(ideas(of_group(IDEAS))):
        parts += [WORTH, table(("idea", "network", "seeds", "points", "validation Dice"), worth)]
    return "\n".join([*parts, METHOD])


def own_curves() -> list[Row]:
    return [row for row in rows(CURVES) if row["group"] == GROUP]


def ideas(found: Sequence[Row]) -> Iterator[list[str]]:
    """What they are measured by first, without points."""
    points = {(variant, title): rest for variant, title, *rest in differences(found, experiments()[IDEAS]["against"])}
    for variant, network, own in together(found):
        title = LOOKS[network].title
        pairs, ahead = points.get((variant, title), (str(len(own)), "-"))
        yield [variant, title, pairs, ahead, ranged([float(row["valid_dice"]) for row in own], ".3f")]


def records(found: Sequence[Row], variant: str) -> Iterator[list[str]]:
    for network in LOOKS:
        if own := [row for row in found if (row["variant"], row["network"]) == (variant, network)]:
            dices = (ranged([float(row[name]) for row in own], ".3f") for name in ("valid_dice", "test_dice_native"))
            minutes = ranged([float(row["seconds"]) / 60 for row in own], ".0f")
            made = (", ".join(dict.fromkeys(row[name] for row in own)) for name in ("seed", "hardware", "threads"))
            yield [variant, LOOKS[network].title, f"{int(own[0]['parameters']):,}", *made, minutes, *dices]


def races(curves: Sequence[Row]) -> Iterator[list[str]]:
    """Ours against the other with the same seed; of several seeds the mean."""
    for variant, network in itertools.product((OURS, AVERAGED), LOOKS):
        pairs = []
        for seed in dict.fromkeys(row["seed"] for row in curves):
            ours, theirs = (runs_of(curves, one, network, seed) for one in (variant, RIVAL))
            if ours and theirs:
                best = max(theirs, key=dice_of)
                reached = next((row for row in ours if dice_of(row) >= dice_of(best)), None)
                if reached:
                    pairs.append((dice_of(best), int(best["seconds"]) / 60, int(reached["seconds"]) / 60))
        if pairs:
            best, slow, quick = (mean(column) for column in zip(*pairs, strict=True))
            yield [variant, LOOKS[network].title, f"{best:.3f}", f"{slow:.1f}", f"{quick:.1f}", f"{slow / quick:.1f}"]


def runs_of(curves: Sequence[Row], variant: str, network: str, seed: str) -> list[Row]:
    return [row for row in curves if (row["variant"], row["network"], row["seed"]) == (variant, network, seed)]


def dice_of(row: Row) -> float:
    return float(row["valid_dice"])


def drawn(curves: Sequence[Row]) -> bytes:
    """A line for each run."""
    figure, axes = chart("minutes", "validation Dice")
    handles: list[Artist] = []
    for variant, dashes in ((AVERAGED, "-"), (OURS, ":"), (RIVAL, "--")):
        for network, look in LOOKS.items():
            lines = []
            for seed in dict.fromkeys(row["seed"] for row in curves):
                own = runs_of(curves, variant, network, seed)
                minutes = [int(row["seconds"]) / 60 for row in own]
                lines += axes.plot(minutes, list(map(dice_of, own)), dashes, color=look.colour) if own else []
            for line in lines[:1]:
                line.set_label(f"{look.title}, {variant.rsplit(', ', 1)[-1]}")
                handles.append(line)
    axes.set_ylim(bottom=0.7)
    legend(figure, "Validation Dice against minutes", handles)
    return png(figure)


if __name__ == "__main__":
    main()
