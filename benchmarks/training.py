"""A training step of our ResNet34-UNet against segmentation_models_pytorch's Unet(resnet34), like for like.

Same size, precision, batch and loop.

python benchmarks/training.py [--side 256] [--batch 8] [--precision bf16] [--threads 2]

Both run the same loop, in turn, so that another load on the machine falls on both; the ratio is of medians, with the
range over the repetitions behind it. Above 1: ours is faster.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import device
from engine import PRECISIONS
from models.resnet34_unet import ResNet34UNet

REPETITIONS = 7
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=list(PRECISIONS), default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    where = device.setup(args.threads)
    torch.manual_seed(0)
    networks = {"ours": ResNet34UNet(), "theirs": smp.Unet("resnet34", encoder_weights=None)}
    steps = {name: Step(network, args, where) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(WARM_UP + REPETITIONS):
        for name, step in steps.items():
            took = step.timed()
            if repetition >= WARM_UP:
                seconds[name].append(took)
    found = device.environment(where)
    print(f"{found['device']}, {found['cpu']}, {args.threads} threads, torch {found['torch']}")
    print(f"{args.side} px, batch {args.batch}, {args.precision}, channels_last, {REPETITIONS} repetitions in turn")
    for name, network in networks.items():
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        print(
            f"{name:7} {millions:.2f} M parameters  {args.batch / statistics.median(seconds[name]):7.2f} photographs/s"
        )
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)]
    print(f"ours over theirs: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


class Step:
    """Forward, backward and the optimiser's step on one batch."""

    def __init__(self, network: nn.Module, args: argparse.Namespace, where: torch.device) -> None:
        self.network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        self.precision = PRECISIONS[args.precision]
        shape = (args.batch, 3, args.side, args.side)
        self.images = torch.randn(shape, device=where).contiguous(memory_format=torch.channels_last)
        self.truth = (torch.rand(args.batch, 1, args.side, args.side, device=where) > 0.5).float()

    def timed(self) -> float:
        start = time.perf_counter()
        with torch.autocast(self.images.device.type, self.precision, enabled=self.precision != torch.float32):
            output = self.network(self.images)
        loss = F.binary_cross_entropy_with_logits(output.float(), self.truth)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        loss.item()
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
