"""Where the arithmetic runs, and what is said about it beside the metrics."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

from shared.driver import driver
from utils import Refusal

# Without these, libraries take other kernels on an x86-64 processor by another maker, or with wider vectors: other last
# bits. Elsewhere torch would only warn of the names.
X86 = platform.machine() in ("x86_64", "AMD64")
SAME_ON_EVERY_MAKE = {"MKL_CBWR": "COMPATIBLE"} if X86 else {}
SAME_ON_EVERY_WIDTH = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"} if X86 else {}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def setup(threads: int, deterministic: bool = True, portable: bool = False) -> torch.device:
    """The device to use, set up so that equal inputs give equal bytes (unless told to be fast instead).

    `portable`: on a CPU also the bytes of any other x86-64 with AVX2, in up to twice the time; for fp32 only, since
    bf16 has arithmetic of its own on each. The libraries read these variables when they first compute.
    """
    # Momentum and decay draw what is not used towards 0, and numbers below 1e-38 cost a processor many times the work.
    torch.set_flush_denormal(True)  # so they count as 0
    torch.set_num_threads(threads)
    gpu = torch.cuda.is_available()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it; must precede its first use
        for name, value in (SAME_ON_EVERY_MAKE | (SAME_ON_EVERY_WIDTH if portable and not gpu else {})).items():
            os.environ.setdefault(name, value)
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads what it did not write
    torch.backends.cudnn.benchmark = not deterministic
    if not gpu:
        keep_freed_memory()
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    refuse_unusable(device)
    torch.backends.cuda.matmul.allow_tf32 = True  # as in convolutions; Muon's rounds are products of fp32
    return device


def refuse_unusable(device: torch.device) -> None:
    """A GPU that is too old for this build of torch, or full, is there all the same, until it shall compute."""
    try:
        torch.ones(1, device=device).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        name = torch.cuda.get_device_name(device)
        advice = "run `make TORCH=cu126`" if "no kernel image" in reason else "see with `nvidia-smi` who uses it"
        raise Refusal(
            f"{name}: this torch cannot compute on it ({reason}); {advice}, or hide the GPU and take the CPU: "
            "CUDA_VISIBLE_DEVICES= before the command"
        ) from None


def keep_freed_memory() -> None:
    """Each step takes the memory of the last one. New pages from the system would come filled with zeros first."""
    if platform.libc_ver()[0] == "glibc":
        for threshold in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(threshold, 2**31 - 1)


def environment(device: torch.device) -> dict[str, str | int]:
    """What can change the last bits of a result; the same text on every run on one machine, and no name of it."""
    found: dict[str, str | int] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "cpu": cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        found |= {"cudnn": str(torch.backends.cudnn.version()), "driver": driver() or "unknown"}
    return found


def cpu() -> str:
    """The vectors that are used here, and beyond AVX2 what the processor has for bf16."""
    used = torch.backends.cpu.get_cpu_capability()
    if used != "AVX512":
        return used
    has = torch.cpu.get_capabilities()
    return " ".join([used, *(name for key, name in (("avx512_bf16", "BF16"), ("amx_bf16", "AMX")) if has.get(key))])
