"""Find the pet on any photograph, with the published weights or with those that --weights names.

For each photograph NAME.jpg the folder --out receives
  NAME_mask.png     255 where the pet is, else 0; at the photograph's own size
  NAME_overlay.png  the photograph with the pet tinted and outlined
  NAME_cutout.png   with --cutout: the pet alone on transparent ground
  NAME_compare.png  with several weights: what each of them found, side by side
With several weights the first three show their ensemble, the mean of the probabilities. Photographs are turned upright
as their EXIF data say. Of several with the same NAME the second becomes NAME-2, the third NAME-3. In a folder and its
subfolders, files are photographs by their suffix. What cannot be read is named at the end, and the exit code is 1.
--csv FILE receives the masks as run lengths too, a row NAME,RUNS for each photograph, as grade.py takes them.

With --about alone it says of weights where they come from.
"""

# --help is answered before the slow imports.
# ruff: noqa: E402

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, zip_longest
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from commands.published import published
from scoring.options import add_prediction_options, at_least_1
from utils import Refusal, described, printable, replacing, run

UNREAD = (".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw")  # photographs all the same
KINDS = ("mask", "overlay", "cutout", "compare")
LONGEST = 200  # bytes of a NAME; file systems allow 255 with what is appended


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    add = parser.add_argument
    add("inputs", nargs="*", type=Path, metavar="PHOTO_OR_FOLDER")
    add("--about", nargs="+", type=Path, metavar="W", help="print what these weights were trained on, and end")
    add("--weights", nargs="+", action="append", default=[], type=Path, metavar="W", help="default: published/*.pth")
    add("--out", type=Path, metavar="FOLDER")
    add("--cutout", action="store_true", help="also write NAME_cutout.png")
    add("--csv", type=Path, metavar="FILE", help="also write the masks as run lengths")
    add("--batch", type=at_least_1, default=8, metavar="N", help="photographs at a time (default: 8)")
    add_prediction_options(parser, "the weights' own, of several their mean; 0.5 of weights without one")
    args = parser.parse_intermixed_args(words)
    if args.about:
        if args.weights or args.out or args.inputs:
            parser.error("--about takes weights and nothing else")
        return args
    if not args.out:
        parser.error("the following arguments are required: --out")
    args.weights, behind = split_weights(args.weights) if args.weights else (published(), [])
    if not args.weights:
        parser.error("published/ holds no weights here; name some with --weights")
    args.inputs = behind + args.inputs
    if not args.inputs:
        parser.error("name a photograph or a folder")
    return args


def split_weights(groups: Sequence[Sequence[Path]]) -> tuple[list[Path], list[Path]]:
    """What follows --weights is weights: the first word, and more that end in .pth; the rest are photographs."""
    weights, photographs = [], []
    for first, *more in groups:
        weights.append(first)
        weights += [word for word in more if word.suffix == ".pth"]
        photographs += [word for word in more if word.suffix != ".pth"]
    return weights, photographs


if __name__ == "__main__":
    ARGS = arguments()

import numpy as np
import torch
from PIL import Image

from commands import run_lengths
from commands.about import about
from commands.overlay import cutout, overlay, side_by_side
from photos import SUFFIXES, Unusable, open_photo, open_square
from progress import progress
from report.looks import looks
from scoring.predict import Predictor
from shared import checkpoint, device
from shared.metrics import is_pet


class Job(NamedTuple):
    photograph: Path
    name: str  # of its results


