"""Photographs from file to written mask and overlay, against a plain loop over single ones.

The networks are untrained: their speed is that of trained ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from commands.overlay import overlay
from inference import Job, Results, segment
from measure import Row, hardware, races
from models import build, checked_config
from params import whole
from place import NETWORKS, Place, values
from report.looks import KNOWN
from scoring.predict import Predictor
from shared.checkpoint import Weights

BATCH = 8  # what inference.py takes


def rows(place: Place) -> Iterator[Row]:
    where = hardware()
    files = [place.dataset / "images" / f"{name}.jpg" for name in place.test]
    for name in NETWORKS:
        weights = untrained(name)
        predictor = Predictor(weights, "none", where)

        results = Results(place.folder, [name], [KNOWN[name].colour], [0.5], cutout=False)

        def ours(predictor: Predictor = predictor, results: Results = results) -> int:
            segment([Job(file, file.stem) for file in files], [predictor], BATCH, results.write, lambda _: None)
            return len(files)

        def theirs(weights: Weights = weights) -> int:
            return plain(files, weights, place.folder, where)

        work = f"{len(files)} {place.source}; width {weights.config['width']} at {weights.image_size} px"
        yield from races("inference", {f"inference.py, {name}": ours, "plain loop": theirs}, 5, work)


def untrained(name: str) -> Weights:
    """A network as params.yaml has it."""
    chosen = whole.check(values(), "params.yaml")
    config = checked_config(name, chosen.networks[name].config, "params.yaml")
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
        mask = Image.fromarray(((native >= 0.5) * 255).astype(np.uint8))
        mask.save(out / f"{file.stem}_mask.png")
        overlay(photo, mask, KNOWN[weights.network].colour).save(out / f"{file.stem}_overlay.png")
    return len(files)
