"""What setting up the device does to the process."""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shared import device
from shared.device import SAME_ON_EVERY_WIDTH
from training import environment
from utils import Refusal

SRC = Path(__file__).parents[1] / "src"
ASKED = f"""
import json, os, sys
sys.path.insert(0, {str(SRC)!r})
import torch
from shared import device
torch.cuda.is_available = lambda: False
device.setup(1, portable=sys.argv[1] == "portable")
print(json.dumps([device.cpu(), dict(os.environ)]))
"""
STEPS, NUMBERS = 100, 10_485_760
PAGES = STEPS * NUMBERS * 4 // 4096  # of all tensors, when none takes the memory of another
CODE = f"""
import resource, sys
sys.path.insert(0, {str(SRC)!r})
import torch
from shared import device
torch.cuda.is_available = lambda: False
if sys.argv[1] == "setup":
    device.setup(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({STEPS}):
    torch.zeros({NUMBERS})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

TINY = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
import torch
from shared import device
torch.cuda.is_available = lambda: False
device.setup(2)
print((torch.full((1_000_000,), 1e-39) * 0.5).count_nonzero().item())
"""


@pytest.mark.parametrize("kind", ["portable", "fast"])
def test_portable_asks_for_the_kernels_that_every_processor_has(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED, kind], env=environment(), capture_output=True, text=True, check=True
    )
    used, found = json.loads(done.stdout)
    assert found["MKL_CBWR"] == "COMPATIBLE"
    assert {name: found.get(name) for name in SAME_ON_EVERY_WIDTH} == (
        SAME_ON_EVERY_WIDTH if kind == "portable" else dict.fromkeys(SAME_ON_EVERY_WIDTH)
    )
    assert kind == "fast" or not used.startswith("AVX512")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "run `make TORCH=cu126`"),
        ("CUDA error: out of memory", "see with `nvidia-smi` who uses it"),
    ],
)
def test_a_gpu_on_which_torch_cannot_compute_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: str, advice: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"{error}\nSearch for")

    monkeypatch.setattr(torch, "ones", fail)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P100")
    with pytest.raises(Refusal) as refused:
        device.refuse_unusable(torch.device("cuda", 0))
    assert str(refused.value).startswith(f"Tesla P100: this torch cannot compute on it ({error}); {advice}, or hide")


def page_faults(*words: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
@pytest.mark.skipif(resource.getpagesize() != 4096, reason="counts pages of 4 kB")
def test_memory_of_a_step_serves_the_next_one() -> None:
    if page_faults("plain") < 0.9 * PAGES:
        pytest.skip("this system never takes memory back, or takes it in larger pages")
    assert page_faults("setup") < 0.2 * PAGES  # a few more tensors may be needed until the heap has room for all


def test_numbers_too_small_for_fast_arithmetic_count_as_0_in_all_threads() -> None:
    done = subprocess.run([sys.executable, "-c", TINY], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
