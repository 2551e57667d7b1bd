"""What weights are made from, as hashes that anybody can compute again, and the threshold that suits them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oxford_pet import SimpleOxfordPetDataset
from shared.checkpoint import SplitUsed, Weights
from shared.inputs import unit
from shared.thresholds import best_threshold, threshold_curves


def split_used(cached: SimpleOxfordPetDataset) -> SplitUsed:
    """The number of photographs, and hashes of their names and of their pixels."""
    names = "".join(f"{row['name']}\n" for row in cached.rows())
    pixels = hashlib.sha256()
    for photograph in cached.pixels:
        pixels.update(np.ascontiguousarray(photograph).data)
    return SplitUsed(len(cached), hashlib.sha256(names.encode()).hexdigest(), pixels.hexdigest())


def hash_of_code(files: Mapping[str, Path]) -> str:
    """Of the lines that `sha256sum` prints for the files, in the order of their names."""
    lines = [f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@torch.inference_mode()
def threshold_of(weights: Weights, valid: Tensor, device: torch.device, border: str) -> float:
    """What evaluation would choose for these weights on validation, without test-time augmentation."""
    network = weights.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps(images: Tensor) -> Tensor:
        return weights.probabilities(network, unit(images.to(device))).unsqueeze(1)

    return best_threshold(threshold_curves(maps, valid, border, lambda _: None)[0])
