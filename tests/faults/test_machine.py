"""The same weights on another processor: one that qemu emulates, with narrower vectors or by another maker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reliability import fault
from training import ROOT, environment, outputs, run, workplace

QEMU = shutil.which("qemu-x86_64")


@pytest.mark.torture
@pytest.mark.skipif(not QEMU, reason="needs qemu-x86_64 (Debian: qemu-user) to emulate another processor")
@fault("Machine", "a processor without AVX-512, by Intel or AMD (emulated)", "the same weights to the byte")
@pytest.mark.parametrize("processor", ["Haswell", "EPYC-Milan"])
def test_training_on_another_processor(tmp_path: Path, processor: str) -> None:
    here, there = (
        workplace(tmp_path / name, photographs=8, validation=2, train={"epochs": 1}) for name in ("here", "there")
    )
    assert run(here).returncode == 0
    command = [str(QEMU), "-cpu", processor, sys.executable, str(ROOT / "src/train.py"), "--model", "unet"]
    done = subprocess.run(command, cwd=there, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert outputs(here) == outputs(there)
