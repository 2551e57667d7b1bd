"""One photograph from its file to its mask with the published networks, the start of Python apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bench_onnx
from bench_inference import plain
from export import exported
from inference import Job, Results, segment
from measure import Row, Work, hardware, milliseconds
from place import Place
from report.looks import KNOWN
from scoring.predict import Predictor
from shared import checkpoint

TIMES = 50


def rows(place: Place) -> Iterator[Row]:
    file = bench_onnx.photograph(place)
    for weights in bench_onnx.found():
        yield from of_network(place, file, weights)


def of_network(place: Place, file: Path, weights_file: Path) -> Iterator[Row]:
    where, weights = hardware(), checkpoint.load(weights_file)
    side, threshold, name = weights.image_size, weights.threshold, weights.network
    results = Results(place.folder, [name], [KNOWN[name].colour], [threshold], cutout=False)
    predictor, run = Predictor(weights, "none", where), bench_onnx.session(exported(weights))
    works: dict[str, Work] = {
        f"inference.py, {name}": lambda: segment([Job(file, "one")], [predictor], 1, results.write, lambda _: None),
        "plain loop": lambda: plain([file], weights, place.folder, where),
        "ONNX, the example of docs/export.md": lambda: bench_onnx.mask(
            run, side, threshold, file, place.folder / "mask.png"
        ),
    }
    work = f"one of the {place.source}; width {weights.config['width']} at {side} px"
    yield from milliseconds("single", works, TIMES, work)
