"""Killed at a bad moment and started again: the same bytes as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from dvc.cli import main as dvc

import project
from dying import changes, end_of, forked, killed_before, killed_beyond
from project import STAGES, clone, results, rewound, shell, start
from reliability import fault
from scripts import succeeded, tree

RESULTS = "dataset", "saved_models", "plots/images"  # what DVC keeps; git has the others


def long(share: float) -> Any:
    return pytest.param(share, marks=pytest.mark.torture)


# --- at changes of the disk: each file that is opened, renamed, linked or removed is a place to die at ---------------


class Work(NamedTuple):
    """A command, where it begins, and what it does when nobody kills it."""

    command: list[str]
    begin: Path
    changes: int
    after: dict[str, bytes]


@pytest.fixture(scope="module")
def works(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    """Of each stage without its outputs, as DVC begins it, and of inference."""
    found = {}
    for stage in (*STAGES, "inference"):
        begin, folder = (tmp_path_factory.mktemp(stage) for _ in range(2))
        shutil.copytree(finished, begin, dirs_exist_ok=True)
        for name in ("images", "annotations"):
            shutil.make_archive(str(begin / "source" / name), "gztar", begin / "source", name)
        for path in outputs(stage):
            project.remove(begin / path)
        shutil.copytree(begin, folder, dirs_exist_ok=True)
        with contextlib.chdir(folder):
            count = changes(folder, partial(succeeded, *command(stage)))
            found[stage] = Work(command(stage), begin, count, tree())
    return found


def command(stage: str) -> list[str]:
    if stage in STAGES:
        return project.command(stage)
    return ["inference", "--weights", "saved_models/unet.pth", "--out", "out", "source/images"]


def outputs(stage: str) -> list[Path]:
    return project.outputs(stage) if stage in STAGES else []


@fault(
    "Killed",
    "a stage or inference, at any file that it makes, renames or removes",
    "no output is half; the same command again ends in the same bytes",
)
@pytest.mark.parametrize("share", [long(0), 0.3, long(0.6), 0.9, long(1)])
@pytest.mark.parametrize("stage", [*STAGES, "inference"])
def test_killed_at_a_change_of_the_disk(works: dict[str, Work], tmp_path: Path, stage: str, share: float) -> None:
    work = works[stage]
    change = 1 + round(share * (work.changes - 1))
    killed_and_run_again(work, tmp_path, partial(killed_before, change, tmp_path))


@fault(
    "Killed",
    "a stage or inference, in the middle of a file",
    "no output is half; the same command again ends in the same bytes",
)
@pytest.mark.parametrize("stage", [stage for stage in (*STAGES, "inference") if stage != "train_res34"])
def test_killed_in_the_middle_of_a_write(works: dict[str, Work], tmp_path: Path, stage: str) -> None:
    work = works[stage]
    largest = max(len(content) for name, content in work.after.items() if not (work.begin / name).exists())
    killed_and_run_again(work, tmp_path, partial(killed_beyond, largest // 2))


def killed_and_run_again(work: Work, folder: Path, killed: Callable[[Callable[[], object]], None]) -> None:
    shutil.copytree(work.begin, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder):
        before = tree()
        killed(lambda: succeeded(*work.command))
        for name, content in tree().items():
            assert content in (before.get(name), work.after.get(name)) or is_leftover(name), name
        succeeded(*work.command)
        assert tree() == work.after


def is_leftover(name: str) -> bool:
    return ".part" in name or name.startswith(".resume/")


@fault("Killed", "`dvc checkout`", "the same command again puts every file back")
@pytest.mark.parametrize("share", [long(0.2), 0.5, long(0.8)])
def test_dvc_checkout(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    def emptied(name: str) -> Path:
        folder = shutil.copytree(pipeline, tmp_path / name)
        for path in RESULTS:
            shutil.rmtree(folder / path)
        monkeypatch.chdir(folder)
        return folder

    def checkout() -> None:
        assert dvc(["checkout", "--quiet"]) == 0

    count = changes(emptied("whole"), checkout)
    folder = emptied("cut")
    killed_before(round(share * count), folder, checkout)
    assert results(folder) != results(pipeline)
    assert end_of(forked(checkout)) == 0
    assert results(folder) == results(pipeline)


# --- at moments of the clock -----------------------------------------------------------------------------------------


TORN = {".dvc/tmp/rwlock": "Unable to read RWLock-file", "dvc.lock": "'./dvc.lock' "}  # file -> what DVC says of it


class Moment(NamedTuple):
    stage: str
    share: float  # of the time that the stage takes
    number: signal.Signals
    target: str

    def __str__(self) -> str:
        return f"{self.target} by {self.number.name} after {self.share:.2f} of {self.stage}"


def moments(count: int) -> list[Moment]:
    draw = random.Random(20)
    numbers = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
    targets = ["the stage", "dvc and the stage", "dvc"]
    return [
        Moment([*STAGES][index % len(STAGES)], draw.random(), draw.choice(numbers), draw.choice(targets))
        for index in range(count)
    ]


class Whole(NamedTuple):
    folder: Path
    seconds: dict[str, float]  # that each stage took


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A pipeline that nobody stopped."""
    folder = clone(tmp_path_factory.mktemp("whole") / "x", train={"epochs": 12})
    starts: list[tuple[str, float]] = []
    with start(folder, "dvc", "repro") as process:
        assert process.stdout
        for line in process.stdout:
            if begun := re.match(r"Running stage '(\w+)'", line):
                starts.append((begun[1], time.monotonic()))
    assert process.returncode == 0
    starts.append(("", time.monotonic()))
    return Whole(folder, {stage: end - begin for (stage, begin), (_, end) in pairwise(starts)})


