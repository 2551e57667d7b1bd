"""Settings for every test."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from project import AUTHOR, SETTINGS, clone, commit, ran, shell
from reliability import Recorder
from shared.device import setup

LONG = "a folder, größer als sonst, with 宠物 and 🐈 " + "x" * 120


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write the table of faults from the outcome")


def pytest_configure(config: pytest.Config) -> None:
    # Inherited by the processes that tests start. Threads that wait for each other must not keep a core busy meanwhile,
    # no GPU computes, and git commits whatever the user's own settings are.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "CUDA_VISIBLE_DEVICES": ""} | AUTHOR | SETTINGS
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    if file := config.getoption("--reliability"):
        config.pluginmanager.register(Recorder(file))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All of faults/ is slow. Of several processes none has a long file left when the others are done."""
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker("slow")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: [not item.get_closest_marker(name) for name in ("pipeline", "slow")])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread and the deterministic mode, as two processes beside each other would compute."""
    setup(1, portable=True)
    torch.set_flush_denormal(False)  # Hypothesis draws numbers below 1e-38 too


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the small pipeline ran, in a place that few would choose. What changes it is taken back."""
    folder = clone(tmp_path_factory.mktemp("pipeline") / LONG)
    assert len(ran(shell(folder, "dvc", "repro"))) == 6
    commit(folder)
    return folder
