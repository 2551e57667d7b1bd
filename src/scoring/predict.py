"""Weights and photographs in, probabilities of `pet` out: what scoring and inference share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.checkpoint import Weights
from shared.inputs import unit

# of test-time augmentation
SCALES: dict[str, Sequence[float]] = {"none": [1], "flip": [1], "flip_scales": [0.75, 1, 1.25]}


class Predictor:
    """A trained network. `tta` flip averages over the photograph and its mirror image, flip_scales also over SCALES."""

    def __init__(self, weights: Weights, tta: str, device: torch.device) -> None:
        self.weights, self.tta, self.device = weights, tta, device
        self.network = weights.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 as (B, H, W) probabilities, on the predictor's device."""
        colours = unit(images.to(self.device))
        height, width = colours.shape[-2:]
        total = colours.new_zeros(len(colours), 1, height, width)
        for scale in SCALES[self.tta]:
            view = resized(colours, round(scale * height), round(scale * width))
            total += resized(self._seen(view), height, width)
        return total[:, 0] / len(SCALES[self.tta])

    def _seen(self, view: Tensor) -> Tensor:
        found = self._probabilities(view)
        return found if self.tta == "none" else (found + self._probabilities(view.flip(-1)).flip(-1)) / 2

    def _probabilities(self, view: Tensor) -> Tensor:
        return self.weights.probabilities(self.network, view).unsqueeze(1)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) at another size: bilinear, and like Pillow's it averages when it shrinks."""
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True)
