"""A project in which every script has something to read."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import scripts
from learning import resume
from source import fetch


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        scripts.write_project()
    return folder


@pytest.fixture(scope="module", autouse=True)
def every_epoch_is_kept() -> Iterator[None]:
    """However slow the disk is, so that a training changes as many files each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "CHEAP", math.inf)
        yield


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, as working directory."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """mount(OPTION..., FOLDER): as the command, undone at the end."""
    mounted: list[str] = []

    def new(*words: str) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs leave to mount: {done.stderr.strip()}")
        mounted.append(words[-1])

    if sys.platform != "linux":
        pytest.skip("needs mount as Linux has it")
    yield new
    for folder in dict.fromkeys(reversed(mounted)):
        subprocess.run(["umount", "--lazy", folder], check=True)
