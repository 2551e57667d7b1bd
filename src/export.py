"""A network for other programs, as an ONNX file.

Its input `photographs` is what Pillow, NumPy, OpenCV and a browser's canvas hold: bytes, with red, green and blue last,
(N, height, width, 3) in uint8. No program has to know how to scale or to normalise them. Its output `probabilities` is
(N, height, width) in float32: how probable it is that a pixel is pet. They are PyTorch's to 1e-4.

N, height and width are free, as in PyTorch; the network is best at squares of `image_size` pixels, into which training
squeezed its photographs. The file's metadata say what a mask needs beside that: docs/export.md has an example.
"""

# --help is answered before the slow imports.
# ruff: noqa: E402

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from utils import Refusal, described, printable, run, write_bytes


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="W", help="saved_models/*.pth")
    add("--out", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    text = "count in 8 bits: a quarter of the size; takes some photographs of the kind that it will see"
    add("--int8", type=Path, metavar="FOLDER", help=text)
    return parser.parse_args(words)


if __name__ == "__main__":
    ARGS = arguments()

import torch
from torch import Tensor, nn

from models import parts
from oxford_pet import BORDERS
from params import flat
from shared import checkpoint, device
from shared.checkpoint import Weights, hash_of_tensors
from shared.inputs import unit

OPSET = 17  # of 2022, so that older programs read it too
INPUT, OUTPUT, AXES = "photographs", "probabilities", ("photograph", "height", "width")
# Sides that no network halves evenly, so that what is traced pads its input. Even sides are then padded by nothing.
EXAMPLE = (2, 67, 45, 3)


class Exported(nn.Module):
    """Bytes in, probabilities out."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights, self.network = weights, weights.build().requires_grad_(False)

    def forward(self, photographs: Tensor) -> Tensor:
        return self.weights.probabilities(self.network, unit(photographs))


def main(args: argparse.Namespace) -> None:
    weights = checkpoint.load(args.weights)
    refuse_place(args.out, args.weights)
    device.setup(torch.get_num_threads())
    content = exported(weights, args.int8)
    write_bytes(args.out, content)
    print(printable(f"{args.out}: {weights.network}, {len(content) / 1e6:.1f} MB"))


def refuse_place(out: Path, weights: Path) -> None:
    if out.is_dir():
        raise Refusal(f"{out}: is a folder; --out takes a file")
    if out.exists() and out.samefile(weights):
        raise Refusal(f"{out}: is the weights file and would be overwritten; choose another --out")


def exported(weights: Weights, photographs: Path | None = None) -> bytes:
    """The same bytes each time, and nothing of this machine in them; with photographs, in int8."""
    onnx = extra("onnx")
    model = onnx.load_from_string(traced(weights))
    if photographs:
        extra("onnxruntime")
        int8 = import_module("commands.int8")
        model = onnx.load_from_string(int8.in_int8(model, int8.in_folder(photographs), weights.image_size))
    for node in model.graph.node:
        node.ClearField("doc_string")  # may name files of this machine
    onnx.helper.set_model_props(model, metadata(weights, "int8" if photographs else "fp32"))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def extra(package: str) -> Any:
    """A package that is not among those of requirements.txt."""
    try:
        return import_module(package)
    except ModuleNotFoundError:
        advice = "`make extra` installs it, or `pip install -r requirements-extra.txt`"
        raise Refusal(f"the package {package} is missing: {advice}") from None


def traced(weights: Weights) -> bytes:
    network, example, file = Exported(weights).eval(), torch.zeros(EXAMPLE, dtype=torch.uint8), io.BytesIO()
    axes = dict(enumerate(AXES))
    with torch.no_grad(), warnings.catch_warnings(), any_side():
        # They are of this exporter's age; but the newer one (dynamo) fixes whether sides are padded.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            file,  # type: ignore[arg-type]  # this exporter takes a buffer too
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: axes, OUTPUT: axes},
        )
    return file.getvalue()


@contextmanager
def any_side() -> Iterator[None]:
    """Reflection padding without the `if` of ours, which tracing would decide for ever by the example's sides."""

    def reflect(x: Tensor, width: int, dim: int) -> Tensor:
        last = x.shape[dim] - 1
        places = torch.arange(-width, last + width + 1).abs()
        return x.index_select(dim, (last - (last - places).abs()).clamp(min=0))  # a side of one pixel repeats it

    original = parts.reflect
    parts.reflect = reflect
    try:
        yield
    finally:
        parts.reflect = original


def metadata(weights: Weights, precision: str) -> dict[str, str]:
    """What a program needs to make a mask, and which network it is. What is not known is left out."""
    border = dict(flat(weights.origin.params)).get("data.border") if weights.origin else None
    known = {
        "network": weights.network,
        "image_size": str(weights.image_size),
        "threshold": str(weights.threshold),
        "precision": precision,
        "tensors": f"sha256 {hash_of_tensors(weights)}",
    }
    return known | ({"border": str(border)} if border in list(BORDERS) else {})


if __name__ == "__main__":
    run(lambda: main(ARGS))
