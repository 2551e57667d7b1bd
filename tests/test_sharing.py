"""Work that moves between machines: through a remote, as an experiment, by a shared cache, and over two workers."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run

import psutil
import pytest
import yaml

import recipe
from project import change, clone, commit, ran, shell
from reliability import fault

PATIENCE = 300  # seconds until a queue that does nothing counts as stuck
RESULTS = ("dataset", "saved_models", "metrics", "plots")

Machine = Callable[[str], Path]

pytestmark = [pytest.mark.pipeline, pytest.mark.torture]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that ran and was pushed; one network was trained with seed 2 beside it. No one else sees its pets."""
    folder = clone(tmp_path_factory.mktemp("first") / "project")
    shell(folder, "dvc", "repro")
    shutil.rmtree(folder / "pets")
    shell(folder, "dvc", "remote", "add", "-d", "store", str(folder.parent / "store"))
    commit(folder)
    shell(folder, "git", "clone", "-q", "--bare", ".", str(hub(folder)))
    shell(folder, "git", "remote", "add", "origin", str(hub(folder)))
    shell(folder, "dvc", "push")
    shell(folder, "dvc", "exp", "run", "--temp", "--name", "second", "-S", "seed=2", "train_unet")
    return folder


def hub(first: Path) -> Path:
    return first.parent / "hub.git"


@pytest.fixture
def machine(first: Path, tmp_path: Path) -> Machine:
    """A git clone somewhere else, with nothing that DVC keeps."""

    def new(name: str) -> Path:
        shell(tmp_path, "git", "clone", "-q", str(hub(first)), name)
        return tmp_path / name

    return new


