"""A network in ONNX whose convolutions count in 8 bits, for the values that photographs bring about in them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import quantization
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from photos import SUFFIXES, Unusable, open_square
from utils import Refusal

MOST = 100  # photographs; more change nothing that Dice would show
# The layers that work on feature maps.
LAYERS = ["Conv", "ConvTranspose", "MaxPool", "Concat"]


class Squares(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Gives the input of one photograph after another, then None."""

    def __init__(self, name: str, photographs: Sequence[Path], side: int) -> None:
        self.inputs = iter([{name: opened(photograph, side)[None]} for photograph in photographs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.inputs, None)


def opened(photograph: Path, side: int) -> np.ndarray:
    try:
        return np.asarray(open_square(photograph, side))
    except Unusable as reason:
        raise Refusal(f"{photograph}: {reason}; remove it from the folder of --int8") from None


def in_folder(folder: Path) -> list[Path]:
    """At most MOST photographs, evenly spread over the folder's."""
    if not folder.is_dir():
        raise Refusal(f"{folder}: no such folder; --int8 takes a folder of photographs, such as those of the training")
    found = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise Refusal(f"{folder}: holds no photographs ({' '.join(sorted(SUFFIXES))})")
    return [found[place] for place in np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int)]


def in_int8(model: Any, photographs: Sequence[Path], side: int) -> bytes:
    """The model with LAYERS in int8, each channel on its own scale; the first and the last convolution stay in fp32.

    Weights have 7 bits: with 8, processors with AVX2 and no VNNI overflow where they add two products.
    """
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    squares = Squares(model.graph.input[0].name, photographs, side)
    add_pre_process_metadata(model)  # or it advises to join BatchNorm with convolutions, which the exporter has done
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "int8.onnx")
        quantization.quantize_static(
            model,
            file,
            squares,
            op_types_to_quantize=LAYERS,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            per_channel=True,
            reduce_range=True,
        )
        return file.read_bytes()
