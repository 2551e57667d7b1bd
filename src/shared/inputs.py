"""From cached pixels to what a network sees: input modes and normalisation, on whatever device the pixels are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = {"rgb": 3, "gray": 1, "gray_edges": 2}
LUMA = (0.299, 0.587, 0.114)


def unit(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 as (B, 3, H, W) float between 0 and 1, channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def gray(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def edges(grays: Tensor) -> Tensor:
    """Length of the Sobel gradient; the picture's own edge counts as flat."""
    x = F.pad(grays, (1, 1, 1, 1), mode="replicate")
    across = x[..., 2:] - x[..., :-2]
    down = x[..., 2:, :] - x[..., :-2, :]
    horizontal = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    vertical = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    # torch.sqrt is MKL's on a CPU, and its last bits differ between makes of processors.
    return torch.linalg.vector_norm(torch.stack([horizontal, vertical]), dim=0) / 4


def in_mode(images: Tensor, mode: str) -> Tensor:
    """(B, 3, H, W) colours as the channels of an input mode."""
    if mode == "rgb":
        return images
    grays = gray(images)
    return grays if mode == "gray" else torch.cat([grays, edges(grays)], 1)


def normalised(images: Tensor, mode: str, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, H, W) colours as a network's input."""
    return (in_mode(images, mode) - per_channel(tuple(mean), images.device)) / per_channel(tuple(std), images.device)


@lru_cache
def per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Kept on the device: a copy at each step would make a GPU wait."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def statistics(pixels: Tensor, mode: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each input channel over a split; pixels are (N, H, W, 4) uint8."""
    count, total, squares = 0, torch.zeros(CHANNELS[mode]).double(), torch.zeros(CHANNELS[mode]).double()
    for chunk in pixels.split(64):
        x = in_mode(unit(chunk[..., :3]), mode).double()
        count += x.numel() // x.shape[1]
        total += x.sum((0, 2, 3)).cpu()
        squares += x.square().sum((0, 2, 3)).cpu()
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return [round(float(v), 5) for v in mean], [round(float(v), 5) for v in std]


def logits(output: Tensor) -> Tensor:
    """(B, H, W) log-odds of `pet`, from one output channel or from two classes (background, pet)."""
    return output[:, 0] if output.shape[1] == 1 else output[:, 1] - output[:, 0]
