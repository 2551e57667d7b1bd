"""The title, colour and marker of each network, in every picture. Free of matplotlib, so that inference can use it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import NamedTuple


class Look(NamedTuple):
    title: str
    colour: str  # told apart without red and green (Okabe and Ito)
    marker: str


KNOWN = {
    "unet": Look("UNet", "#0072B2", "o"),
    "resnet34_unet": Look("ResNet34-UNet", "#E69F00", "s"),
    "ensemble": Look("Ensemble", "#CC79A7", "D"),
}
OTHERS = (("#009E73", "^"), ("#7F5F00", "v"), ("#000000", "P"), ("#8C8C8C", "X"))


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A network that is not in the table is called by its name and takes the next free colour."""
    free = cycle(OTHERS)
    return {name: KNOWN[name] if name in KNOWN else Look(name, *next(free)) for name in names}
