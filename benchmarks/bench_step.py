"""A training step of our ResNet34-UNet against segmentation_models_pytorch's Unet(resnet34), like for like."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from bench_training import precision_for
from learning.engine import PRECISIONS
from measure import Row, hardware, optional, races
from models.resnet34_unet import ResNet34UNet
from place import Place

SIDE, BATCH = 256, 8


def rows(_: Place) -> Iterator[Row]:
    theirs = optional("segmentation_models_pytorch").Unet("resnet34", encoder_weights=None)
    where = hardware()
    precision = precision_for(where)
    works = {
        "step of resnet34_unet": Step(ResNet34UNet(), precision, where).run,
        "segmentation_models_pytorch": Step(theirs, precision, where).run,
    }
    yield from races("step", works, 7, f"batch {BATCH} at {SIDE} px, {precision}, channels_last, AdamW")


class Step:
    """Forward, backward and the optimiser's step on one batch."""

    def __init__(self, network: nn.Module, precision: str, where: torch.device) -> None:
        self.network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        self.precision = PRECISIONS[precision]
        images = torch.randn(BATCH, 3, SIDE, SIDE, device=where)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.truth = (torch.rand(BATCH, 1, SIDE, SIDE, device=where) > 0.5).float()

    def run(self) -> int:
        with torch.autocast(self.images.device.type, self.precision, enabled=self.precision != torch.float32):
            output = self.network(self.images)
        loss = F.binary_cross_entropy_with_logits(output.float(), self.truth)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return len(self.images)
