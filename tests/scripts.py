"""The scripts of src/ as a user starts them, but in this process: a new one takes seconds to import torch."""

from __future__ import annotations

import io
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pets
import training
from handmade import bright, untrained
from results import make_results
from shared import checkpoint

SRC = Path(__file__).parents[1] / "src"
DATASET = Path("dataset/oxford-iiit-pet")
SIDE = 32


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What is said last of a failure; argparse's usage stands before it."""
        return self.err.splitlines()[-1] if self.err else ""


def script(name: str, *words: str) -> Ended:
    """`python src/NAME.py WORDS` in the working directory; an exception that the script lets through is let through."""
    out, err = io.StringIO(), io.StringIO()
    argv = mock.patch.object(sys, "argv", [str(SRC / f"{name}.py"), *words])
    with argv, signals_kept(), redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            return Ended(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError(f"{name} ends without an exit code")


def process(name: str, *words: str) -> Ended:
    """The same as a process of its own."""
    done = subprocess.run([sys.executable, SRC / f"{name}.py", *words], capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def signals_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def succeeded(name: str, *words: str) -> Ended:
    done = script(name, *words)
    assert done.code == 0, done.err
    return done


def write_params(**changes: Any) -> None:
    """Small parameters in the working directory."""
    data = {"image_size": SIDE, "source": "source", **changes.pop("data", {})}
    training.write_params(Path(), data=data, **changes)


def write_weights(side: int = SIDE) -> None:
    """Of a network that finds the pretend pets, and of one that knows nothing."""
    checkpoint.save(Path("saved_models/unet.pth"), bright(side))
    checkpoint.save(Path("saved_models/resnet34_unet.pth"), untrained(side=side))


def write_project() -> None:
    """All that any script reads, in the working directory: a source, its dataset, tensors, weights and results."""
    make_results(Path())
    write_params()
    pets.make_dataset(Path("source"), trainval=12, test=4)
    pets.make_dataset(DATASET, trainval=12, test=4)
    succeeded("preprocess")
    write_weights()


def tree() -> dict[str, bytes]:
    """The files of the working directory; what a download leaves for its next run does not count."""
    files = (path for path in Path().rglob("*") if path.is_file() and path.parts[0] != ".downloads")
    return {path.as_posix(): path.read_bytes() for path in files}
