"""The table of networks: all that differs between them is a name looked up here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.parts import EncoderDecoder
from models.resnet34_unet import ResNet34UNet
from models.unet import UNet

NETWORKS: dict[str, type[EncoderDecoder]] = {"unet": UNet, "resnet34_unet": ResNet34UNet}


def build(name: str, in_channels: int, out_channels: int, config: Mapping[str, Any]) -> EncoderDecoder:
    return NETWORKS[name](in_channels=in_channels, out_channels=out_channels, **config)
