"""Programs of a machine that this one is not, on PATH before its own."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest


def program(folder: Path, name: str, script: str, patch: pytest.MonkeyPatch) -> Path:
    """A shell script of this name, found before any other."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    if str(folder) not in os.environ["PATH"].split(os.pathsep):
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
    return path


def nvidia_smi(folder: Path, answer: str, patch: pytest.MonkeyPatch, code: int = 0) -> None:
    """Answers so, as for a machine with two cards."""
    program(
        folder, "nvidia-smi", f"printf '%s\\n%s\\n' {shlex.quote(answer)} {shlex.quote(answer)}; exit {code}", patch
    )


def python(folder: Path, version: tuple[int, int], log: Path, patch: pytest.MonkeyPatch) -> Path:
    """Says that it is this version. Its environments install nothing: they write into the log what they were asked."""
    installer = program(folder, "installer", f'echo "$0 $*" >> {shlex.quote(str(log))}', patch)
    here = f"{shlex.quote(sys.executable)}"
    pretend = f"import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[1])"
    script = f"""case $1 in
-c) exec {here} -c {shlex.quote(pretend)} "$2" ;;
-m) mkdir -p "$3/bin" && cp {shlex.quote(str(installer))} "$3/bin/python" ;;
*) exec {here} "$@" ;;
esac"""
    return program(folder, "python3", script, patch)
