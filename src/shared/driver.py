"""The NVIDIA driver, and why torch sees no GPU. Needs no torch, so `make` asks here before it installs one."""

from __future__ import annotations

import re
import subprocess
import sys

NEEDED = {"13": ("cu130", 580), "12": ("cu126", 525)}  # for each CUDA: the build of torch and its first driver on Linux


def driver() -> str | None:
    """Its version where `nvidia-smi` answers."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    version = re.match(r"\d+[\d.]*", answer)
    return version[0] if version else None


def no_gpu(cuda: str | None) -> str:
    """Why a torch that was built for this CUDA sees no GPU, and what to do; None: it was built without CUDA."""
    if sys.platform == "darwin":
        return "the GPU of a Mac is not used"
    version = driver()
    return (version and unfit(version, cuda)) or "no GPU here"


def unfit(version: str, cuda: str | None) -> str:
    """What is wrong with a driver of this version, if something is."""
    installed = int(version.split(".")[0])
    build = next((name for name, first in NEEDED.values() if installed >= first), None)
    instead = f"run `make TORCH={build}`" if build else "install a newer driver"
    if cuda is None:
        return f"this torch has no CUDA for NVIDIA driver {version} ({instead})"
    major = cuda.split(".")[0]
    _, needed = NEEDED.get(major, ("", 0))
    if installed >= needed:
        return ""
    newer = f"install a newer driver or {instead}" if build else instead
    return f"NVIDIA driver {version} is too old for this torch (built for CUDA {major}, needs {needed}: {newer})"


def before_installing(build: str) -> str:
    """What to know before this build of torch is fetched, if there is something."""
    cuda = {name: major for major, (name, _) in NEEDED.items()}.get(build)
    if not cuda or sys.platform != "linux":
        return ""  # torch brings CUDA for Linux alone
    version = driver()
    return unfit(version, cuda) if version else "no NVIDIA card here: `make TORCH=cpu` would save 3.5 GB"


if __name__ == "__main__":
    if line := before_installing(sys.argv[1]):
        print(line)
