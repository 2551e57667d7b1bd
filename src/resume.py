"""The state of an unfinished training: written whole each epoch, believed only when it is whole and fits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from utils import printable, write_bytes

Fingerprint = dict[str, str]


def fingerprint(values: Mapping[str, Any], files: Iterable[Path]) -> Fingerprint:
    """Everything a training follows from: named values, and the content of data and code."""
    found = {str(key): repr(value) for key, value in values.items()}
    for file in files:
        with file.open("rb") as content:
            found[file.name] = hashlib.file_digest(content, "blake2b").hexdigest()[:32]
    return found


def save(path: Path, made_from: Fingerprint, state: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save({"made_from": made_from, **state}, buffer)
    content = buffer.getbuffer()
    write_bytes(path, hashlib.sha256(content).digest() + content)


def load(path: Path, made_from: Fingerprint) -> tuple[dict[str, Any] | None, str]:
    """The state to go on from, or None; and one line that says which and why ('' when there was nothing)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, ""
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        return None, f"starting afresh: {path} is torn or damaged and was set aside as {aside.name}"
    state = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
    before = state.pop("made_from")
    changed = [key for key in {**before, **made_from} if before.get(key) != made_from.get(key)]
    if changed:
        what = printable(describe(changed, before, made_from))
        return None, f"starting afresh: since the interrupted run, {what} changed"
    return state, f"going on after epoch {len(state['history'])} of an interrupted run"


def describe(changed: list[str], before: Fingerprint, now: Fingerprint) -> str:
    """`train.lr (0.1 to 0.2)` for values, the name alone for files; the first three."""
    said = []
    for key in changed[:3]:
        old, new = before.get(key, "nothing"), now.get(key, "nothing")
        said.append(key if len(old) > 30 or len(new) > 30 else f"{key} ({old} to {new})")
    return ", ".join(said) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
