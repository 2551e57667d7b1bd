"""Stage preprocess: the photographs and trimaps of the dataset, squeezed into squares, as one array for each split.

A file that cannot be used ends the stage with a list of all of them, or is left out: see `data.on_bad`. Photographs for
training that are test photographs too are named, or end the stage: see `data.on_leak`.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from oxford_pet import SPLITS, Entry, SimpleOxfordPetDataset, foreground, read_split
from params import load
from params.data import Data
from photos import Unusable, open_pair
from photos.leaks import same, tiny
from photos.sheet import draw_sheet
from progress import progress
from utils import Refusal, described, printable, replacing, require_room, run, write_csv, write_json

DATASET = Path("dataset/oxford-iiit-pet")
CACHE = Path("dataset/cache")
METRICS = Path("metrics/data.json")
SHEET = Path("plots/images/dataset.png")
NAMED = 5  # offenders in the last line; all of them stand above it

T = TypeVar("T")
R = TypeVar("R")


class Square(NamedTuple):
    pixels: bytes  # side x side times red, green, blue, trimap
    foreground: int  # pixels of the square
    tiny: np.ndarray
    height: int  # of the photograph
    width: int


class Cached(NamedTuple):
    """What is known of one cached photograph beside its pixels."""

    entry: Entry
    foreground: int
    tiny: np.ndarray  # to tell photographs that are the same
    height: int
    width: int


def main() -> None:
    data = Data.model_validate(load()["data"])
    splits, bad = read_splits(DATASET / "annotations")
    chosen = {split: splits[split][: data.limit or None] for split in SPLITS}
    sizes = {split: len(entries) * data.image_size**2 * 4 for split, entries in chosen.items()}
    require_room(CACHE / "*.npy", sum(sizes.values()))
    cached: dict[str, list[Cached]] = {}
    with ExitStack() as all_or_none:
        for split, entries in chosen.items():
            part = all_or_none.enter_context(replacing(CACHE / f"{split}.npy", sizes[split]))
            cached[split] = write_pixels(part, split, entries, data.image_size, bad)
        settle(cached, bad, skip=data.on_bad == "skip")
        leaks = leaked(cached)
        if leaks and data.on_leak == "fail":
            raise Refusal(f"{leak_text(leaks)}. Take them off a list, or accept them with data.on_leak: warn")
        for split in SPLITS:  # these belong to the tensors that are replaced now
            (CACHE / f"{split}.csv").unlink(missing_ok=True)
    for split in SPLITS:
        write_csv(CACHE / f"{split}.csv", [table_row(item) for item in cached[split]])
    write_json(METRICS, summary(cached, bad, leaks, data.image_size**2))
    with replacing(SHEET) as part:
        draw_sheet([sheet_row(split, cached[split]) for split in SPLITS]).save(part, "PNG")
    print(f"{CACHE}: {', '.join(f'{len(items):,} {split}' for split, items in cached.items())}; {len(bad):,} left out")
    if leaks:
        print(f"warning: {leak_text(leaks)}; {METRICS} names all")
    if changed := import_module("commands.stale").stale():  # found by its name, since no output follows from it
        print(printable(changed))


def read_splits(annotations: Path) -> tuple[dict[str, list[Entry]], dict[str, str]]:
    """The entries of each split, and what is wrong with the lists: offender -> reason."""
    try:
        listed = {split: read_split(annotations, split) for split in ("test", "train", "valid")}
    except FileNotFoundError as error:
        raise Refusal(f"{error.filename}: not found; `dvc repro` downloads it first") from None
    except UnicodeDecodeError:
        raise Refusal(f"{annotations}: a list is not text in UTF-8; get the annotations anew") from None
    splits: dict[str, list[Entry]] = {}
    bad: dict[str, str] = {}
    home: dict[str, str] = {}  # name -> split
    for split, lines in listed.items():  # a name listed twice stays in test
        splits[split] = []
        for line in lines:
            try:
                entry = Entry.parse(line)
            except ValueError as error:
                bad[f"{split} list, {line[:60]!r}"] = f"is no line of a list: {error}"
                continue
            if entry.name in home:
                bad[f"{entry.name} in {split}"] = f"is listed before, in {home[entry.name]}"
                continue
            home[entry.name] = split
            splits[split].append(entry)
    return splits, bad


def write_pixels(file: Path, split: str, entries: list[Entry], side: int, bad: dict[str, str]) -> list[Cached]:
    """One .npy of all entries that can be used, photograph by photograph; the others are added to `bad`."""
    cached = []
    with file.open("wb") as array, progress(split, len(entries), "photographs") as bar:
        write_header(array, len(entries), side)
        for entry, square in in_order(partial(squared, side=side), entries):
            bar.update()
            if isinstance(square, Unusable):
                bad[entry.name] = f"{'mask' if square.path == mask_of(entry) else 'photograph'} {square}"
            else:
                array.write(square.pixels)
                cached.append(Cached(entry, *square[1:]))
        array.seek(0)
        write_header(array, len(cached), side)
    return cached


def write_header(array: BinaryIO, count: int, side: int) -> None:
    """Of the same length for any count: NumPy leaves room for the first axis to grow."""
    layout = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 4)}
    np.lib.format.write_array_header_1_0(array, layout)


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item and function(item), in order, from threads on all cores that stay a few items ahead of the reader.

    Threads are enough, as Pillow decodes without holding the interpreter's lock.
    """
    workers = os.cpu_count() or 1
    pending: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > 4 * workers:
                first, future = pending.popleft()
                yield first, future.result()
        for item, future in pending:
            yield item, future.result()


