"""Retrain from nothing in a temporary clone of HEAD and compare every output with the committed ones.

Same bytes: reproduced. Other bytes, on a machine that differs from the recorded one in a way that is named: reproduced
if the test Dice stays within 0.02. Anything else: not reproduced, exit code 1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import params
from utils import Refusal, described, run

TOLERANCE = 0.02  # of a test Dice between two machines
SCORES = "metrics/test.json"
RESULTS = {"best_epoch", "epochs", "parameters"}  # beside these, a training records its machine

Metrics = dict[str, dict[str, Any]]  # by the name of the file


def main() -> None:
    with tempfile.TemporaryDirectory() as room:
        clone = Path(room) / "clone"
        shell("git", "clone", "-q", str(Path.cwd()), str(clone))
        if shell("git", "status", "--porcelain", "--untracked-files=no"):
            print("note: what is not committed is not verified")
        names = params.networks(params.read(clone / params.FILE))
        before = {name: committed(name) for name in (*map(training, names), SCORES)}
        first = hashes(clone)
        repro(clone)
        after = {name: read(clone / name) for name in before}
        sys.exit(verdict(first, hashes(clone), before, after))


def training(network: str) -> str:
    return f"metrics/{network}.json"


def shell(*words: str) -> str:
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise Refusal(
            f"{' '.join(words[:2])}: {reason}; verify compares with a commit: run it in a git clone"
        ) from None


def committed(name: str) -> dict[str, Any]:
    return json.loads(shell("git", "show", f"HEAD:{name}"))


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def repro(clone: Path) -> None:
    """Every stage, even where a cache shared by several clones knows its result."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    if code := subprocess.run(command, cwd=clone, env=os.environ | {"PATH": path}, check=False).returncode:
        raise Refusal(f"dvc repro failed in a clone of HEAD (exit code {code}); its lines above say why")


def hashes(clone: Path) -> dict[str, str]:
    """Every output of every stage, and the hash of its bytes."""
    lock = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def verdict(first: dict[str, str], again: dict[str, str], before: Metrics, after: Metrics) -> int:
    """Prints a line for each output and the conclusion; 0 if reproduced."""
    print()
    for name in sorted(first | again):
        print(f"{'same   ' if first.get(name) == again.get(name) else 'DIFFERS'}  {name}")
    if first == again:
        print(f"\nreproduced: all {len(first)} outputs are the same to the byte")
        return 0
    machine = [*differences(before, after), *other_packages(Path("requirements.txt"))]
    moved = [(method, there["dice"], after[SCORES][method]["dice"]) for method, there in dices(before[SCORES])]
    close = all(abs(there - here) <= TOLERANCE for _, there, here in moved)
    print(
        "\nthis machine differs from the recorded one:" if machine else "\nno recorded property of the machine differs"
    )
    for line in machine:
        print(f"  {line}")
    for method, there, here in moved:
        print(f"  test Dice of {method}: {there:.4f} recorded, {here:.4f} here")
    if machine and close:
        print(f"reproduced within {TOLERANCE} of Dice, not to the byte, on another kind of machine")
        return 0
    reason = "although the machine is of the recorded kind" if close else f"and a Dice is more than {TOLERANCE} away"
    print(f"NOT reproduced: outputs differ, {reason}")
    return 1


def dices(scores: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [(method, row) for method, row in scores.items() if isinstance(row, dict)]


def differences(before: Metrics, after: Metrics) -> Iterator[str]:
    """What each training recorded of its machine."""
    for name in before:
        if name != SCORES:
            there, here = before[name]["run"][0], after[name]["run"][0]
            for key in [key for key in there | here if key not in RESULTS]:
                if there.get(key) != here.get(key):
                    yield f"{Path(name).stem}: {key} {there.get(key, 'none')} recorded, {here.get(key, 'none')} here"


def other_packages(pins: Path) -> Iterator[str]:
    """Installed versions that requirements.txt does not name; it may name one for each version of Python."""
    pinned: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", pins.read_text(encoding="utf-8"), re.MULTILINE):
        pinned.setdefault(name, []).append(version)
    for name, versions in pinned.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for another system
        if installed not in versions:
            yield f"{name}: {' or '.join(versions)} in {pins}, {installed} installed"


if __name__ == "__main__":
    described(__doc__).parse_args()
    run(main)