class Results(NamedTuple):
    """How the results of a photograph are written."""

    out: Path
    titles: list[str]  # of the networks, in a comparison
    colours: list[str]  # of the networks; of several also of their ensemble, the last
    thresholds: list[float]  # likewise
    cutout: bool
    runs: dict[str, str] | None = None  # receives each mask as run lengths, by its name

    def write(self, name: str, photo: Image.Image, maps: Sequence[np.ndarray]) -> None:
        """`maps`: each network's probabilities, at its own size."""
        sized = [np.asarray(Image.fromarray(one).resize(photo.size, Image.Resampling.BILINEAR)) for one in maps]
        mask = mask_of(np.mean(sized, axis=0), self.thresholds[-1])
        if self.runs is not None:
            self.runs[name] = run_lengths.encoded(np.asarray(mask) > 0)
        drawn = overlay(photo, mask, self.colours[-1])
        pictures = {"mask": mask, "overlay": drawn}
        if self.cutout:
            pictures["cutout"] = cutout(photo, mask)
        if len(maps) > 1:
            masks = [mask_of(one, threshold) for one, threshold in zip(sized, self.thresholds, strict=False)]
            single = [overlay(photo, one, colour) for one, colour in zip(masks, self.colours, strict=False)]
            titles = ["photograph", *self.titles, "ensemble"]
            pictures["compare"] = side_by_side(list(zip(titles, [photo, *single, drawn], strict=True)))
        for kind, picture in pictures.items():
            with replacing(self.out / f"{name}_{kind}.png") as part:
                picture.save(part, "PNG", compress_level=1)  # a third of the default's time, for a tenth more bytes


def mask_of(probabilities: np.ndarray, threshold: float) -> Image.Image:
    return Image.fromarray(np.where(is_pet(probabilities, threshold), 255, 0).astype(np.uint8))


def colours(networks: Sequence[str]) -> list[str]:
    look_of = looks([*networks, "ensemble"])
    own = [look_of[name].colour for name in networks]
    return [*own, look_of["ensemble"].colour] if len(own) > 1 else own


def thresholds(loaded: Sequence[checkpoint.Weights], wanted: float | None) -> list[float]:
    """Of each network; of several also of their ensemble."""
    own = [wanted or weights.threshold for weights in loaded]
    return [*own, fmean(own)] if len(own) > 1 else own


def main(args: argparse.Namespace) -> None:
    if args.about:
        print("\n\n".join(about(file, checkpoint.load(file)) for file in args.about))
        return
    loaded = [checkpoint.load(file) for file in args.weights]
    found, wrong = photographs(args.inputs, args.out)
    jobs = named(found)
    refuse_overwriting(jobs, args.out, [*found, *args.weights])
    refuse_table(args.csv, [*found, *args.weights])
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise Refusal(f"{args.out}: is a file; --out takes a folder") from None

    where = device.setup(torch.get_num_threads())
    predictors = [Predictor(weights, args.tta or "none", where) for weights in loaded]
    titles = [file.stem for file in args.weights]
    looks_of = colours([one.network for one in loaded])
    runs: dict[str, str] | None = {} if args.csv else None
    results = Results(args.out, titles, looks_of, thresholds(loaded, args.threshold), args.cutout, runs)
    with progress("inference", len(jobs), "photographs") as bar:
        unusable = segment(jobs, predictors, args.batch, results.write, bar.update)
    if runs:
        run_lengths.write(args.csv, {job.name: runs[job.name] for job in jobs if job.name in runs})

    for job in jobs:
        if job.name != job.photograph.stem:
            print(printable(f"{job.photograph}: results are {args.out / job.name}_*.png"))
    done = f"photographs done: {len(jobs) - len(unusable)}, results in {args.out}"
    for line in wrong + unusable:
        print(printable(line), file=sys.stderr)
    if wrong or unusable:
        raise Refusal(f"not usable, and named above: {len(wrong) + len(unusable)}; {done}")
    print(printable(done))


# --- which photographs, which names -----------------------------------------------------------------------------------


def photographs(inputs: Sequence[Path], out: Path) -> tuple[list[Path], list[str]]:
    """Each photograph once, in the order of the inputs; and what is wrong with an input."""
    found: dict[str, Path] = {}
    wrong: list[str] = []
    for path in inputs:
        if path.is_dir():
            if os.path.realpath(path) == os.path.realpath(out):
                raise Refusal(f"{out}: is a folder of photographs; choose another --out, results would mix with them")
            files = sorted(in_folder(path, out, wrong))
            if not files:
                wrong.append(f"{path}: holds no photographs ({' '.join(sorted(SUFFIXES))})")
        elif path.is_file():
            files = [path]
        else:
            files = []
            wrong.append(f"{path}: {'is not a file' if path.exists() else 'is missing'}")
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values()), wrong


