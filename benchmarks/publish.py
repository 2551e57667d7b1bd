"""Publishes trained weights: saves them in published/ in half precision, scores them, and writes the model card.

python benchmarks/publish.py --data FOLDER --recipe NAME W...

W are weights of the recipe's two networks, and FOLDER is the unpacked dataset whose test photographs are scored. The
scores of all photographs, of each species and of each breed go to published/scores.csv, the photographs on which the
ensemble did worst to published/worst.csv. Look at these before you publish: the card says what went wrong with them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import evaluate
import params
from commands.published import FOLDER, published
from compare import rows
from report.looks import KNOWN as LOOKS
from results_page import table
from scoring import splits
from scoring.predict import Predictor
from scoring.scores import groups, with_interval
from shared import checkpoint
from shared.checkpoint import Weights
from utils import write_bytes, write_csv

CARD, SCORES, WORST = FOLDER / "README.md", FOLDER / "scores.csv", FOLDER / "worst.csv"
TTA, BORDER, SHOWN = "flip", "pet", 100
WRONG_TRUTH = {
    "no pet in the trimap": [
        "Egyptian_Mau_20",
        "Persian_259",
        "saint_bernard_78",
        "wheaten_terrier_195",
        "saint_bernard_60",
        "keeshond_7",
    ],
    "pet and background swapped": ["Persian_268", "Persian_273"],
    "the face called background": ["Maine_Coon_268"],
}
WENT_WRONG = {  # of the others that are shown, counted by hand
    "part of the pet is missing: a tail, a dark or blurred body, what lies behind leaves or bars": 41,
    "something else is taken for pet: people, clothes, toys, blankets of its colour, reflections, snow": 44,
    "another animal, which the truth leaves out, is found too": 6,
}
TEST_SPLIT = 3669  # photographs of the official one
ORIGIN = ("file", "network", "parameters", "seed", "best epoch", "threshold")
TRUTHS = ("what is wrong with the truth", "photographs")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=Path, metavar="W")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--recipe", required=True, metavar="NAME")
    args = parser.parse_args()
    trained = [checkpoint.load(file) for file in args.weights]
    if len({weights.network for weights in trained} | {file.stem for file in published()}) < 2:
        parser.error("the card also scores the ensemble: name weights of both networks")
    FOLDER.mkdir(exist_ok=True)
    for weights in trained:
        checkpoint.save(FOLDER / f"{weights.network}.pth", halved(weights))
    files = published()
    by_group, worst = scored([checkpoint.load(file) for file in files], args.data)
    write_csv(SCORES, by_group)
    write_csv(WORST, worst)
    write_bytes(CARD, card(files, args.recipe).encode())


def halved(weights: Weights) -> Weights:
    """In half precision, for half of the room. A network is built in full precision from either."""
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.state.items()}
    return replace(weights, state=state)


def scored(trained: Sequence[Weights], data: Path) -> tuple[list[Row], list[Row]]:
    """Dice at the photographs' own size: the mean of each group with its interval, and the ensemble's worst."""
    names = evaluate.with_ensemble([weights.network for weights in trained])
    methods = evaluate.all_methods([Predictor(weights, TTA, torch.device("cpu")) for weights in trained])
    open_split = partial(splits.official, data, trained[0].image_size)
    thresholds, _ = evaluate.thresholds_for(names, trained, methods, open_split, BORDER)
    test = open_split("test")
    scores = evaluate.test_scores(methods, thresholds, test, BORDER)
    by_group: list[Row] = []
    for group, kind, mask in groups(test.rows):
        row: Row = {"group": group, "kind": kind, "photographs": int(mask.sum())}
        for name in names:
            found = with_interval(scores[name].where(mask).dice_native)
            row |= {key.replace("dice", name): value for key, value in found.items()}
        by_group.append(row)
    dices = scores["ensemble"].dice_native
    worst = [{"name": test.rows[i]["name"], "dice": float(dices[i])} for i in dices.argsort(stable=True)[:SHOWN]]
    return by_group, worst


def card(files: Sequence[Path], recipe: str) -> str:
    trained = [checkpoint.load(file) for file in files]
    found, methods = rows(SCORES), [*(weights.network for weights in trained), "ensemble"]
    head = ("photographs of the test split", "how many", *(LOOKS[name].title for name in methods))
    body = [
        [row["group"].replace("_", " "), f"{int(row['photographs']):,}", *(interval(row, name) for name in methods)]
        for row in found
    ]
    named = " ".join(f"published/{file.name}" for file in files)
    lost = {row["name"]: 1 - float(row["dice"]) for row in rows(WORST)}
    scored = int(found[0]["photographs"])
    missing = scored * (1 - float(found[0]["ensemble"]))
    wrong = [name for names in WRONG_TRUTH.values() for name in names if name in lost]
    counts = {"the truth is wrong": len(wrong)} | WENT_WRONG
    if sum(counts.values()) != len(lost):
        sys.exit(f"publish: {WORST}: sort its photographs by what went wrong, and write the counts into WENT_WRONG")
    return TEXT.format(
        recipe=recipe,
        device=" and ".join(dict.fromkeys(str(weights.environment["device"]) for weights in trained)),
        again=again(recipe, trained),
        weights=table(ORIGIN, map(origin, files, trained)),
        hashes="\n".join(f"{checkpoint.hash_of_tensors(weights)}  {weights.network}" for weights in trained),
        side=trained[0].image_size,
        scored=body[0][1],
        more=TEST_SPLIT - scored,
        above=table(head, body[:3]),
        breeds=table(head, sorted(body[3:], key=lambda cells: cells[-1])),
        worst=len(lost),
        counts=table(("what went wrong", "photographs"), ([what, str(count)] for what, count in counts.items())),
        share=f"{sum(lost.values()) / missing:.0%}",
        share_wrong=f"{sum(lost[name] for name in wrong) / missing:.0%}",
        truths=table(TRUTHS, ([what, ", ".join(names)] for what, names in WRONG_TRUTH.items())),
        command=f"python src/evaluate.py --weights {named} --data FOLDER --tta {TTA}",
    )


def again(recipe: str, trained: Sequence[Weights]) -> str:
    """The command that trains them, with what their shapes have in place of the recipe's."""
    usual = params.overlaid(params.read(ROOT / "params.yaml"), params.read(ROOT / f"recipes/{recipe}.yaml")["params"])
    changed = [
        f"'{weights.network}.{name}={value}'".replace(" ", "")
        for weights in trained
        for name, value in weights.config.items()
        if usual[weights.network][name] != value
    ]
    return " -S ".join([f"python src/recipe.py {recipe}", "seed=SEED", *changed])


