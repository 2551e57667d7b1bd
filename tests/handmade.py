"""Weights whose behaviour is known without training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from models import build
from shared.checkpoint import Origin, SplitUsed, Weights

GRAY = 0.45  # between the pretend pets and their background


def bright(side: int = 32, level: float = GRAY) -> Weights:
    """A UNet that calls pet what is brighter than `level`: all but one path through it is zero."""
    network = build("unet", 3, 1, {"width": 1})
    state = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    for name in state:
        if name.endswith("running_var") or (name.endswith("1.weight") and state[name].dim() == 1):
            state[name].fill_(1)  # BatchNorm that changes nothing
    first, last = "encoder.0", "decoder.3.convs"
    state[f"{first}.0.0.weight"][0, :, 1, 1] = 1 / 3
    state[f"{first}.2.0.weight"][0, 0, 1, 1] = 1
    state[f"{last}.0.0.weight"][0, 0, 1, 1] = 1  # channel 0 is the skip connection
    state[f"{last}.2.0.weight"][0, 0, 1, 1] = 1
    state["head.weight"].fill_(40)
    state["head.bias"].fill_(-40 * level)
    return weights("unet", {"width": 1}, state, side)


def with_origin(weights: Weights, threshold: float = 0.62, validated: int = 60) -> Weights:
    """As if a training of so many validation photographs had chosen this threshold."""
    train, valid = SplitUsed(540, "a" * 64, "b" * 64), SplitUsed(validated, "c" * 64, "d" * 64)
    params = {"data": {"image_size": weights.image_size}, "train": {"epochs": 9, "lr": 0.01, "augment": {"hflip": 0.5}}}
    return replace(weights, origin=Origin(42, params, train, valid, "e" * 64, 7, 0.875, threshold))


def untrained(name: str = "resnet34_unet", side: int = 32, **config: Any) -> Weights:
    config = {"width": 2, **({"decoder": [8, 4, 2, 2, 2]} if name == "resnet34_unet" else {}), **config}
    torch.manual_seed(0)
    return weights(name, config, build(name, 3, 1, config).state_dict(), side)


def weights(name: str, config: dict[str, Any], state: dict[str, torch.Tensor], side: int) -> Weights:
    return Weights(name, config, 1, "rgb", [0.0] * 3, [1.0] * 3, side, {}, state)