def in_folder(folder: Path, out: Path, wrong: list[str]) -> Iterator[Path]:
    """Photographs by their suffix, at every depth; nothing hidden, and no results of an earlier run."""

    def unreadable(error: OSError) -> None:
        wrong.append(f"{error.filename}: {error.strerror}")

    for where, folders, files in os.walk(folder, onerror=unreadable):
        kept = [name for name in folders if os.path.realpath(Path(where, name)) != os.path.realpath(out)]
        folders[:] = [name for name in kept if not name.startswith(".")]
        for path in (Path(where, name) for name in sorted(files) if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path
            elif path.suffix.lower() in ("", *UNREAD):
                print(printable(f"{path}: left aside; name the file itself to try it, or convert it to JPEG"))


def named(found: Sequence[Path]) -> list[Job]:
    """Different names for all, also where the file system does not tell A from a."""
    taken: set[str] = set()
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    jobs = []
    for photograph in found:
        stem = name = os.fsencode(photograph.stem)[:LONGEST].decode("utf-8", "ignore") or "photo"
        while name.casefold() in taken:
            name = f"{stem}-{next(numbers[stem])}"
        taken.add(name.casefold())
        jobs.append(Job(photograph, name))
    return jobs


def refuse_overwriting(jobs: Sequence[Job], out: Path, inputs: Sequence[Path]) -> None:
    read = {(status.st_dev, status.st_ino) for status in map(os.stat, inputs)}
    for job in jobs:
        for result in (out / f"{job.name}_{kind}.png" for kind in KINDS):
            if result.exists() and (result.stat().st_dev, result.stat().st_ino) in read:
                raise Refusal(f"{result}: is an input and would be overwritten; choose another --out")


def refuse_table(table: Path | None, inputs: Sequence[Path]) -> None:
    if table and table.is_dir():
        raise Refusal(f"{table}: is a folder; --csv takes a file")
    if table and table.exists() and any(table.samefile(path) for path in inputs):
        raise Refusal(f"{table}: is an input and would be overwritten; choose another --csv")


# --- the work ---------------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    photo: Image.Image
    squares: dict[int, np.ndarray]  # by their side: the photograph as a network sees it


def segment(
    jobs: Sequence[Job],
    predictors: Sequence[Predictor],
    batch: int,
    write: Callable[[str, Image.Image, Sequence[np.ndarray]], None],
    on_done: Callable[[int], object],
) -> list[str]:
    """Batch by batch; which photographs cannot be used, and why.

    While a network is busy with one batch, other threads decode the next and write the results of the last, so at most
    three are in memory.
    """
    unusable: list[str] = []
    sides = {predictor.weights.image_size for predictor in predictors}
    groups = [jobs[start : start + batch] for start in range(0, len(jobs), batch)]
    with threads() as pool:
        opening = [pool.submit(open_squares, job.photograph, sides) for group in groups[:1] for job in group]
        writing: list[Future[None]] = []
        for group, following in zip_longest(groups, groups[1:], fillvalue=()):
            due, opening = opening, [pool.submit(open_squares, job.photograph, sides) for job in following]
            ready: list[tuple[Job, Opened]] = []
            for job, future in zip(group, due, strict=True):
                try:
                    ready.append((job, future.result()))
                except Unusable as reason:
                    unusable.append(f"{job.photograph}: {reason}")
            maps = [predicted(predictor, [opened for _, opened in ready]) for predictor in predictors if ready]
            finish(writing)
            writing = [
                pool.submit(write, job.name, opened.photo, [found[place] for found in maps])
                for place, (job, opened) in enumerate(ready)
            ]
            on_done(len(group))
        finish(writing)
    return unusable


def open_squares(photograph: Path, sides: set[int]) -> Opened:
    photo = open_photo(photograph)
    if (
        photo.info.get("icc_profile", b"")[16:20] != b"RGB "
    ):  # drop a colour profile that is not RGB: the photo is RGB now
        photo.info.pop("icc_profile", None)
    return Opened(photo, {side: np.asarray(open_square(photograph, side)) for side in sides})


def predicted(predictor: Predictor, group: Sequence[Opened]) -> np.ndarray:
    squares = np.stack([opened.squares[predictor.weights.image_size] for opened in group])
    return predictor(torch.from_numpy(squares)).cpu().numpy()


def finish(writing: Sequence[Future[None]]) -> None:
    for future in writing:
        future.result()


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """A pool that, when something fails, begins nothing new."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    run(lambda: main(ARGS))
