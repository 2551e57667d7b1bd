"""Full and read-only disks: one line names the file and the room; what was whole stays, what is half is never found."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import project
from project import clone, ran, results, shell
from reliability import fault
from scripts import SRC, Ended, script, tree

ROOM = r"({} bytes are needed, )[\d,]+ are free there; make room, run again"
INFERENCE = "inference --weights saved_models/unet.pth --out out source/images"

pytestmark = pytest.mark.usefixtures("place")


def says(done: Ended, expected: str) -> None:
    """Nothing but this line."""
    assert done.code == 1
    assert re.fullmatch(expected + "\n", done.err), done.err


# --- full -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """To write beyond it fails, as on a full disk. What goes to the terminal does not count."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@fault(
    "Disk",
    "no room while a file is written",
    "`cannot write` with its name, the bytes it needs and the bytes free, exit 1; the old file stays",
)
@pytest.mark.parametrize(
    ("command", "size", "named"),
    [
        ("download", 100, "dataset/oxford-iiit-pet"),
        ("preprocess", 10_000, "dataset/cache/train.npy"),
        ("train --model unet", 10_000, r"\.resume/unet-[0-9a-f]{16}\.state"),
        ("evaluate", 10_000, "dataset/predictions.npz"),
        ("plot", 10_000, "plots/images/curves_dice.png"),
        ("recipe mine --apply", 1_000, "params.yaml"),
    ],
)
def test_no_room_for_a_file(command: str, size: int, named: str) -> None:
    pack_source()
    write_recipe()
    before = tree()
    with files_up_to(size):
        done = script(*command.split())
    name = command.split()[0]
    says(done, rf"{name}: cannot write {named}: File too large: " + ROOM.format(r"[\d,]{4,}"))
    assert tree() == before


def pack_source() -> None:
    for name in ("images", "annotations"):
        shutil.make_archive(f"source/{name}", "gztar", "source", name)


def write_recipe() -> None:
    Path("recipes").mkdir()
    Path("recipes/mine.yaml").write_text("about: a test\nparams: {seed: 5}\n")


@fault("Disk", "no room for a mask of inference", "`cannot write` with its name and the bytes free, exit 1")
def test_no_room_for_a_mask() -> None:
    with files_up_to(50):
        done = script(*INFERENCE.split())
    says(done, r"inference: cannot write out/\w+_mask.png: File too large: [\d,]+ are free there; make room, run again")
    assert not list(Path("out").iterdir())


@fault("Disk", "too little room for the tensors of a data set", "preprocess says so before it decodes anything")
def test_tensors_that_cannot_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 3 * 32 * 32 * 4
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    before = tree()
    done = script("preprocess")
    needed = f"{16 * 32 * 32 * 4:,}"
    says(done, r"preprocess: cannot write dataset/cache/\*.npy: No space left on device: " + ROOM.format(needed))
    assert f"{free:,} are free" in done.err
    assert tree() == before


Mount = Callable[..., None]


@contextlib.contextmanager
def free_bytes(count: float) -> Iterator[None]:
    """A file that leaves so much of the disk, in the working directory's parent."""
    ballast = Path("../ballast")
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(".").free - int(count))
    yield
    ballast.unlink()


