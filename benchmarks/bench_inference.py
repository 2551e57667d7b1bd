"""Photographs from file to written mask, against a plain loop over single ones.

The networks are untrained: their speed is that of trained ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import params
from checkpoint import Weights
from inference import Job, segment
from measure import Row, hardware, races
from models import build
from place import Place, values
from predict import Predictor

BATCH = 8  # what inference.py takes


def rows(place: Place) -> Iterator[Row]:
    where = hardware()
    files = [place.dataset / "images" / f"{name}.jpg" for name in place.test]
    for name in params.SHAPES:
        weights = untrained(name)
        predictor = Predictor(weights, "none", where)

        def ours(predictor: Predictor = predictor) -> int:
            return pipeline(files, predictor, place.folder)

        def theirs(weights: Weights = weights) -> int:
            return plain(files, weights, place.folder, where)

        work = f"{len(files)} {place.source}; width {weights.config['width']} at {weights.image_size} px"
        yield from races("inference", {f"inference.py, {name}": ours, "plain loop": theirs}, 5, work)


def untrained(name: params.NetworkName) -> Weights:
    """A network as params.yaml has it."""
    chosen = params.check(values(), "params.yaml")
    config = chosen.network(name).config.model_dump()
    state = build(name, 3, 1, config).state_dict()
    return Weights(name, config, 1, "rgb", [0.5] * 3, [0.25] * 3, chosen.data.image_size, {}, state)


def plain(files: Sequence[Path], weights: Weights, out: Path, where: torch.device) -> int:
    """What one writes first: open, resize, predict, save, and the next."""
    network = weights.build().to(where)
    mean, std = np.array(weights.mean, np.float32), np.array(weights.std, np.float32)
    for file in files:
        photo = Image.open(file).convert("RGB")
        pixels = np.asarray(photo.resize((weights.image_size,) * 2, Image.Resampling.BILINEAR))
        tensor = torch.from_numpy((pixels / np.float32(255) - mean) / std).permute(2, 0, 1).unsqueeze(0).contiguous()
        with torch.no_grad():
            probabilities = network(tensor.to(where)).sigmoid().cpu()
        native = F.interpolate(probabilities, photo.size[::-1], mode="bilinear")[0, 0].numpy()
        Image.fromarray(((native >= 0.5) * 255).astype(np.uint8)).save(out / f"{file.stem}_mask.png")
    return len(files)


def pipeline(files: Sequence[Path], predictor: Predictor, out: Path) -> int:
    """What inference.py does, masks only."""

    def write(name: str, photo: Image.Image, maps: Sequence[np.ndarray]) -> None:
        native = np.asarray(Image.fromarray(maps[0]).resize(photo.size, Image.Resampling.BILINEAR))
        mask = Image.fromarray(np.where(native >= 0.5, 255, 0).astype(np.uint8))
        mask.save(out / f"{name}_mask.png", compress_level=1)

    segment([Job(file, file.stem) for file in files], [predictor], BATCH, write, lambda _: None)
    return len(files)
