"""Settings for every test."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from project import clone, commit, ran, shell
from reliability import Recorder
from shared.device import setup

LONG = "a folder, größer als sonst, with 宠物 and 🐈 " + "x" * 120


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write the table of faults from the outcome")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    if file := config.getoption("--reliability"):
        config.pluginmanager.register(Recorder(file))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread and the deterministic mode, as two processes beside each other would compute."""
    setup(1, portable=True)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the small pipeline ran, in a place that few would choose. What changes it is taken back."""
    folder = clone(tmp_path_factory.mktemp("pipeline") / LONG)
    assert len(ran(shell(folder, "dvc", "repro"))) == 6
    commit(folder)
    return folder
