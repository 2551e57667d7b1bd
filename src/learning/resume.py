"""The state of an unfinished training: written whole, believed only when it is whole and fits.

Each has a file of its own, named by everything that the training follows from: a parameter that changes and changes
back finds its epochs again.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from utils import printable, write_bytes

Fingerprint = dict[str, str]
STATES = 3  # kept for each network: those of the last runs that did not end
CHEAP = 0.2  # seconds: a state that is written faster is written after every epoch
SHARE = 1 / 20  # a slower one may take at most this share of the run


def fingerprint(values: Mapping[str, Any], files: Mapping[str, Path]) -> Fingerprint:
    """Everything a training follows from: named values, and the content of named files."""
    found = {name: repr(value) for name, value in values.items()}
    for name, file in files.items():
        with file.open("rb") as content:
            found[name] = hashlib.file_digest(content, "blake2b").hexdigest()[:32]
    return found


class Keeper:
    """Writes the state of one training: after each epoch where that is cheap, else for a small part of the time."""

    def __init__(self, folder: Path, name: str, made_from: Fingerprint) -> None:
        digest = hashlib.blake2b(repr(sorted(made_from.items())).encode(), digest_size=8).hexdigest()
        self.folder, self.name, self.made_from = folder, name, made_from
        self.path = folder / f"{name}-{digest}.state"
        self.epochs = 0  # that are kept
        self.due = 0.0

    def load(self) -> tuple[dict[str, Any] | None, str]:
        """The state to go on from, or None; and one line that says which and why ('' when there was nothing)."""
        with suppress(FileNotFoundError):
            if state := read(self.path):
                self.epochs = len(state["history"])
                return state, f"going on after epoch {self.epochs} of an interrupted run"
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            return None, f"starting afresh: {self.path} is torn or damaged and was set aside as {aside.name}"
        for other in self.others():
            with suppress(FileNotFoundError):  # a run beside this one may have ended meanwhile
                if state := read(other):
                    what = printable(difference(state["made_from"], self.made_from))
                    return (
                        None,
                        f"starting afresh: since the interrupted run, {what} changed; its epochs stay in {other}",
                    )
        return None, ""

    def keep(self, epochs: int, state: Callable[[], Mapping[str, Any]], last: bool) -> None:
        start = time.perf_counter()
        if start < self.due and not last:
            return
        save(self.path, self.made_from, state())
        took = time.perf_counter() - start
        self.due = start + (took / SHARE if took > CHEAP else 0)
        self.epochs = epochs
        for old in self.others()[STATES - 1 :]:
            old.unlink(missing_ok=True)

    def others(self) -> list[Path]:
        """States of this network that follow from something else, newest first."""
        written: dict[Path, float] = {}
        for file in self.folder.glob(f"{self.name}-*.state"):
            with suppress(FileNotFoundError):
                written[file] = file.stat().st_mtime
        written.pop(self.path, None)
        return sorted(written, key=lambda file: written[file], reverse=True)


def save(path: Path, made_from: Fingerprint, state: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save({"made_from": made_from, **state}, buffer)
    with buffer.getbuffer() as content:  # left to the garbage collector after a full disk, it crashes Python 3.12.1
        write_bytes(path, hashlib.sha256(content).digest() + content)


def read(path: Path) -> dict[str, Any] | None:
    """None of a file that is torn or damaged."""
    content = memoryview(path.read_bytes())
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None
    return torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)


def difference(before: Fingerprint, now: Fingerprint) -> str:
    """`train.lr (0.1 to 0.2)` for values, the name alone for files; the first three."""
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    said = []
    for key in changed[:3]:
        old, new = before.get(key, "nothing"), now.get(key, "nothing")
        said.append(key if len(old) > 30 or len(new) > 30 else f"{key} ({old} to {new})")
    return ", ".join(said) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
