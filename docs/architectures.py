"""Write docs/architectures.md from the networks themselves: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from models.resnet34_unet import ResNet34UNet
from models.unet import UNet

SIDE = 256
STAGES = {
    "unet": [*(f"encoder.{n}" for n in range(5)), *(f"decoder.{n}" for n in range(4)), "head"],
    "resnet34_unet": [
        *("encoder.conv1", "encoder.layer1", "encoder.layer2", "encoder.layer3", "encoder.layer4"),
        *(f"decoder.{n}" for n in range(5)),
        "head",
    ],
}


def rows(network: nn.Module, stages: list[str]) -> list[str]:
    """A line for each stage: name, output shape, parameters, GFLOP of a forward pass."""
    shapes: dict[str, str] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.__setitem__(name, " x ".join(map(str, output.shape[1:])))
        )
        for name in stages
    ]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    counts = {key.partition(".")[2]: sum(value.values()) for key, value in counter.get_flop_counts().items()}
    lines = [
        f"| {name} | {shapes[name]} | {size(network.get_submodule(name)):,} | {counts[name] / 1e9:.2f} |"
        for name in stages
    ]
    return [
        *lines,
        f"| **all** | 1 x {SIDE} x {SIDE} | **{size(network):,}** | **{counter.get_total_flops() / 1e9:.2f}** |",
    ]


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def text() -> str:
    parts = [
        "# The two networks",
        "",
        f"Made by `make docs` from `src/models/`, at {SIDE} x {SIDE} pixels and full width. A multiplication and an",
        "addition count as two FLOPs; forward only, a training step takes three times as many.",
    ]
    for name, network in (("unet", UNet()), ("resnet34_unet", ResNet34UNet())):
        parts += [
            "",
            f"## {type(network).__name__}",
            "",
            "| stage | output | parameters | GFLOP |",
            "|---|---|---:|---:|",
        ]
        parts += rows(network.eval(), STAGES[name])
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "architectures.md").write_text(text(), encoding="utf-8")
