"""What a weights file says about itself."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from params import flat
from shared.checkpoint import Origin, SplitUsed, Weights, hash_of_tensors
from utils import printable

WIDTH, INDENT = 110, 18


def about(file: Path, weights: Weights) -> str:
    """The file's name and a line for each thing, long ones wrapped."""
    parameters = sum(parameter.numel() for parameter in weights.build().parameters())
    said = {
        "network": f"{weights.network}, {parameters:,} parameters; {words(weights.config)}",
        "sees": f"{weights.input}, squares of {weights.image_size} pixels",
        "tensors": f"sha256 {hash_of_tensors(weights)}",
        **origin_of(weights.origin),
        "environment": words(weights.environment) or "not known",
    }
    return "\n".join([printable(str(file)), *(line(name, text) for name, text in said.items())])


def origin_of(origin: Origin | None) -> dict[str, str]:
    if origin is None:
        unknown = ("seed", "trained on", "validated on", "code", "best epoch", "threshold", "parameters")
        return dict.fromkeys(unknown, "not known: these weights do not say it")
    return {
        "seed": str(origin.seed),
        **split("trained on", "train", origin.train),
        **split("validated on", "valid", origin.valid),
        "code": f"sha256 {origin.code}",
        "best epoch": f"{origin.best_epoch}, with a validation Dice of {origin.valid_dice:.4f}",
        "threshold": f"{origin.threshold}, the best on the {origin.valid.photographs:,} validation photographs",
        "parameters": words(origin.params),
    }


def split(verb: str, name: str, used: SplitUsed) -> dict[str, str]:
    return {
        verb: f"{used.photographs:,} photographs",
        f"{name} names": f"sha256 {used.names}",
        f"{name} pixels": f"sha256 {used.pixels}",
    }


def words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in flat(values))


def line(name: str, text: str) -> str:
    wrapped = textwrap.wrap(printable(text), WIDTH - INDENT, break_on_hyphens=False)
    return textwrap.indent("\n".join(wrapped), " " * INDENT).replace(" " * INDENT, f"  {name:{INDENT - 2}}", 1)
