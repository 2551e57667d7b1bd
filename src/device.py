"""Where the arithmetic runs, and what is said about it beside the metrics."""

from __future__ import annotations

import os
import platform

import torch


def setup(threads: int, deterministic: bool = True) -> torch.device:
    """The device to use, set up so that equal inputs give equal bytes (unless told to be fast instead)."""
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it; must precede its first use
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads what it did not write
    torch.backends.cudnn.benchmark = not deterministic
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def environment(device: torch.device) -> dict[str, str | int]:
    """What can change the last bits of a result; the same text on every run on one machine, and no name of it."""
    found: dict[str, str | int] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        found["cudnn"] = str(torch.backends.cudnn.version())
    return found