@pytest.mark.torture
@pytest.mark.pipeline
@fault(
    "Killed",
    "`dvc repro`, its stage, or both, by SIGKILL, SIGTERM or SIGINT at random moments of all stages",
    "`dvc repro` again ends in the same bytes; where DVC says that its own `.dvc/tmp/rwlock` or `dvc.lock` is torn, "
    "after that file is removed",
)
@pytest.mark.parametrize("moment", moments(20), ids=str)
def test_killed_at_a_random_moment(whole: Whole, tmp_path: Path, moment: Moment) -> None:
    folder = rewound(whole.folder, tmp_path / "x", moment.stage)
    process = start(folder, "dvc", "repro")
    assert process.stdout
    assert any(f"Running stage '{moment.stage}'" in line for line in process.stdout)
    time.sleep(moment.share * whole.seconds[moment.stage])
    family = psutil.Process(process.pid).children(recursive=True)
    strike(process.pid, family, moment)
    process.wait()
    again(folder)
    psutil.wait_procs(family)  # a stage outlives dvc
    process.stdout.close()
    assert results(folder) == results(whole.folder)
    assert (folder / "dvc.lock").read_text() == (whole.folder / "dvc.lock").read_text()
    assert "up to date" in shell(folder, "dvc", "status")


def again(folder: Path) -> None:
    """`dvc repro`; DVC writes two files of its own in place, and refuses to go on where a kill tore one of them."""
    first = start(folder, "dvc", "repro")
    said = first.communicate()[0]
    torn = [name for name, sign in TORN.items() if sign in said]
    for name in torn:
        (folder / name).unlink()
    if torn:
        shell(folder, "dvc", "repro")
    else:
        assert first.returncode == 0, said


def strike(leader: int, family: list[psutil.Process], moment: Moment) -> None:
    if moment.target == "dvc and the stage":
        os.killpg(leader, moment.number)
    elif moment.target == "the stage" and family:  # between two stages there is none
        family[-1].send_signal(moment.number)
    else:
        os.kill(leader, moment.number)
