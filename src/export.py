"""A network for other programs, as an ONNX file.

Its input `photographs` is what Pillow, NumPy, OpenCV and a browser's canvas hold: bytes, red, green and blue last,
(N, height, width, 3) in uint8. No program has to know how to scale or to normalise. Its output `probabilities` is
(N, height, width) in float32: how probable it is that a pixel is pet. Both agree with PyTorch to 1e-4.

N, height and width are free, as in PyTorch; the network is best at squares of `image_size` pixels, into which training
squeezed its photographs. The file's metadata say what else is needed to make a mask: docs/export.md has an example.
"""

# --help is answered before the slow imports.
# ruff: noqa: E402

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from utils import Refusal, described, printable, run, write_bytes


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="W", help="saved_models/*.pth")
    add("--out", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    return parser.parse_args(words)


if __name__ == "__main__":
    ARGS = arguments()

import torch
from torch import Tensor, nn

from models import parts
from shared import checkpoint, device
from shared.checkpoint import Weights, hash_of_tensors
from shared.inputs import unit

try:
    import onnx
except ModuleNotFoundError:
    ONNX_MISSING = True
else:
    ONNX_MISSING = False

OPSET = 17  # old enough for the programs of 2022
INPUT, OUTPUT, AXES = "photographs", "probabilities", ("photograph", "height", "width")
# Traced with sides that no network divides evenly, so that the file pads; of an even side it pads nothing.
EXAMPLE = (2, 67, 45, 3)


class Exported(nn.Module):
    """Bytes in, probabilities out."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights, self.network = weights, weights.build().requires_grad_(False)

    def forward(self, photographs: Tensor) -> Tensor:
        return self.weights.probabilities(self.network, unit(photographs))


def main(args: argparse.Namespace) -> None:
    if ONNX_MISSING:
        raise Refusal("the package onnx is not installed; `make extra`, or pip install -r requirements-extra.txt", 2)
    weights = checkpoint.load(args.weights)
    refuse_place(args.out, args.weights)
    device.setup(1)
    content = exported(weights)
    write_bytes(args.out, content)
    print(printable(f"{args.out}: {weights.network}, {len(content) / 1e6:.1f} MB"))


def refuse_place(out: Path, weights: Path) -> None:
    if out.is_dir():
        raise Refusal(f"{out}: is a folder; --out takes a file")
    if out.exists() and out.samefile(weights):
        raise Refusal(f"{out}: is the weights file and would be overwritten; choose another --out")


def exported(weights: Weights) -> bytes:
    """The same bytes each time, and nothing of this machine in them."""
    model = onnx.load_from_string(traced(weights))
    for node in model.graph.node:
        node.ClearField("doc_string")  # may name files of this machine
    onnx.helper.set_model_props(model, metadata(weights))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def traced(weights: Weights) -> bytes:
    network, example, buffer = Exported(weights).eval(), torch.zeros(EXAMPLE, dtype=torch.uint8), io.BytesIO()
    axes = dict(enumerate(AXES))
    with torch.no_grad(), warnings.catch_warnings(), any_side():
        warnings.simplefilter("ignore")  # the exporter calls itself old; the new one fixes the sides
        network(example)
        torch.onnx.export(
            network,
            (example,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: axes, OUTPUT: axes},
        )
    return buffer.getvalue()


@contextmanager
def any_side() -> Iterator[None]:
    """Reflection padding that does not ask in Python how long a side is: the file would keep the example's answer."""

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


def metadata(weights: Weights) -> dict[str, str]:
    """What a program needs to make a mask, and to say of which network; what is not known is left out."""
    origin = weights.origin
    known = {
        "network": weights.network,
        "image_size": weights.image_size,
        "threshold": weights.threshold,
        "border": origin and origin.params.get("data", {}).get("border"),
        "tensors": f"sha256 {hash_of_tensors(weights)}",
    }
    return {name: str(value) for name, value in known.items() if value is not None}


if __name__ == "__main__":
    run(lambda: main(ARGS))
