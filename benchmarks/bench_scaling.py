"""How much faster a training is on all devices together than on one: GPUs, or on a CPU one core for each process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

import params
from bench_growth import ONCE, SMALL, prepared
from measure import Row, Skip, middle, row
from place import ROOT, Place, values
from utils import Refusal

REPETITIONS = 3
EPOCHS = 3  # of which the last is looked at
BATCH = 16  # or a little less, so that the devices share it equally


def rows(place: Place) -> Iterator[Row]:
    gpus = torch.cuda.device_count()
    devices = gpus or os.cpu_count() or 1
    if devices < 2:
        raise Skip("there is one device")
    folder = prepared(place, "train", 1)
    batch = devices * max(1, BATCH // devices)
    taken = [[rate(folder, processes, batch) for processes in (devices, 1)] for _ in range(REPETITIONS)]
    figures = " against ".join(middle(column) for column in zip(*taken, strict=True))
    work = f"unet of width 16, {ONCE['train']} {place.source} at 64 px, batch {batch}"
    unit = "GPUs" if gpus else "processes of one thread"
    ratios = [together / alone for together, alone in taken]
    yield row("scaling", f"{devices} {unit}", "one", ratios, f"{figures} photographs/s", work)


def rate(folder: Path, processes: int, batch: int) -> float:
    """Photographs a second in the last epoch."""
    changes: dict[str, Any] = {"threads": 1, "train": {"epochs": EPOCHS, "batch_size": batch, "processes": processes}}
    chosen = params.overlaid(values(**SMALL), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    command = [sys.executable, str(ROOT / "src/train.py"), "--model", "unet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refusal(f"{processes} processes failed: {done.stderr[-300:]}")
    return float(re.findall(r"(\d+) images/s", done.stdout)[-1])
