"""How preprocess, an epoch and evaluate grow with the number of photographs: seconds, and peak memory."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench_inference import untrained
from measure import Row, Skip, row
from oxford_pet import read_list
from params import overlaid
from place import NETWORKS, ROOT, Place, quiet_preprocess
from shared import checkpoint
from table import short
from utils import Refusal

TIMES = (1, 2, 4, 8)
REPETITIONS = 3
ONCE = {"preprocess": 800, "train": 400, "evaluate": 400}  # photographs that take a second or two
CALLS = {
    "preprocess": "import preprocess as stage; call = stage.main",
    "train": "import train as stage; job = stage.job_of('unet', stage.load());"
    " call = lambda: stage.train(job, stage.setup(job.threads))",
    "evaluate": "import evaluate as stage; call = stage.stage",
}
CHILD = """
import sys, time; from pathlib import Path; sys.path.insert(0, {src!r}); {call}
begun = time.perf_counter(); call(); seconds = time.perf_counter() - begun
status = Path("/proc/self/status")
print(seconds, status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else 0)
"""
SMALL: dict[str, Any] = {"data": {"image_size": 64}, "train": {"epochs": 1}, "unet": {"width": 16}}


class Cost(NamedTuple):
    seconds: float
    megabytes: float  # at its peak; 0 where it cannot be read


def rows(place: Place) -> Iterator[Row]:
    folders = {(stage, times): prepared(place, stage, times) for stage, times in product(CALLS, TIMES)}
    rounds = [{key: spent(CALLS[key[0]], folder) for key, folder in folders.items()} for _ in range(REPETITIONS)]
    for stage in CALLS:
        costs = [[one[stage, times] for times in TIMES] for one in rounds]
        work = f"once is {ONCE[stage]} {place.source}, at 64 px"
        seconds = [[cost.seconds for cost in round] for round in costs]
        what, line = f"seconds of {stage}, 8 times the photographs", "the line through 1, 2 and 4 times"
        yield row("growth", what, line, [straight(one) for one in seconds], f"{middles(seconds)} s", work)
        peaks = [[cost.megabytes for cost in round] for round in costs]
        if stage != "train" and peaks[0][0]:
            what = f"peak memory of {stage}, 8 times the photographs"
            yield row("growth", what, "once", [one[-1] / one[0] for one in peaks], f"{middles(peaks)} MB", work)
    if not peaks[0][0]:
        raise Skip("peak memory is read from /proc, which is not here")


def straight(seconds: Sequence[float]) -> float:
    """The last against where a straight line through the others would be; what a stage always takes is on that line."""
    slope, always = np.polyfit(TIMES[:-1], seconds[:-1], 1)
    return float(seconds[-1] / (slope * TIMES[-1] + always))


def middles(rounds: Sequence[Sequence[float]]) -> str:
    return ", ".join(short(statistics.median(column)) for column in zip(*rounds, strict=True))


def prepared(place: Place, stage: str, times: int, **changes: Any) -> Path:
    dataset = grown(Path(tempfile.mkdtemp(dir=place.folder)), place.dataset, times * ONCE[stage])
    folder = place.workplace(dataset, **overlaid(SMALL, changes))
    with contextlib.chdir(folder):
        if stage != "preprocess":
            quiet_preprocess()
        for name in NETWORKS:
            checkpoint.save(Path(f"saved_models/{name}.pth"), untrained(name))
    return folder


def grown(folder: Path, dataset: Path, count: int) -> Path:
    """So many photographs, by links to those of `dataset` under new names; a fifth of them is test."""
    images, trimaps = folder / "images", folder / "annotations" / "trimaps"
    images.mkdir(parents=True)
    trimaps.mkdir(parents=True)
    lines = read_list(dataset / "annotations/trainval.txt")
    listed = []
    for number in range(1, count + 1):
        name, *ids = lines[number % len(lines)].split()
        new = f"{name.rpartition('_')[0]}_{number}"
        (images / f"{new}.jpg").symlink_to(dataset / "images" / f"{name}.jpg")
        (trimaps / f"{new}.png").symlink_to(dataset / "annotations/trimaps" / f"{name}.png")
        listed.append(" ".join([new, *ids]) + "\n")
    for split, part in (("test", listed[: count // 5]), ("trainval", listed[count // 5 :])):
        (folder / "annotations" / f"{split}.txt").write_text("".join(part), encoding="utf-8")
    return folder


def spent(call: str, folder: Path) -> Cost:
    """In a process of its own, without what Python and torch take to begin."""
    code = CHILD.format(src=str(ROOT / "src"), call=call)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refusal(f"{folder} failed: {done.stderr[-300:]}")
    seconds, kilobytes = done.stdout.split()[-2:]
    return Cost(float(seconds), int(kilobytes) / 1024)
