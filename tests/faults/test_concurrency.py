"""Several at once in one folder: each ends in the right bytes, or in a line that says why not."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import training
from dying import end_of, forked
from handmade import bright, untrained
from project import outputs, ran, results, rewound, shell, start
from reliability import fault
from scripts import DATASET, script
from shared import checkpoint
from utils import remove_abandoned, replacing, write_bytes

# --- under DVC --------------------------------------------------------------------------------------------------------


def together(*processes: subprocess.Popen[str]) -> list[str]:
    """What they say, when all have ended."""
    return [process.communicate()[0] for process in processes]


@pytest.mark.pipeline
@fault("Concurrency", "`dvc repro` twice at once", "one works, the other works or says who keeps it; the right bytes")
def test_dvc_repro_twice_at_once(pipeline: Path, tmp_path: Path) -> None:
    folder = rewound(pipeline, tmp_path / "x", "plot")
    both = [start(folder, "dvc", "repro") for _ in range(2)]
    said = together(*both)
    assert 0 in [process.returncode for process in both]
    for process, output in zip(both, said, strict=True):
        assert process.returncode == 0 or re.search("busy, it is being blocked by|Unable to acquire lock", output)
    assert ran(shell(folder, "dvc", "repro")) == []
    assert results(folder) == results(pipeline)


@pytest.mark.torture
@pytest.mark.pipeline
@fault("Concurrency", "`dvc repro -s` of both trainings side by side", "both end well, in the right bytes")
def test_two_stages_side_by_side(pipeline: Path, tmp_path: Path) -> None:
    stages = ("train_unet", "train_res34")
    folder = rewound(pipeline, tmp_path / "x", "train_unet")
    both = [start(folder, "dvc", "repro", "-s", stage) for stage in stages]
    together(*both)
    assert [process.returncode for process in both] == [0, 0]
    assert ran(shell(folder, "dvc", "repro", "--dry", "evaluate")) == ["evaluate"]
    for path in (path for stage in stages for path in outputs(stage)):
        assert (folder / path).read_bytes() == (pipeline / path).read_bytes()


# --- without DVC: forks of this process -------------------------------------------------------------------------------


@fault("Concurrency", "two processes write one file", "each writes it whole; the later one's stays")
def test_two_writers_of_one_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    with replacing(file) as part, part.open("wb", buffering=0) as slow:
        slow.write(b"the la")
        assert end_of(forked(lambda: write_bytes(file, b"the earlier"))) == 0
        assert file.read_bytes() == b"the earlier"
        slow.write(b"ter")
        assert file.read_bytes() == b"the earlier"
    assert file.read_bytes() == b"the later"
    assert list(tmp_path.iterdir()) == [file]


@fault(
    "Killed",
    "a process that writes a file",
    "the next one to write there removes what is half; what others write stays",
)
def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    def abandoned() -> None:
        with replacing(tmp_path / "x") as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert end_of(forked(abandoned)) == -signal.SIGKILL
    with replacing(tmp_path / "y") as part:
        part.write_bytes(b"not yet")
        assert list(tmp_path.iterdir()) == [part]
        assert end_of(forked(lambda: remove_abandoned.__wrapped__(tmp_path))) == 0
        assert list(tmp_path.iterdir()) == [part]


def test_what_another_machine_writes_is_not_removed(tmp_path: Path) -> None:
    """In a folder that they share; a process of that number need not live here."""
    theirs = tmp_path / f".x.another-{platform.node()}.99999999.part"
    theirs.write_bytes(b"not yet")
    remove_abandoned.__wrapped__(tmp_path)
    assert theirs.exists()


@fault("Concurrency", "`train.py` twice at once in one folder", "both end well, in the right bytes")
def test_the_same_training_twice_at_once(tmp_path: Path) -> None:
    alone = training.workplace(tmp_path / "alone", train={"epochs": 4})
    folder = shutil.copytree(alone, tmp_path / "both")
    training.stage(alone)
    both = [forked(lambda: training.stage(folder)) for _ in range(2)]
    assert [end_of(child) for child in both] == [0, 0]
    assert training.outputs(folder) == training.outputs(alone)
    assert not list((folder / ".resume").iterdir())


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Again and again beside the block."""

    def for_ever() -> None:
        while True:
            action()

    child = forked(for_ever)
    yield
    os.kill(child, signal.SIGKILL)
    assert end_of(child) == -signal.SIGKILL


@pytest.mark.usefixtures("place")
@fault("Concurrency", "inference while its network is trained again", "it takes the old weights or the new, whole")
def test_inference_while_training() -> None:
    words = ["inference", "--weights", "saved_models/unet.pth", "--out", "out", str(DATASET / "images")]
    assert script("train", "--model", "unet").code == 0  # so that old and new are the same
    assert script(*words).code == 0
    before = read(Path("out"))
    with meanwhile(lambda: training.stage(Path())):
        for _ in range(3):
            shutil.rmtree("out")
            assert script(*words).code == 0
            assert read(Path("out")) == before


def read(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


REPLACED = fault("Concurrency", "weights are replaced while they are read", "the old ones or the new, whole")


@REPLACED
def test_weights_replaced_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, old, load = tmp_path / "unet.pth", untrained("unet"), torch.load

    def replaced_meanwhile(*words: Any, **options: Any) -> Any:
        checkpoint.save(file, bright())
        return load(*words, **options)

    checkpoint.save(file, old)
    monkeypatch.setattr(torch, "load", replaced_meanwhile)
    assert checkpoint.checksum(checkpoint.load(file)) == checkpoint.checksum(old)


@pytest.mark.usefixtures("place")
@REPLACED
def test_evaluation_while_weights_are_replaced() -> None:
    words = ["evaluate", "--weights", "saved_models/unet.pth", "--threshold", "0.5"]
    file = Path("saved_models/unet.pth")
    networks = [bright(), untrained("unet")]
    expected = []

    def save_both() -> None:
        for network in networks:
            checkpoint.save(file, network)

    for network in networks:
        checkpoint.save(file, network)
        expected.append(script(*words).out)
    with meanwhile(save_both):
        ends = [script(*words) for _ in range(6)]
    assert {end.err for end in ends} == {""}
    assert {end.out for end in ends} <= set(expected)
    assert len(set(expected)) == 2
