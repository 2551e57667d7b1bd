"""Several processes as one: each takes its share of every batch; together they take the steps of a single one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils import Refusal

PATIENCE = timedelta(minutes=5)  # a process that is silent for longer is lost; gloo alone would wait for half an hour
# What gloo says of a process that is gone; it raises plain RuntimeErrors.
GONE = ("gloo/transport", "pair closure", "Connection closed", "Connection reset")


def launched() -> bool:
    """Is this process one of several that torchrun started?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def wanted(processes: int | Literal["auto"]) -> int:
    return max(1, torch.cuda.device_count()) if processes == "auto" else processes


def launch(count: int, command: Sequence[str]) -> None:
    """Run this script again as `count` processes of one machine, through torchrun."""
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise Refusal(
            f"params.yaml: train.processes = {count}, but there are only {torch.cuda.device_count()} GPUs here; "
            "auto takes all of them",
            2,
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ  # torchrun warns without it; params.yaml says how many
    with subprocess.Popen([*torchrun, *command], env=environment) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # torchrun ends its processes with it
            raise
    if code:
        raise Refusal(
            f"one of {count} processes ended early (exit {code}), its lines above say why; "
            "whole epochs are kept, run again to go on"
        )


def join() -> None:
    if launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


@contextmanager
def lost() -> Iterator[None]:
    """A process that is gone or cannot be reached, in one line."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(text in str(error) for text in GONE):
            raise
        raise Refusal(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} has lost another one, which ended or cannot "
            f"be reached ({str(error).splitlines()[0]}); whole epochs are kept, run the same again to go on"
        ) from None


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def from_first(value: Any) -> Any:
    """The first process's value, in all of them."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def summed(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if size() > 1:
        dist.all_reduce(values)
    return values


def wrapped(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with gradients averaged over the processes."""
    if size() == 1:
        return network
    return nn.parallel.DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)


def synchronised_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """With the statistics of BatchNorm over all processes, which only CUDA can compute."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if size() > 1 and device.type == "cuda" else network


def align_buffers(network: nn.Module) -> None:
    """The first process's running statistics, in all of them: gloo has no synchronised BatchNorm."""
    if size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)
