"""UNet whose encoder is ResNet-34 (arXiv 1512.03385)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from models.parts import Conv, Decode, DoubleConv, EncoderDecoder, initialise, padded_to
from params.values import BelowOne, Channels, Count, Flag, Padding, Upsample, Whole

STAGES = (3, 4, 6, 3)  # basic blocks of each stage
REDUCTION = 32  # of height and width, by the whole encoder
DEPTH = len(STAGES) + 1  # steps of the decoder
DECODER = [256, 128, 64, 32, 16]  # its channels at full width

DecoderChannels = Annotated[list[Annotated[Count, Field(le=4096)]], Field(min_length=DEPTH, max_length=DEPTH)]
BridgeChannels = Annotated[Whole, Field(ge=0, le=8192)]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, padding: str, affine: bool) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride, padding=padding, bias=not affine)
        self.bn1 = nn.BatchNorm2d(outputs, affine=affine)
        self.conv2 = Conv(outputs, outputs, padding=padding, bias=not affine)
        self.bn2 = nn.BatchNorm2d(outputs, affine=affine)
        self.downsample = (
            nn.Sequential(Conv(inputs, outputs, 1, stride, bias=not affine), nn.BatchNorm2d(outputs, affine=affine))
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class ResNet34Encoder(nn.Module):
    """Features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size. Its modules bear torchvision's names."""

    def __init__(self, in_channels: int = 3, width: int = 64, *, padding: str = "zeros", affine: bool = True) -> None:
        super().__init__()
        self.channels = [width, *(width * 2**stage for stage in range(len(STAGES)))]
        self.conv1 = Conv(in_channels, width, 7, 2, padding=padding, bias=not affine)
        self.bn1 = nn.BatchNorm2d(width, affine=affine)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, (inputs, outputs) in enumerate(pairwise(self.channels), 1):
            blocks = [BasicBlock(inputs, outputs, 1 if number == 1 else 2, padding=padding, affine=affine)]
            blocks += [
                BasicBlock(outputs, outputs, 1, padding=padding, affine=affine) for _ in range(STAGES[number - 1] - 1)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [F.relu(self.bn1(self.conv1(image)), inplace=True)]
        x = self.maxpool(features[0])
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            features.append(x)
        return features


class ResNet34UNet(EncoderDecoder):
    """`width` is the number of channels of the stem.

    The decoder meets every scale of the encoder, the stem included; its last step, at full size, has no skip.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        width: Channels = 64,
        upsample: Upsample = "nearest",
        padding: Padding = "zeros",
        dropout: BelowOne = 0.0,
        attention: Flag = False,
        norm_affine: Flag = True,
        decoder: DecoderChannels = DECODER,
        bridge: BridgeChannels = 0,
    ) -> None:
        super().__init__()
        self.encoder = ResNet34Encoder(in_channels, width, padding=padding, affine=norm_affine)
        *skips, deepest = self.encoder.channels
        self.bridge = DoubleConv(deepest, bridge, padding=padding, affine=norm_affine) if bridge else nn.Identity()
        self.decoder = nn.ModuleList(
            Decode(
                inputs,
                inputs,
                skip,
                outputs,
                upsample=upsample,
                padding=padding,
                dropout=dropout,
                attention=attention,
                affine=norm_affine,
            )
            for (inputs, outputs), skip in zip(
                pairwise([bridge or deepest, *decoder]), [*reversed(skips), 0], strict=True
            )
        )
        self.head = Conv(decoder[-1], out_channels, bias=True, padding=padding)
        initialise(self)

    def decoded(self, image: Tensor) -> list[Tensor]:
        *skips, x = self.encoder(padded_to(REDUCTION, image))
        x = self.bridge(x)
        features = []
        for step, skip in zip(self.decoder, [*reversed(skips), None], strict=True):
            x = step(x, skip)
            features.append(x)
        return features
