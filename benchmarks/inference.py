"""Photographs a second from file to written mask, by batch size, against a plain loop over single photographs.

The networks are untrained: their speed is that of trained ones.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from checkpoint import Weights
from inference import Job, segment
from models import NETWORKS, build
from predict import Predictor
from sample import picture
from sample_animal import BREEDS

BATCHES = (1, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS), default="unet")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=64, help="of the squares the network sees, in pixels")
    parser.add_argument("--photographs", type=Path, help="a folder of JPEGs (default: 96 drawn ones, 500 pixels wide)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(args.photographs.glob("*.jpg")) if args.photographs else drawn(Path(folder))
        predictor = Predictor(untrained(args.network, args.width, args.side), "none", torch.device("cpu"))
        out = Path(folder)
        runs: dict[str, Callable[[], None]] = {"plain loop": lambda: plain(files, predictor.weights, out)}
        for batch in BATCHES:
            runs[f"batch {batch}"] = lambda batch=batch: pipeline(files, predictor, batch, out)  # type: ignore[misc]
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(args.repeats + 1):
            for name, run in runs.items():  # in turn, so that a busy machine slows all of them
                start = time.perf_counter()
                run()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
    print(f"{args.network}, width {args.width}, {args.side} pixels, {len(files)} photographs, {args.threads} threads")
    for name, taken in seconds.items():
        ratios = [plain_one / one for plain_one, one in zip(seconds["plain loop"], taken, strict=True)]
        print(
            f"{name:10}  {len(files) / statistics.median(taken):6.1f} photographs/s"
            f"  {statistics.median(ratios):4.2f} times the plain loop ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def plain(files: Sequence[Path], weights: Weights, out: Path) -> None:
    """What one writes first: open, resize, predict, save, and the next."""
    network = weights.build()
    mean, std = np.array(weights.mean, np.float32), np.array(weights.std, np.float32)
    for file in files:
        photo = Image.open(file).convert("RGB")
        pixels = np.asarray(photo.resize((weights.image_size,) * 2, Image.Resampling.BILINEAR))
        tensor = torch.from_numpy((pixels / np.float32(255) - mean) / std).permute(2, 0, 1).unsqueeze(0).contiguous()
        with torch.no_grad():
            probabilities = network(tensor).sigmoid()
        native = F.interpolate(probabilities, photo.size[::-1], mode="bilinear")[0, 0].numpy()
        Image.fromarray(((native >= 0.5) * 255).astype(np.uint8)).save(out / f"{file.stem}_mask.png")


def pipeline(files: Sequence[Path], predictor: Predictor, batch: int, out: Path) -> None:
    """What inference.py does, masks only."""

    def write(name: str, photo: Image.Image, maps: Sequence[np.ndarray]) -> None:
        native = np.asarray(Image.fromarray(maps[0]).resize(photo.size, Image.Resampling.BILINEAR))
        mask = Image.fromarray(np.where(native >= 0.5, 255, 0).astype(np.uint8))
        mask.save(out / f"{name}_mask.png", compress_level=1)

    segment([Job(file, file.stem) for file in files], [predictor], batch, write, lambda _: None)


def untrained(network: str, width: int, side: int) -> Weights:
    config: dict[str, object] = {"width": width}
    if network == "resnet34_unet":
        config["decoder"] = [4 * width, 2 * width, width, width, width // 2]
    torch.manual_seed(0)
    state = build(network, 3, 1, config).state_dict()
    return Weights(network, config, 1, "rgb", [0.5] * 3, [0.25] * 3, side, {}, state)


def drawn(folder: Path) -> list[Path]:
    files = [folder / f"{BREEDS[i % len(BREEDS)].name}_{i}.jpg" for i in range(96)]
    for i, file in enumerate(files):
        photo, _ = picture(file.stem, BREEDS[i % len(BREEDS)])
        photo.resize((500, round(500 * photo.height / photo.width))).save(file, quality=90)
    return files


if __name__ == "__main__":
    main()
