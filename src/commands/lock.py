"""Does a clone agree with its own dvc.lock? Looked at without running anything of it.

dvc.lock holds the hash of everything that a stage read and wrote. A metrics file that was edited by hand differs from
its hash; code or parameters that were changed after the last run differ from theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import params
from utils import Refusal, printable

Lock = dict[str, Any]  # of dvc.lock: what each stage ran, read and wrote


def read_lock(clone: Path) -> Lock:
    """The stages of dvc.lock, of a shape that the rest of this file can rely on."""
    stages = read(clone, "dvc.lock").get("stages")
    if not isinstance(stages, dict) or not stages or not all(isinstance(stage, dict) for stage in stages.values()):
        raise Refusal("dvc.lock: names no stage; `dvc repro` writes it")
    for stage in stages.values():
        listed, chosen = [stage.get("deps") or [], stage.get("outs") or []], stage.get("params") or {}
        if not all(isinstance(entries, list) for entries in listed) or not all_mappings(chosen):
            raise Refusal("dvc.lock: deps and outs are no lists, or params no mapping; `dvc repro` writes it anew")
        for entry in [*listed[0], *listed[1]]:
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "md5")):
                raise Refusal("dvc.lock: an input or output has no path or no md5; `dvc repro` writes it anew")
    return stages


def all_mappings(chosen: Any) -> bool:
    return isinstance(chosen, dict) and all(isinstance(values, dict) for values in chosen.values())


def refuse_edited(clone: Path, lock: Lock) -> None:
    """A metrics file or a table in git is what a stage wrote, or somebody has edited it."""
    written = outputs(lock)
    shown = [file for folder in ("metrics", "plots") for file in sorted((clone / folder).rglob("*"))]
    names = {file.relative_to(clone).as_posix() for file in shown if file.suffix in (".json", ".csv")}
    for name in sorted(names | {path for path in written if path.startswith("metrics/") or is_table(path)}):
        if name not in written:
            raise Refusal(f"{printable(name)}: no stage in dvc.lock has written it, so nothing vouches for it")
        found = hash_of(clone, name)
        if found != written[name]:
            reason = "dvc.lock has another hash: it was edited by hand" if found else "it is missing"
            raise Refusal(f"{printable(name)}: {reason}, or `dvc repro` did not end; its numbers prove nothing")


def is_table(path: str) -> bool:
    return path.startswith("plots/") and path.endswith(".csv")


def refuse_stale(clone: Path, lock: Lock) -> None:
    """Code, parameters or stages that changed after the run that dvc.lock describes: nothing is claimed about them."""
    if changed := [*changed_stages(clone, lock), *changed_code(clone, lock), *changed_params(clone, lock)]:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise Refusal(
            f"nothing can be verified: {printable(', '.join(changed[:3]))}{more} changed after the last run; "
            "run `dvc repro` and commit what it writes",
            2,
        )


def changed_stages(clone: Path, lock: Lock) -> list[str]:
    stages = read(clone, "dvc.yaml").get("stages")
    commands = {}
    if isinstance(stages, dict):
        commands = {name: stage.get("cmd") if isinstance(stage, dict) else None for name, stage in stages.items()}
    names = dict.fromkeys([*commands, *lock])
    return [f"dvc.yaml: {name}" for name in names if commands.get(name) != lock.get(name, {}).get("cmd")]


def changed_code(clone: Path, lock: Lock) -> list[str]:
    """Inputs that no stage makes; the others follow from their own stage."""
    made = [PurePosixPath(path) for path in outputs(lock)]
    found = []
    for path, md5 in {(entry["path"], entry["md5"]) for stage in lock.values() for entry in stage.get("deps") or []}:
        place = PurePosixPath(path)
        of_a_stage = any(place == out or out in place.parents or place in out.parents for out in made)
        if not of_a_stage and hash_of(clone, path) != md5:
            found.append(path)
    return sorted(found)


def changed_params(clone: Path, lock: Lock) -> list[str]:
    values = read(clone, "params.yaml")
    found: dict[str, None] = {}
    for stage in lock.values():
        for key, then in ((stage.get("params") or {}).get("params.yaml") or {}).items():
            now: Any = values
            for part in str(key).split("."):
                now = now.get(part) if isinstance(now, Mapping) else None
            if not params.modest([now, then]) or plain(now) != plain(then):
                found[f"params.yaml: {key}"] = None
    return list(found)


def plain(value: Any) -> Any:
    """To compare: PyYAML reads `1e-5` as text, and DVC may write another form of the same number."""
    if isinstance(value, Mapping):
        return {key: plain(below) for key, below in value.items()}
    if isinstance(value, list):
        return [plain(below) for below in value]
    with suppress(TypeError, ValueError, OverflowError):
        return value if isinstance(value, bool) else float(value)
    return value


def outputs(lock: Lock) -> dict[str, str]:
    """Every output of every stage, and the hash of its bytes."""
    return {entry["path"]: entry["md5"] for stage in lock.values() for entry in stage.get("outs") or []}


def hash_of(clone: Path, path: str) -> str:
    """As DVC computes it; '' of what is missing."""
    place = file_in(clone, path)
    if not place.is_dir():
        return md5(place) if place.is_file() else ""
    files = {file.relative_to(place).as_posix(): file for file in place.rglob("*") if file.is_file()}
    rows = [
        {"md5": md5(file_in(clone, f"{path}/{name}")), "relpath": name}
        for name in sorted(files)
        if "__pycache__" not in files[name].parts
    ]
    return hashlib.md5(json.dumps(rows).encode(), usedforsecurity=False).hexdigest() + ".dir"


def md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read(clone: Path, name: str) -> dict[str, Any]:
    file = file_in(clone, name)
    if not file.is_file():
        raise Refusal(f"{name}: not found, so there is nothing to verify")
    try:
        return params.read(file)
    except Refusal as refusal:
        raise Refusal(str(refusal).replace(str(file), name)) from None


def file_in(clone: Path, path: str) -> Path:
    """A path of the clone that leads nowhere else: somebody else's repository may hold any name and any link."""
    place = clone / path
    if "\0" in path or place.is_symlink() or not place.resolve().is_relative_to(clone.resolve()):
        raise Refusal(f"{printable(path)}: is a link, or leads out of the repository; it is not looked at")
    return place
