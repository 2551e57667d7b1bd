"""A folder in which train.py can run: tiny tensors that can be learnt in a few epochs, and small networks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import params
import train
import utils
from learning.engine import Trainer
from models import build
from params import whole
from params.training import Train
from shared.device import SAME_ON_EVERY_MAKE, SAME_ON_EVERY_WIDTH, setup
from shared.inputs import CHANNELS, statistics

ROOT = Path(__file__).parents[1]
PAUSING = Path(__file__).with_name("pausing.py")
SMALL: dict[str, Any] = {
    "threads": 1,
    "data": {"image_size": 32},
    "train": {"epochs": 3, "batch_size": 4, "precision": "fp32"},
    "unet": {"width": 4},
    "resnet34_unet": {"width": 4, "decoder": [16, 8, 4, 4, 4]},
}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
OUTPUTS = ("saved_models/unet.pth", "plots/history_unet.csv", "metrics/unet.json")


def pixels(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Bright discs on dark noise, with a trimap, as a cached split."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[:side, :side]
    result = random.integers(0, 90, (count, side, side, 4), dtype=np.uint8)
    for picture in result:
        y, x, radius = *random.uniform(0.3, 0.7, 2) * side, random.uniform(0.15, 0.3) * side
        distance = np.hypot(rows - y, columns - x)
        picture[distance < radius, :3] += random.integers(80, 160, 3, dtype=np.uint8)
        picture[..., 3] = np.select([distance < radius - 1, distance < radius], [1, 3], 2)
    return result


CPU = torch.device("cpu")
TRAIN, VALID = (torch.from_numpy(pixels(count, seed=count)) for count in (16, 5))


def values(**changes: Any) -> dict[str, Any]:
    """The committed parameters, small, with changes: `values(train={"ema": 0.9})`."""
    base = params.overlaid(params.read(ROOT / "params.yaml"), SMALL)
    return params.overlaid(base, changes)


def settings(**changes: Any) -> Train:
    return whole.check(values(train=changes), "test").train


def network(name: str = "unet", in_channels: int = 3, out_channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, in_channels, out_channels, SMALL[name])


def trainer(name: str = "unet", seed: int = 1, border: str = "pet", **changes: Any) -> Trainer:
    chosen = settings(**changes)
    made = network(name, CHANNELS[chosen.input], 2 if chosen.loss == "ce" else 1)
    return Trainer(made, chosen, seed, CPU, *statistics(TRAIN, chosen.input), border)


def epochs(it: Trainer, count: int, on_step: Callable[[int, int], None] = lambda *_: None) -> Trainer:
    """Trains until there are so many."""
    while len(it.history) < count:
        it.epoch(TRAIN, VALID, on_step)
    return it


def workplace(folder: Path, photographs: int = 20, validation: int = 5, **changes: Any) -> Path:
    (folder / "dataset" / "cache").mkdir(parents=True)
    cache(folder / "dataset/cache", "train", pixels(photographs, seed=1))
    cache(folder / "dataset/cache", "valid", pixels(validation, seed=2))
    write_params(folder, **changes)
    return folder


def cache(folder: Path, split: str, content: np.ndarray) -> None:
    """A cached split: the pixels and their table."""
    np.save(folder / f"{split}.npy", content)
    rows = [{"name": f"{split}_{number}", "breed": split, "species": "dog"} for number in range(1, len(content) + 1)]
    utils.write_csv(folder / f"{split}.csv", rows)


def write_params(folder: Path, **changes: Any) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(values(**changes), sort_keys=False), encoding="utf-8")


def stage(folder: Path) -> None:
    """train.py's work in this process, which spares the seconds that a new one needs to begin."""
    with contextlib.chdir(folder):
        train.train(train.job_of("unet", params.load()), setup(1))


def run(folder: Path, *before: str, model: str = "unet") -> subprocess.CompletedProcess[str]:
    words = command(*before, model=model)
    return subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def environment() -> dict[str, str]:
    """For a process that must itself ask for the kernels that `setup` has asked for here."""
    return {name: value for name, value in os.environ.items() if name not in SAME_ON_EVERY_MAKE | SAME_ON_EVERY_WIDTH}


def paused(folder: Path) -> subprocess.Popen[str]:
    """A training that has come to its third epoch and waits there; two epochs are kept."""
    found = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        command(str(PAUSING)), cwd=folder, env=found, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    assert any("the training waits" in line for line in process.stdout), process.stderr.read()
    return process


def command(*before: str, model: str = "unet") -> list[str]:
    return [sys.executable, *before, str(ROOT / "src" / "train.py"), "--model", model]


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS if (folder / name).exists()}
