"""UNet (arXiv 1505.04597) with padded convolutions and BatchNorm."""

from __future__ import annotations

from torch import Tensor, nn

from models.parts import Conv, Decode, DoubleConv, EncoderDecoder, initialise, padded_to
from params.values import BelowOne, Channels, Flag, Padding, Upsample

DEPTH = 4  # times the height and width are halved


class UNet(EncoderDecoder):
    """`width` is the number of channels at full resolution."""

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        width: Channels = 64,
        upsample: Upsample = "transposed",
        padding: Padding = "zeros",
        dropout: BelowOne = 0.0,
        attention: Flag = False,
        norm_affine: Flag = True,
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(DEPTH + 1)]
        self.encoder = nn.ModuleList(
            DoubleConv(inputs, outputs, padding=padding, affine=norm_affine)
            for inputs, outputs in zip([in_channels, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(
            Decode(
                2 * outputs,
                outputs,
                outputs,
                outputs,
                upsample=upsample,
                padding=padding,
                dropout=dropout,
                attention=attention,
                affine=norm_affine,
            )
            for outputs in reversed(channels[:-1])
        )
        self.head = Conv(width, out_channels, 1, bias=True)
        initialise(self)

    def decoded(self, image: Tensor) -> list[Tensor]:
        x = self.encoder[0](padded_to(2**DEPTH, image))
        skips = []
        for stage in self.encoder[1:]:
            skips.append(x)
            x = stage(self.pool(x))
        features = []
        for step in self.decoder:
            x = step(x, skips.pop())
            features.append(x)
        return features
