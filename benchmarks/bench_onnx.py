"""The published networks under ONNX Runtime against PyTorch: the network alone, and from the file to the mask.

With real photographs also what int8 costs in Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from commands.published import published
from export import exported
from measure import Row, Skip, Work, hardware, milliseconds, optional, row
from oxford_pet import foreground
from photos import open_pair
from place import Place
from scoring.predict import Predictor
from shared import checkpoint
from shared.metrics import confusion, dice

TIMES = 50
SCORED = 500  # photographs
LEARNT_FROM = 100  # likewise, for int8

Run = Callable[[np.ndarray], np.ndarray]


def rows(place: Place) -> Iterator[Row]:
    for file in found():
        yield from of_network(place, file)


def found() -> list[Path]:
    """The published weights."""
    if not (files := published()):
        raise Skip("published/ holds no weights; `git checkout published` brings them back")
    return files


def of_network(place: Place, file: Path) -> Iterator[Row]:
    weights = checkpoint.load(file)
    side, name = weights.image_size, weights.network
    contents = {"fp32": exported(weights), "int8": exported(weights, for_int8(place))}
    fp32, int8 = (session(content) for content in contents.values())
    predictor = Predictor(weights, "none", hardware())
    square = np.array(Image.open(photograph(place)).convert("RGB").resize((side, side)))[None]

    sizes = {"PyTorch": file.stat().st_size} | {kind: len(content) for kind, content in contents.items()}
    work = f"one square of {side} px; " + ", ".join(f"{kind}: {size / 1e6:.1f} MB" for kind, size in sizes.items())
    works: dict[str, Work] = {
        f"ONNX, {name}": partial(fp32, square),
        "PyTorch": lambda: predictor(torch.from_numpy(square)).cpu(),
    }
    yield from milliseconds("onnx", works, TIMES, work)
    in_8_bits: dict[str, Work] = {f"ONNX in int8, {name}": partial(int8, square), "ONNX": partial(fp32, square)}
    yield from milliseconds("onnx", in_8_bits, TIMES, work)
    if place.given:
        pairs = squares(place, side)
        small, full = (mean_dice(run, pairs, weights.threshold) for run in (int8, fp32))
        figures = f"{small:.4f} against {full:.4f}"
        yield row("onnx", f"Dice in int8, {name}", "Dice", [small / full], figures, f"{len(pairs)} {place.source}")


def session(content: bytes) -> Run:
    """On as many threads as PyTorch."""
    onnxruntime: Any = optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Else its threads stay busy for a while after each run, and slow whatever is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    running = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda pixels: running.run(None, {"photographs": pixels})[0]


def mask(run: Run, side: int, threshold: float, photograph: Path, out: Path) -> None:
    """What docs/export.md shows."""
    photo = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    square = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR))
    sized = Image.fromarray(run(square[None])[0]).resize(photo.size, Image.Resampling.BILINEAR)
    Image.fromarray(np.asarray(sized) >= threshold).save(out)


def photograph(place: Place) -> Path:
    return place.dataset / "images" / f"{place.test[0]}.jpg"


def for_int8(place: Place) -> Path:
    """A folder of some photographs of the training."""
    folder = place.folder / "int8"
    if not folder.exists():
        folder.mkdir()
        for name in spread(place.train, LEARNT_FROM):
            (folder / f"{name}.jpg").symlink_to(place.dataset / "images" / f"{name}.jpg")
    return folder


def spread(names: list[str], most: int) -> list[str]:
    return [names[at] for at in np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)]


def squares(place: Place, side: int) -> list[np.ndarray]:
    """Test photographs with their trimaps as the fourth channel."""
    images, trimaps = place.dataset / "images", place.dataset / "annotations/trimaps"
    names = spread(place.test, SCORED)
    return [np.asarray(open_pair(images / f"{name}.jpg", trimaps / f"{name}.png", side)[0]) for name in names]


def mean_dice(run: Run, pairs: list[np.ndarray], threshold: float) -> float:
    found = torch.from_numpy(np.concatenate([run(pair[None, ..., :3].copy()) for pair in pairs])) >= threshold
    truth = foreground(torch.from_numpy(np.stack(pairs)[..., 3]))
    return float(dice(confusion(found, truth)).mean())