def squared(entry: Entry, side: int) -> Square | Unusable:
    try:
        image, (width, height) = open_pair(DATASET / "images" / f"{entry.name}.jpg", mask_of(entry), side)
    except Unusable as unusable:
        return unusable
    foreground_pixels = int(foreground(np.asarray(image)[..., 3]).sum())
    return Square(image.tobytes(), foreground_pixels, tiny(image), height, width)


def mask_of(entry: Entry) -> Path:
    return DATASET / "annotations" / "trimaps" / f"{entry.name}.png"


def settle(cached: Mapping[str, list[Cached]], bad: Mapping[str, str], skip: bool) -> None:
    """Ends the stage where something cannot be used, unless it is to be left out and enough is left."""
    offenders = [printable(f"{what}: {reason}") for what, reason in bad.items()]
    for offender in offenders:
        print(offender, file=sys.stderr)
    if offenders and not skip:
        more = f"; and {len(offenders) - NAMED} more, listed above" if len(offenders) > NAMED else ""
        raise Refusal(
            f"{DATASET}: {len(offenders)} cannot be used: {'; '.join(offenders[:NAMED])}{more}."
            " Repair the source, or leave them out with data.on_bad: skip"
        )
    for split, items in cached.items():
        if not items:
            raise Refusal(
                f"{DATASET}: not one photograph for {split}; see data.breeds, data.lists, and the {len(bad)} left out"
            )


def leaked(cached: Mapping[str, list[Cached]]) -> list[str]:
    """The pairs of a photograph for training or validation and a test photograph that are the same."""
    before, test = [*cached["train"], *cached["valid"]], cached["test"]
    split = ["train"] * len(cached["train"]) + ["valid"] * len(cached["valid"])
    pairs = same(*(np.stack([item.tiny for item in items]) for items in (before, test)))
    return [f"{before[i].entry.name} in {split[i]} and {test[j].entry.name} in test" for i, j in pairs]


def leak_text(leaks: list[str]) -> str:
    more = f"; and {len(leaks) - NAMED} more" if len(leaks) > NAMED else ""
    named = "; ".join(map(printable, leaks[:NAMED]))
    return f"the same photograph in training and test, {len(leaks)} times: {named}{more}"


def table_row(item: Cached) -> dict[str, str | int]:
    return {**item.entry._asdict(), "height": item.height, "width": item.width}


def summary(
    cached: Mapping[str, list[Cached]], bad: Mapping[str, str], leaks: list[str], square: int
) -> dict[str, Any]:
    """DVC shows the number of files that cannot be used; it leaves lists out, so its tables stay narrow."""
    groups = {**cached, "all": [item for items in cached.values() for item in items]}
    return {
        "bad": len(bad),
        "splits": [{"split": split, **split_summary(items, square)} for split, items in groups.items()],
        "bad_files": [f"{what}: {reason}" for what, reason in bad.items()],
        "leaks": [{"pairs": len(leaks), "named": leaks}],
    }


def split_summary(items: list[Cached], square: int) -> dict[str, float]:
    return {
        "images": len(items),
        "breeds": len({item.entry.breed for item in items} - {""}),
        "cats": sum(item.entry.species == "cat" for item in items),
        "dogs": sum(item.entry.species == "dog" for item in items),
        "foreground": sum(item.foreground for item in items) / (len(items) * square),
    }


def sheet_row(split: str, items: list[Cached]) -> tuple[str, np.ndarray, list[str]]:
    pixels = SimpleOxfordPetDataset(CACHE, split).pixels
    return f"{split}: {len(items):,} photographs", pixels, [item.entry.name for item in items]


if __name__ == "__main__":
    described(__doc__).parse_args()
    run(main)