@fault(
    "Disk",
    "a full disk at some point of a stage",
    "one line, exit 1; nothing half is kept; with room again, the right bytes",
)
@pytest.mark.parametrize(
    "stage", ["download", "preprocess", "train_unet", pytest.param("plot", marks=pytest.mark.torture)]
)
def test_a_disk_that_fills_up(place: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    disk = place / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=32m", "pets", str(disk))
    pack_source()
    for path in project.outputs(stage):
        project.remove(path)
    shutil.copytree(place, disk / "project", ignore=shutil.ignore_patterns("disk"))
    monkeypatch.chdir(disk / "project")
    before, free = tree(), shutil.disk_usage(".").free
    assert script(*project.command(stage)).code == 0
    after, needed = tree(), free - shutil.disk_usage(".").free
    for path in project.outputs(stage):
        project.remove(path)
    with free_bytes(0.6 * needed):
        done = script(*project.command(stage))
    assert done.code == 1
    assert re.fullmatch(
        r"\w+: cannot write .*: No space left on device: .*\d are free there; make room, run again\n", done.err
    )
    for name, content in tree().items():
        assert content in (before.get(name), after.get(name)) or name.startswith(".resume/"), name
    assert script(*project.command(stage)).code == 0
    assert tree() == after


@pytest.mark.torture
@pytest.mark.pipeline
@fault(
    "Disk",
    "a full disk in the middle of `dvc repro`",
    "the stage's line; with room again, `dvc repro` ends in the right bytes",
)
def test_a_pipeline_whose_disk_fills_up(
    pipeline: Path, tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "pets", str(disk))
    monkeypatch.chdir(clone(disk / "project"))
    with free_bytes(500_000):
        done = subprocess.run(["dvc", "repro"], env=project.environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "are free there; make room, run again" in done.stderr
    shell(Path(), "dvc", "repro")
    assert results(Path()) == results(pipeline)
    assert ran(shell(Path(), "dvc", "repro")) == []


@fault("Disk", "a full disk under the log, or a reader of it that goes away", "one line, exit 1")
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EPIPE], ids=os.strerror)
def test_a_log_that_cannot_be_written(reason: int) -> None:
    if reason == errno.ENOSPC:
        log = os.open("/dev/full", os.O_WRONLY)
    else:
        read, log = os.pipe()
        os.close(read)
    command = [sys.executable, str(SRC / "summary.py")]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=log, stderr=subprocess.PIPE, env=buffered, text=True, check=False)
    os.close(log)
    says(Ended(done.returncode, "", done.stderr), f"summary: cannot write what it has to say: {os.strerror(reason)}")


# --- not to be written to ---------------------------------------------------------------------------------------------


@fault("Disk", "a folder for results is read-only", "`cannot write` with the file's name, exit 1")
@pytest.mark.parametrize(
    ("command", "folder", "named"),
    [
        ("download", "dataset", "dataset/oxford-iiit-pet"),
        ("preprocess", "dataset/cache", "dataset/cache/train.npy"),
        ("train --model unet", "saved_models", "saved_models/unet.pth"),
        ("evaluate", "metrics", "metrics/test.json"),
        ("plot", "plots/images", "plots/images/curves_dice.png"),
        (INFERENCE, "out", r"out/\w+_mask.png"),
    ],
)
def test_a_read_only_folder(mount: Mount, command: str, folder: str, named: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    here = {path: content for path, content in tree().items() if path.startswith(folder)}
    reason = read_only(Path(folder), mount)
    done = script(*command.split())
    says(done, f"{command.split()[0]}: cannot write {named}: {reason}")
    assert {path: content for path, content in tree().items() if path.startswith(folder)} == here


def read_only(folder: Path, mount: Mount) -> str:
    """Its mode binds everybody but root."""
    if os.geteuid():
        folder.chmod(0o555)
        return os.strerror(errno.EACCES)
    mount("--bind", str(folder), str(folder.absolute()))
    mount("-o", "remount,ro,bind", str(folder.absolute()))
    return os.strerror(errno.EROFS)


@fault(
    "Disk",
    "a training is done, but its weights cannot be written",
    "with leave to write, it ends without training again",
)
def test_a_training_is_not_lost() -> None:
    Path("saved_models/unet.pth").unlink()
    Path("saved_models").rename("kept")
    Path("saved_models").write_text("")
    done = script("train", "--model", "unet")
    says(done, "train: cannot use saved_models: File exists; remove it, or put what it should be there")
    Path("saved_models").unlink()
    done = script("train", "--model", "unet")
    assert "going on after epoch 3" in done.out
    assert "epoch 3/3" not in done.out
    assert Path("saved_models/unet.pth").exists()


@fault("Disk", "a file where a folder should be", "`cannot use` with its name, exit 1; it stays")
@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("download", "dataset"),
        ("preprocess", "dataset/cache"),
        ("train --model unet", ".resume"),
        ("evaluate", "plots"),
        ("plot", "plots/images"),
    ],
)
def test_a_file_where_a_folder_should_be(command: str, folder: str) -> None:
    project.remove(Path(folder))
    Path(folder).write_text("mine")
    done = script(*command.split())
    name = command.split()[0]
    says(
        done, f"{name}: cannot use {folder}.*: (File exists|Not a directory); remove it, or put what it should be there"
    )
    assert Path(folder).read_text() == "mine"
