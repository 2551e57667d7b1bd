"""Does a clone agree with its own dvc.lock? Looked at without running anything of it.

dvc.lock holds the hash of everything that a stage read and wrote. A metrics file that was edited by hand differs from
its hash; code or parameters that were changed after the last run differ from theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import params
from utils import Refusal, printable

Lock = dict[str, Any]  # of dvc.lock: what each stage ran, read and wrote


def read_lock(clone: Path) -> Lock:
    """The stages of dvc.lock, of a shape that the rest of this file can rely on."""
    stages = params.read(file_in(clone, "dvc.lock")).get("stages")
    if not isinstance(stages, dict) or not stages:
        raise Refusal("dvc.lock: names no stage; `dvc repro` writes it")
    for name, stage in stages.items():
        entries = [entry for key in ("deps", "outs") for entry in (stage or {}).get(key) or []]
        if not all(isinstance(e, dict) and isinstance(e.get("path"), str) and isinstance(e.get("md5"), str) for e in entries):
            raise Refusal(f"dvc.lock: stage {name}: an input or output without path and md5; `dvc repro` writes it anew")
    return stages


def edited_results(clone: Path, lock: Lock) -> list[str]:
    """Files in git that a stage wrote, and that are no longer what it wrote."""
    found = []
    for entry in entries(lock, "outs"):
        if kept_by_git(clone, entry["path"]) and hash_of(clone, entry["path"]) != entry["md5"]:
            found.append(entry["path"])
    return found


def not_run_again(clone: Path, lock: Lock) -> list[str]:
    """Code, parameters and stages that changed after the run that dvc.lock describes."""
    found = []
    stages = params.read(file_in(clone, "dvc.yaml")).get("stages")
    stages = stages if isinstance(stages, dict) else {}
    if set(stages) != set(lock):
        found.append(f"dvc.yaml: stages {', '.join(sorted(set(stages) ^ set(lock)))}")
    for name, stage in lock.items():
        if isinstance(stages.get(name), dict) and stages[name].get("cmd") != stage.get("cmd"):
            found.append(f"dvc.yaml: the command of {name}")
    made = {entry["path"]: entry["md5"] for entry in entries(lock, "outs")}
    for entry in entries(lock, "deps"):
        path = entry["path"]
        if path in made:
            changed = made[path] != entry["md5"]
        elif any(PurePosixPath(path) in PurePosixPath(out).parents for out in made):
            changed = False  # a folder of outputs, each of which has its own hash
        elif any(PurePosixPath(out) in PurePosixPath(path).parents for out in made):
            changed = False  # a part of an output
        else:
            changed = hash_of(clone, path) != entry["md5"]
        if changed:
            found.append(path)
    values = dict(params.flat(params.read(file_in(clone, "params.yaml"))))
    for key, value in locked_params(lock):
        if value_at(values, key) != value:
            found.append(f"params.yaml: {key} ({value!r} when it ran, now {value_at(values, key)!r})")
    return list(dict.fromkeys(found))


def entries(lock: Lock, kind: str) -> Iterator[Mapping[str, Any]]:
    for stage in lock.values():
        yield from (stage or {}).get(kind) or []


def locked_params(lock: Lock) -> Iterator[tuple[str, Any]]:
    for stage in lock.values():
        for key, value in ((stage or {}).get("params") or {}).get("params.yaml", {}).items():
            if isinstance(value, dict) and value:
                yield from ((f"{key}.{below}", each) for below, each in params.flat(value))
            else:
                yield key, value


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """A value of params.yaml; an empty section has none. PyYAML reads `1e-3` as text, DVC writes it as a number."""
    value = values.get(key, {})
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def kept_by_git(clone: Path, path: str) -> bool:
    return (clone / path).exists() or PurePosixPath(path).parts[0] == "metrics" or path.endswith(".csv") and path.startswith("plots/")


def hash_of(clone: Path, path: str) -> str:
    """As DVC computes it; of what is missing ''."""
    place = file_in(clone, path)
    if place.is_dir():
        files = [file for file in place.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        rows = [
            {"md5": md5(file_in(clone, file.relative_to(clone).as_posix())), "relpath": file.relative_to(place).as_posix()}
            for file in files
        ]
        rows.sort(key=lambda row: row["relpath"])
        return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    return md5(place) if place.is_file() else ""


def md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def file_in(clone: Path, path: str) -> Path:
    """A path of the clone that leads nowhere else: somebody else's repository may hold any name and any link."""
    place = clone / path
    if not place.resolve().is_relative_to(clone.resolve()) or place.is_symlink():
        raise Refusal(f"{printable(path)}: leads out of the repository, or is a link; it is not looked at")
    return place
