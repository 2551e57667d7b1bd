"""One training on two hosts: network namespaces with an address, a host name and a folder of their own each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import training
from project import start
from reliability import fault

SRC = Path(__file__).parents[1] / "src"
CHANGES = {"train": {"epochs": 8, "batch_size": 4}}
END = 120  # seconds after which a host counts as stuck; parallel.PATIENCE is 10 here
# Train as always, but give up soon, and let the third epoch last until a test has cut the other host off.
HOST = """
import math, os, runpy, sys, time
from datetime import timedelta
from learning import parallel, resume
from learning.engine import Trainer

step = Trainer.step

def slow(self, loss, number):
    step(self, loss, number)
    if len(self.history) == 2 and "SLOW" in os.environ:
        time.sleep(2)

parallel.PATIENCE, resume.CHEAP, Trainer.step = timedelta(seconds=10), math.inf, slow
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

pytestmark = pytest.mark.torture


class Host(NamedTuple):
    """A network namespace; `table` stands in place of /etc/hosts in it."""

    name: str
    table: Path

    def start(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        settle = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'
        inside = ("ip", "netns", "exec", self.name, "unshare", "--uts", "--mount")
        return start(folder, *inside, "sh", "-ec", settle, "sh", self.name, str(self.table), *words)

    def kill(self) -> None:
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False).stdout
        subprocess.run(["kill", "-9", *pids.split()], capture_output=True, check=False)

    def cut(self) -> None:
        link(f"-n {self.name} link set veth0 down")

    def join(self) -> None:
        link(f"-n {self.name} link set veth0 up")


def link(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    """Two hosts joined by a cable, which know each other by name."""
    missing = [program for program in ("ip", "unshare", "mount") if not shutil.which(program)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    table = tmp_path_factory.mktemp("hosts") / "hosts"
    made = [Host(f"pets-{os.getpid()}-{number}", table) for number in (1, 2)]
    table.write_text("127.0.0.1 localhost\n" + "".join(f"10.77.0.{i} {host.name}\n" for i, host in enumerate(made, 1)))
    try:
        for host in made:
            link(f"netns add {host.name}")
        link(f"-n {made[0].name} link add veth0 type veth peer name veth0 netns {made[1].name}")
        for number, host in enumerate(made, 1):
            link(f"-n {host.name} addr add 10.77.0.{number}/24 dev veth0")
            link(f"-n {host.name} link set lo up")
            host.join()
        ready = made[0].start(table.parent, "true")
        said, _ = ready.communicate(timeout=END)
        if ready.returncode:
            pytest.skip(f"no network namespaces here: {said.strip()}")
        yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    finally:
        for host in made:
            host.kill()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def places(folder: Path) -> list[Path]:
    """A folder for each host, with the same dataset."""
    made = [training.workplace(folder / name, 32, 8, **CHANGES) for name in ("first", "second")]
    for place in made:
        (place / "host.py").write_text(HOST)
    return made


def trainings(hosts: list[Host], folders: list[Path], slow: bool = False) -> list[subprocess.Popen[str]]:
    """The command of docs/clusters.md on each host."""
    found = []
    for rank, (host, folder) in enumerate(zip(hosts, folders, strict=True)):
        torchrun = ("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}")
        meeting = (f"--master-addr={hosts[0].name}", "--master-port=29500")
        script = ("host.py", str(SRC / "train.py"), "--model", "unet")
        env = ("env", f"PYTHONPATH={SRC}", *(["SLOW=1"] if slow else []))
        found.append(host.start(folder, *env, sys.executable, *torchrun, *meeting, *script))
    return found


def ended(hosts: list[Host], processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each host says until it ends."""
    try:
        return [process.communicate(timeout=END)[0] for process in processes]
    finally:
        for host in hosts:
            host.kill()


def trained(hosts: list[Host], folders: list[Path]) -> str:
    processes = trainings(hosts, folders)
    said = ended(hosts, processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return said[0]


@pytest.fixture(scope="module")
def together(hosts: list[Host], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = places(tmp_path_factory.mktemp("together"))
    trained(hosts, folders)
    return folders


def valid_dice(folder: Path) -> float:
    return json.loads((folder / "metrics/unet.json").read_text())["valid_dice"]


def test_two_hosts_learn_as_well_as_one_and_the_first_has_the_result(together: list[Path], tmp_path: Path) -> None:
    alone = training.workplace(tmp_path / "alone", 32, 8, **CHANGES)
    training.stage(alone)
    first, second = together
    assert json.loads((first / "metrics/unet.json").read_text())["run"][0]["processes"] == 2
    assert abs(valid_dice(alone) - valid_dice(first)) < 0.02
    assert training.outputs(second) == {}


def test_two_hosts_repeat_to_the_byte(hosts: list[Host], together: list[Path], tmp_path: Path) -> None:
    folders = places(tmp_path)
    trained(hosts, folders)
    assert training.outputs(folders[0]) == training.outputs(together[0])


@fault(
    "Machine",
    "one of two hosts of a training is cut off, or its processes are killed",
    "all end with one line; the next run goes on and ends in the same bytes",
)
@pytest.mark.parametrize("how", ["cut", "kill"])
def test_a_host_that_is_lost_ends_both_and_the_next_run_goes_on(
    hosts: list[Host], together: list[Path], tmp_path: Path, how: str
) -> None:
    folders = places(tmp_path)
    processes = trainings(hosts, folders, slow=True)
    assert processes[0].stdout
    assert any(line.startswith("epoch 2/8") for line in processes[0].stdout)
    getattr(hosts[1], how)()
    try:
        said = ended(hosts, processes)
    finally:
        hosts[1].join()
    assert all(process.returncode for process in processes)
    for rank in (0, 1) if how == "cut" else (0,):
        lines = [line for line in said[rank].splitlines() if line.startswith("train: ")]
        assert len(lines) == 1
        assert f"process {rank} of 2 has lost another one" in lines[0]
        assert "run the same again to go on" in lines[0]
        assert "Traceback" not in said[rank].split("train: ")[0]  # torchrun's own comes after it
    assert training.outputs(folders[0]) == {}
    assert "going on after epoch 2" in trained(hosts, folders)
    assert training.outputs(folders[0]) == training.outputs(together[0])
