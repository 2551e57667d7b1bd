"""Projects of their own for tests that run DVC: what git tracks here, copied, with few pets and small networks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import params
import pets
import training

ROOT = Path(__file__).parents[1]
AUTHOR = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
SETTINGS = {  # of git; they win over those of the user
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "commit.gpgsign",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "core.hooksPath",
    "GIT_CONFIG_VALUE_1": os.devnull,
}
RESULTS = ("dataset", "saved_models", "metrics", "plots", ".resume")
SMALL: dict[str, Any] = training.SMALL | {
    "data": {"source": "pets", "image_size": 32},
    "train": {"epochs": 1, "batch_size": 8},
}
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def command(stage: str) -> list[str]:
    """The script and its arguments, as tests/scripts.py takes them."""
    _, file, *words = STAGES[stage]["cmd"].split()
    return [Path(file).stem, *words]


def outputs(stage: str) -> list[Path]:
    listed = [out for kind in ("outs", "metrics", "plots") for out in STAGES[stage].get(kind, [])]
    return [Path(next(iter(out)) if isinstance(out, dict) else out) for out in listed]


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def shell(folder: Path, *words: str) -> str:
    """Run a program of this environment in a folder; its output, or a failed test."""
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The same, but it goes on while the test does; in a process group of its own, all its output line by line."""
    return subprocess.Popen(
        words,
        cwd=folder,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def clone(folder: Path, **changes: Any) -> Path:
    """What git tracks here, as a repository of its own, with small parameters over a few pretend pets."""
    tracked(folder)
    for name in ("metrics", "plots"):
        shutil.rmtree(folder / name)
    (folder / "dvc.lock").unlink()
    values = params.overlaid(params.overlaid(params.read(ROOT / "params.yaml"), SMALL), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    pets.make_dataset(folder / "pets", trainval=20, test=4)
    (folder / ".git/info/exclude").write_text("pets/\n")
    commit(folder)
    return folder


def tracked(folder: Path) -> Path:
    """What git tracks here, as a new clone has it."""
    folder.mkdir(parents=True)
    for name in shell(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    shell(folder, "git", "init", "-q")
    commit(folder)
    return folder


def change(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")


def commit(folder: Path) -> None:
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "commit", "-qm", "x", "--allow-empty")


def rewound(finished: Path, folder: Path, stage: str) -> Path:
    """A copy in which this stage and those after it have never run."""
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / ".dvc/cache/runs")
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    for name in [*STAGES][[*STAGES].index(stage) :]:
        for out in lock["stages"].pop(name)["outs"]:
            remove(folder / out["path"])
            remove(folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:])
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    return folder


def scores(folder: Path) -> dict[str, dict[str, Any]]:
    """Of each method."""
    values = json.loads((folder / "metrics/test.json").read_text(encoding="utf-8"))
    return {row["method"]: row for row in values["scores"]}


def results(folder: Path) -> dict[str, bytes]:
    """All that the pipeline wrote, leftovers included."""
    files = (path for name in RESULTS for path in (folder / name).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
