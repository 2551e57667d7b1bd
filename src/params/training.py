"""The section `train` of params.yaml, and what one network has in place of its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from oxford_pet import SIDES
from params import overlaid
from params.values import BelowOne, Count, Flag, NotNegative, Number, Positive, Section, Share, Whole

Side = Annotated[Whole, Field(ge=SIDES.start, lt=SIDES.stop)]


class Augment(Section):
    hflip: Share
    vflip: Share
    rotate: Annotated[Number, Field(ge=0, le=180)]
    scale: Annotated[Number, Field(ge=0, le=4)]
    translate: BelowOne
    crop: BelowOne
    elastic: Annotated[Number, Field(ge=0, le=0.5)]
    elastic_p: Share
    brightness: BelowOne
    contrast: BelowOne
    saturation: BelowOne
    gray: Share
    blur: Annotated[Number, Field(ge=0, le=10)]
    cutout: BelowOne


class Train(Section):
    epochs: Annotated[Count, Field(le=100_000)]
    batch_size: Annotated[Count, Field(le=1_000_000)]
    sizes: list[Side]
    shuffle: Flag
    input: Literal["rgb", "gray", "gray_edges"]
    loss: Literal["bce", "ce", "dice", "bce_dice"]
    dice_weight: Share
    border_weight: Annotated[Number, Field(ge=0, le=100)]
    deep_supervision: Share
    optimizer: Literal["adam", "adamw", "muon", "sgd", "rmsprop"]
    lr: Annotated[Positive, Field(le=10)]
    weight_decay: Annotated[NotNegative, Field(le=10)]
    momentum: BelowOne
    schedule: Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]
    warmup: NotNegative
    lr_min: NotNegative
    step_size: Count
    gamma: Annotated[Positive, Field(le=1)]
    plateau_patience: Annotated[Whole, Field(ge=0)]
    clip: NotNegative
    ema: BelowOne
    patience: Annotated[Whole, Field(ge=0)]
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: Flag
    compile: Flag
    deterministic: Flag
    processes: Literal["auto"] | Annotated[Count, Field(le=4096)]
    augment: Augment


def of_network(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The section `train` with what `NAME.train` has in place of its values."""
    return overlaid(values["train"], values[name]["train"])