def results(folder: Path) -> dict[str, bytes]:
    files = (path for name in RESULTS for path in (folder / name).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def set_seed(folder: Path, seed: int) -> None:
    change(folder, "params.yaml", "seed: 42", f"seed: {seed}")


def up_to_date(folder: Path, *stages: str) -> bool:
    return "up to date" in shell(folder, "dvc", "status", *stages)


def test_pull_brings_every_output_and_leaves_nothing_to_run(first: Path, machine: Machine) -> None:
    other = machine("other")
    shell(other, "dvc", "pull")
    assert results(other) == results(first)
    assert ran(shell(other, "dvc", "repro")) == []
    assert shell(other, "git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "stages", "absent"),
    [
        pytest.param(
            "params.yaml",
            "threshold: auto",
            "threshold: 0.4",
            ["evaluate", "plot"],
            r"dataset/cache/train\.csv|dataset/oxford-iiit-pet/(images/.*|annotations/\w+\.txt)",
            id="threshold",
        ),
        pytest.param(
            "src/report/pictures.py",
            "import annotations",
            "import annotations  # as before",
            ["plot"],
            r"dataset/(cache|oxford-iiit-pet)/.*|saved_models/.*",
            id="pictures",
        ),
    ],
)
def test_a_change_fetches_the_inputs_of_what_it_runs_and_no_more(
    first: Path, machine: Machine, name: str, old: str, new: str, stages: list[str], absent: str
) -> None:
    other = machine("other")
    change(other, name, old, new)
    assert ran(shell(other, "dvc", "repro", "--pull", "--allow-missing")) == stages
    everything = set(results(first))
    assert everything - set(results(other)) == {file for file in everything if re.fullmatch(absent, file)}


def test_an_experiment_travels_with_its_results(first: Path, machine: Machine) -> None:
    shell(first, "dvc", "exp", "push", "origin", "second")
    other = machine("other")
    shell(other, "dvc", "exp", "pull", "origin", "second")
    shell(other, "dvc", "exp", "apply", "second")
    assert "seed: 2\n" in (other / "params.yaml").read_text(encoding="utf-8")
    assert up_to_date(other, "train_unet")
    assert results(other)["saved_models/unet.pth"] != results(first)["saved_models/unet.pth"]


def test_a_shared_cache_spares_a_run_that_somebody_made_and_nobody_committed(first: Path, machine: Machine) -> None:
    other = machine("other")
    shell(other, "dvc", "cache", "dir", "--local", str(first / ".dvc/cache"))
    spared(other)


def test_so_does_the_cache_of_another_machine_as_a_remote(first: Path, machine: Machine) -> None:
    other = machine("other")
    shell(other, "dvc", "remote", "add", "--local", "-d", "lab", str(first / ".dvc/cache"))
    shell(other, "dvc", "fetch", "--run-cache")
    spared(other)


def spared(folder: Path) -> None:
    set_seed(folder, 2)
    output = shell(folder, "dvc", "repro", "--pull", "--allow-missing", "train_unet")
    assert "Stage 'train_unet' is cached - skipping run" in output
    assert ran(output) == []
    assert up_to_date(folder, "train_unet")


@pytest.fixture
def queue(machine: Machine) -> Iterator[Path]:
    """A clone with all data, whose workers end with the test."""
    folder = machine("queue")
    shell(folder, "dvc", "pull")
    yield folder
    shell(folder, "dvc", "queue", "stop", "--kill")
    wait(lambda: not processes(folder))


def processes(folder: Path) -> list[psutil.Process]:
    """Those that work in a folder or below it."""
    found = psutil.process_iter(["cwd"])
    return [process for process in found if Path(process.info["cwd"] or "/").is_relative_to(folder)]


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(1)


@fault(
    "Concurrency", "two workers take a queue of seeds", "each ends as it would alone; the working folder is as before"
)
def test_two_workers_take_a_queue_as_if_each_seed_ran_alone(
    queue: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results(queue)
    shell(queue, "dvc", "exp", "run", "--queue", "--name", "sweep", "-S", "seed=1,2")
    monkeypatch.chdir(queue)
    assert recipe.free_name("sweep") == "sweep-3"
    assert "Started '2'" in shell(queue, "dvc", "queue", "start", "--jobs", "2")
    wait(lambda: not re.search("Queued|Running", shell(queue, "dvc", "queue", "status")))

    assert results(queue) == before
    assert up_to_date(queue)
    assert shell(queue, "git", "status", "--porcelain") == ""
    alone = machine("alone")
    shell(alone, "dvc", "pull")
    for seed in (1, 2):
        shell(alone, "git", "checkout", "-q", ".")
        set_seed(alone, seed)
        shell(alone, "dvc", "repro")
        shell(queue, "dvc", "exp", "apply", f"sweep-{seed}")
        assert up_to_date(queue)
        assert results(queue) == results(alone) != before


MERGE = ("git", "merge", "theirs")
CHANGES = {"main": ("unet", "width", 5), "theirs": ("resnet34_unet", "dropout", 0.25)}


def test_after_a_merge_either_side_of_the_lock_leads_to_both_changes(machine: Machine) -> None:
    folder = machine("merging")
    shell(folder, "dvc", "pull")
    shell(folder, "git", "branch", "-M", "main")
    shell(folder, "git", "branch", "theirs")
    trained = {}
    for branch, (section, key, value) in CHANGES.items():
        shell(folder, "git", "checkout", "-q", branch)
        shell(folder, "dvc", "checkout")
        values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        values[section][key] = value
        (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        stages = ran(shell(folder, "dvc", "repro"))
        assert len([stage for stage in stages if stage.startswith("train_")]) == 1
        trained[f"saved_models/{section}.pth"] = (folder / f"saved_models/{section}.pth").read_bytes()
        commit(folder)
    shell(folder, "git", "checkout", "-q", "main")
    ours = (folder / "dvc.lock").read_bytes()

    done = run(MERGE, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "conflict in dvc.lock" in done.stdout
    assert "params.yaml" not in done.stdout.replace("Auto-merging params.yaml", "")
    assert (folder / "dvc.lock").read_bytes() == ours
    assert ran(shell(folder, "dvc", "repro")) == ["evaluate", "plot"]
    merged = results(folder)
    assert {name: merged[name] for name in trained} == trained
    assert up_to_date(folder)

    shell(folder, "git", "checkout", "--theirs", "dvc.lock", "metrics", "plots")
    assert (folder / "dvc.lock").read_bytes() != ours
    shell(folder, "dvc", "repro")
    assert results(folder) == merged
    commit(folder)
    assert shell(folder, "git", "status", "--porcelain") == ""
