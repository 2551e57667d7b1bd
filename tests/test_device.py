"""What setting up the device does to the process."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
STEPS, PAGES = 20, 16_384  # pages of 4 kB in a tensor of 64 MB
CODE = f"""
import resource, sys
sys.path.insert(0, {str(SRC)!r})
import torch
from shared import device
torch.cuda.is_available = lambda: False
if sys.argv[1] == "setup":
    device.setup(1)
torch.zeros(16_777_216)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({STEPS}):
    torch.zeros(16_777_216)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*words: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
@pytest.mark.skipif(resource.getpagesize() != 4096, reason="counts pages of 4 kB")
def test_memory_of_a_step_serves_the_next_one() -> None:
    assert page_faults("plain") > STEPS * PAGES / 2, "this system never takes memory back: the test says nothing"
    assert page_faults("setup") < 2 * PAGES
