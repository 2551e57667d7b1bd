"""Are the committed results what this code and these parameters give?

First, within seconds and without running anything: every metrics file and table is compared with its hash in dvc.lock,
and code and parameters with what dvc.lock says they were. Then everything is trained again from nothing in a temporary
clone of HEAD, and every output is compared.

Same bytes: reproduced. Other bytes, on a machine that differs from the recorded one in a way that is named: reproduced
if the test Dice stays within 0.02 and the dataset and its tensors are the same, as they are on every machine. Anything
else: not reproduced, exit code 1.

--fork does the same to somebody else's repository. Retraining runs the code of that fork, with your rights: do it in a
container, or as a user who may read and write nothing of yours.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import params
from commands.lock import outputs, read_lock, refuse_edited, refuse_stale
from utils import Refusal, described, exit_code, printable, run

TOLERANCE = 0.02  # of a test Dice between two machines
SCORES, REPORT = "metrics/test.json", "plots/report.html"
RESULTS = {"best_epoch", "epochs", "parameters"}  # beside these, a training records its machine
SAME_EVERYWHERE = ("dataset/oxford-iiit-pet", "dataset/cache/", "metrics/data.json")
# A repository may name programs that git starts; none of them is wanted.
HARMLESS = ("-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false", "-c", "protocol.ext.allow=never")

Metrics = dict[str, dict[str, Any]]  # by the name of the file


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    parser.add_argument("--fork", metavar="URL_OR_FOLDER", help="somebody else's repository; default: this one")
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, help="take these photographs in place of its data.source"
    )
    parser.add_argument("--revision", metavar="R", default="HEAD", help="a commit, branch or tag of it; default: HEAD")
    parser.add_argument("--no-training", action="store_true", help="end after the comparison with dvc.lock")
    args = parser.parse_args(words)
    if args.revision.startswith("-"):
        parser.error("--revision takes a commit, a branch or a tag")
    return args


def main(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as room:
        clone = Path(room) / "clone"
        shell("git", *HARMLESS, "clone", "-q", "--", args.fork or str(Path.cwd()), str(clone))
        branches = shell("git", "-C", str(clone), "branch", "--remotes", "--format=%(refname:short)").split()
        branch = f"origin/{args.revision}"
        revision = branch if branch in branches else args.revision
        shell("git", *HARMLESS, "-C", str(clone), "checkout", "-q", "--detach", revision)
        if not args.fork and shell("git", "status", "--porcelain", "--untracked-files=no"):
            print("note: what is not committed is not verified")
        lock = read_lock(clone)
        refuse_edited(clone, lock)
        refuse_stale(clone, lock)
        before = results(clone)
        agreed = "the committed results, code and parameters are those of dvc.lock"
        if args.no_training:
            print(f"{agreed}; nothing was trained")
            for method, found in dices(before[SCORES]):
                print(f"test Dice of {printable(method)}: {found:.4f} recorded")
            return
        print(f"{agreed}; now everything is trained again")
        if args.fork:
            print(
                f"this runs the code of {printable(args.fork)} with your rights; Ctrl-C ends it. To confine it, use a "
                "container without a network, or a user who may read and write nothing of yours",
                flush=True,
            )
        if args.data:
            take(clone, args.data)
        repro(clone)
        first, again = (without(found, args.data) for found in (outputs(lock), outputs(read_lock(clone))))
        sys.exit(verdict(first, again, before, results(clone)))


def shell(*words: str) -> str:
    try:
        done = subprocess.run(
            words,
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"GIT_LFS_SKIP_SMUDGE": "1"},
        )
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise Refusal(f"git: {reason}; verify compares with a commit: run it in a git clone") from None
    return done.stdout


def take(clone: Path, source: Path) -> None:
    """Photographs that are here already; the report shows where they lie, so it is not compared."""
    file = clone / params.FILE
    values = params.overlaid(params.read(file), {"data": {"source": str(source.resolve())}})
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    print(f"not compared, since it shows data.source: {REPORT}")


def without(found: dict[str, str], taken: Path | None) -> dict[str, str]:
    return {name: md5 for name, md5 in found.items() if not taken or name != REPORT}


def results(clone: Path) -> Metrics:
    """The metrics of each network, and the scores."""
    names = params.networks(params.read(clone / params.FILE))
    try:
        found = {
            name: json.loads((clone / name).read_text(encoding="utf-8")) for name in (*map(training, names), SCORES)
        }
        for name in found:
            if name != SCORES:
                dict(found[name]["run"][0])
        dict(dices(found[SCORES]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Refusal(f"metrics: not what train.py and evaluate.py write ({type(error).__name__}: {error})") from None
    return found


def training(network: str) -> str:
    return f"metrics/{network}.json"


def repro(clone: Path) -> None:
    """Every stage, even where a cache shared by several clones knows its result."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    if code := exit_code(command, cwd=clone, env=os.environ | {"PATH": path}):
        raise Refusal(f"dvc repro failed in the clone (exit code {code}); its lines above say why")


def verdict(first: dict[str, str], again: dict[str, str], before: Metrics, after: Metrics) -> int:
    """Prints a line for each output and the conclusion; 0 if reproduced."""
    print()
    different = [name for name in sorted(first | again) if first.get(name) != again.get(name)]
    for name in sorted(first | again):
        print(f"{'DIFFERS' if name in different else 'same   '}  {printable(name)}")
    if not different:
        print(f"\nreproduced: all {len(first)} outputs are the same to the byte")
        return 0
    machine = [*differences(before, after), *other_packages(Path("requirements.txt"))]
    here = dict(dices(after[SCORES]))
    moved = [(method, there, here.get(method, 0.0)) for method, there in dices(before[SCORES])]
    print(
        "\nthis machine differs from the recorded one:" if machine else "\nno recorded property of the machine differs"
    )
    for line in machine:
        print(f"  {printable(line)}")
    for method, there, found in moved:
        print(f"  test Dice of {printable(method)}: {there:.4f} recorded, {found:.4f} here")
    if reasons := against(different, machine, moved):
        print(f"NOT reproduced: {'; '.join(reasons)}")
        return 1
    print(f"reproduced within {TOLERANCE} of Dice, not to the byte, on another kind of machine")
    return 0


def against(different: Sequence[str], machine: Sequence[str], moved: Sequence[tuple[str, float, float]]) -> list[str]:
    """Why outputs that differ are no rerun of the same."""
    reasons = []
    if not machine:
        reasons.append("outputs differ, although the machine is of the recorded kind")
    if data := [name for name in different if name.startswith(SAME_EVERYWHERE)]:
        reasons.append(f"{printable(data[0])} differs, which is the same on every machine")
    if far := [method for method, there, here in moved if not abs(there - here) <= TOLERANCE]:
        reasons.append(f"the test Dice of {printable(far[0])} is more than {TOLERANCE} away")
    return reasons


def dices(scores: dict[str, Any]) -> list[tuple[str, float]]:
    return [(method, float(row["dice"])) for method, row in scores.items() if isinstance(row, dict)]


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
        if installed.partition("+")[0] not in versions:  # the build of torch stands with each training
            yield f"{name}: {' or '.join(versions)} in {pins}, {installed} installed"


if __name__ == "__main__":
    run(lambda: main(arguments()))