def origin(file: Path, weights: Weights) -> list[str]:
    known = weights.origin
    assert known, f"{file}: weights that do not say where they come from are not published"
    parameters = sum(parameter.numel() for parameter in weights.build().parameters())
    own = (f"{parameters:,}", str(known.seed), str(known.best_epoch), f"{known.threshold:.2f}")
    return [f"`{file.name}`", LOOKS[weights.network].title, *own]


def interval(row: Row, method: str) -> str:
    mean, low, high = (float(row[f"{method}{end}"]) for end in ("", "_low", "_high"))
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


TEXT = """# Published weights

Both networks, trained from scratch on the official dataset. They find the pet on your photographs, with no training:

```
python src/inference.py PHOTO --out FOLDER
```

writes a mask and an overlay of their [ensemble](../docs/glossary.md#ensemble), and what each network found. With
`--weights published/unet.pth` one of them works alone.

{weights}
They come from the recipe `{recipe}` on {device}. This trains them again:

```
{again}
```

Each of their numbers is saved in 16 bits in place of 32, and they were scored so.
`python src/inference.py --about published/*.pth` prints what they say about themselves: the parameters, the hashes of
the photographs that they were trained on, the hash of the code. The hashes of their tensors:

```
{hashes}
```

## Scores

The scores are mean test [Dice](../docs/glossary.md#dice) at each photograph's own size, with 95% intervals. The
networks see squares of {side} pixels, and each photograph mirrored too (`--tta flip`). The border counts as pet.
Validation chose epochs and thresholds. The test split has 3,669 photographs; {scored} of them were scored, in a copy
of the dataset whose photographs have at most 352 pixels on the longer side. The thresholds are those that the weights
bring, chosen without the mirrored look; [results.md](../docs/results.md) chooses them with it, which may move a score
by 0.001.

{above}
This command scores them on the dataset in FOLDER. On those {scored} photographs its row `dice_native` is the row "all"
above. The official dataset has {more} more, at full size, so its figures may differ a little:

```
{command}
```

The breeds, the hardest for the ensemble first:

{breeds}
## What they fail on

The {worst} test photographs on which the ensemble did worst (`worst.csv`) were looked at and sorted by hand:

{counts}
They are {share} of what is missing to a Dice of 1; those with a wrong truth alone are {share_wrong}. The rest is lost
on the other photographs, a little on each. Wrong truths of the test split:

{truths}
## What they are not for

- They know cats and dogs, mostly one to a photograph, large and in its middle. On other animals and on people they draw
  something all the same: a mask says nothing about whether there is a pet.
- They are not for measuring animals or for anything where a wrong outline does harm.

## Data and licence

The photographs are those of the Oxford-IIIT Pet dataset by O. M. Parkhi, A. Vedaldi, A. Zisserman and C. V. Jawahar and
the photographers, under [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/). The course's split was used:
3,312 photographs to train, 368 to validate. The weights are under the same licence, CC BY-SA 4.0; keep the names above
when you pass them on. No photograph is in this repository.
"""


if __name__ == "__main__":
    main()
