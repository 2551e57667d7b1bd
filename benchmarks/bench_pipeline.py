"""What one waits for when nothing is to be done: `dvc repro` of a finished pipeline, and --help of a stage."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from measure import Row, Skip, Work, in_turn, middle, row
from place import ROOT, Place, values
from utils import Refusal

TINY = {"data": {"source": "sample", "limit": 16, "image_size": 32}, "train": {"epochs": 1}}
DVC = (sys.executable, "-m", "dvc")


def command(folder: Path, *words: str) -> Work:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def work() -> None:
        environment = os.environ | {"PATH": path}
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refusal(f"{' '.join(words)} failed: {done.stderr[-300:]}")

    return work


def rows(place: Place) -> Iterator[Row]:
    train = str(ROOT / "src/train.py")
    commands = {
        "train.py --help": command(place.folder, sys.executable, train, "--help"),
        "an empty Python program": command(place.folder, sys.executable, "-c", "pass"),
    }
    yield from waits(commands, "times as long")
    if importlib.util.find_spec("dvc") is None or shutil.which("git") is None:
        raise Skip("dvc or git is not installed")
    commands = {
        "dvc repro with nothing to do": command(finished(place.folder / "finished"), *DVC, "repro"),
        "dvc status of an empty project": command(empty(place.folder / "empty"), *DVC, "status"),
        "dvc --version": command(place.folder, *DVC, "--version"),
    }
    yield from waits(commands, "times as long; six stages, 500 drawn photographs")


def waits(commands: Mapping[str, Work], work: str) -> Iterator[Row]:
    """How many times as long as each of the others the first takes."""
    (what, ours), *others = in_turn(commands, 7).items()
    for against, theirs in others:
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        yield row("pipeline", what, against, ratios, f"{middle(ours)} against {middle(theirs)} s", work)


def empty(folder: Path) -> Path:
    folder.mkdir()
    command(folder, "git", "init", "-q")()
    command(folder, *DVC, "init", "-q")()
    return folder


def finished(folder: Path) -> Path:
    """This pipeline with everything done, in small."""
    empty(folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(values(**TINY), sort_keys=False), encoding="utf-8")
    command(folder, *DVC, "repro")()
    return folder
