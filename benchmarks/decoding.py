"""Photographs as a plain solution reads them: decoded and resized each time they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from oxford_pet import foreground

Pair = tuple[np.ndarray, np.ndarray]


class Decoding(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, dataset: Path, names: Sequence[str], side: int) -> None:
        self.dataset, self.names, self.side = dataset, names, side

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(3, H, W) in uint8 and a mask (H, W)."""
        image, trimap = pil_pair(self.dataset, self.names[index], self.side)
        return torch.from_numpy(image.transpose(2, 0, 1)), torch.from_numpy(foreground(trimap))


def pil_pair(dataset: Path, name: str, side: int) -> Pair:
    """The least that PIL can do."""
    with open_photograph(dataset, name) as image, open_trimap(dataset, name) as trimap:
        small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        return np.array(small), np.array(trimap.resize((side, side), Image.Resampling.NEAREST))


def course_pair(dataset: Path, name: str, side: int) -> Pair:
    """What the course's class does: whole arrays first, and the mask in floating point."""
    with open_photograph(dataset, name) as image, open_trimap(dataset, name) as trimap:
        whole, mask = np.array(image.convert("RGB")), np.array(trimap).astype(np.float32)
    mask[mask == 2] = 0
    mask[(mask == 1) | (mask == 3)] = 1
    small = Image.fromarray(whole).resize((side, side), Image.Resampling.BILINEAR)
    return np.array(small), np.array(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST))


def open_photograph(dataset: Path, name: str) -> Image.Image:
    return Image.open(dataset / "images" / f"{name}.jpg")


def open_trimap(dataset: Path, name: str) -> Image.Image:
    return Image.open(dataset / "annotations" / "trimaps" / f"{name}.png")
