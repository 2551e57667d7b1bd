"""Deep supervision (arXiv 1409.5185): while it learns, a network draws the mask at coarser scales too."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.parts import Decode, EncoderDecoder, bilinear_x2

SCALES = 3  # 1/2, 1/4 and 1/8 of the size: the decoder's steps before its last


class DeepSupervision(nn.Module):
    """The network's logits and, below them in the batch, those of each coarser scale, finest first, enlarged.

    Only training sees the coarser heads: `network` is what validates and is kept.
    """

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network
        before_the_last = list(network.decoder)[-2::-1]  # the finest first
        steps = [cast(Decode, step) for step in before_the_last[:SCALES]]
        self.heads = nn.ModuleList(nn.Conv2d(step.channels, network.head.out_channels, 1) for step in steps)

    def forward(self, image: Tensor) -> Tensor:
        finest, *coarser = reversed(self.network.decoded(image))
        masks = [self.network.head(finest)]
        for times, (head, features) in enumerate(zip(self.heads, coarser, strict=False), 1):
            mask = head(features)
            for _ in range(times):
                mask = bilinear_x2(mask)
            masks.append(mask)
        return torch.cat(masks)[..., : image.shape[-2], : image.shape[-1]]
