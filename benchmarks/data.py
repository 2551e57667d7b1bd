"""How much the cache saves: batches from it against decoding each epoch, and making it against a plain PIL loop.

python benchmarks/data.py [FOLDER]    (the dataset, unpacked; default dataset/oxford-iiit-pet)

The rivals take turns, so that another load on the machine falls on both; ratios are medians, with the range over the
repetitions behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import preprocess
from oxford_pet import SPLITS, SimpleOxfordPetDataset, read_list, split_trainval

SIDE = 256
BATCH = 16
REPETITIONS = 5


class Decoding(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """What a course solution does: decode and resize a photograph each time it is asked for."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image, trimap = pil_pair(self.folder, self.names[index])
        return {"image": torch.from_numpy(image.transpose(2, 0, 1)), "mask": torch.from_numpy(trimap != 2)}


def pil_pair(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The least that PIL can do."""
    with open_photograph(folder, name) as image, open_trimap(folder, name) as trimap:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.array(small), np.array(trimap.resize((SIDE, SIDE), Image.Resampling.NEAREST))


def course_pair(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What the course's class does: whole arrays first, and the mask in floating point."""
    with open_photograph(folder, name) as image, open_trimap(folder, name) as trimap:
        whole, mask = np.array(image.convert("RGB")), np.array(trimap).astype(np.float32)
    mask[mask == 2] = 0
    mask[(mask == 1) | (mask == 3)] = 1
    small = Image.fromarray(whole).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.array(small), np.array(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST))


def open_photograph(folder: Path, name: str) -> Image.Image:
    return Image.open(folder / "images" / f"{name}.jpg")


def open_trimap(folder: Path, name: str) -> Image.Image:
    return Image.open(folder / "annotations" / "trimaps" / f"{name}.png")


def cached_batches(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    order = torch.randperm(len(pixels))
    for start in range(0, len(pixels), BATCH):
        yield pixels.index_select(0, order[start : start + BATCH])  # eight times as fast as pixels[...]


def decoded_epoch(folder: Path, names: list[str], workers: int) -> None:
    loader = torch.utils.data.DataLoader(Decoding(folder, names), BATCH, shuffle=True, num_workers=workers)
    assert sum(len(batch["image"]) for batch in loader) == len(names)


class Rates:
    """Photographs a second, one figure for each repetition."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def measure(self, names: list[str], work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        self.rates.append(len(names) / (time.perf_counter() - begun))

    def show(self, what: str, rival: Rates | None = None) -> None:
        line = f"{what:<44}{statistics.median(self.rates):>8,.0f} a second"
        if rival:
            ratios = [other / own for own, other in zip(self.rates, rival.rates, strict=True)]
            line += f"; beaten {statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})"
        print(line, flush=True)


def loop(pair: Callable[[Path, str], tuple[np.ndarray, np.ndarray]], folder: Path, names: list[str]) -> None:
    pairs = [pair(folder, name) for name in names]
    np.save("images.npy", np.stack([image for image, _ in pairs]))
    np.save("trimaps.npy", np.stack([trimap for _, trimap in pairs]))


def peak_of_preprocess() -> int:
    """Peak memory of the stage in a process of its own, in MB. Linux only."""
    code = "import preprocess; preprocess.main(); print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout.split()[-1]) // 1024


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder = folder.resolve()
    trainval = [line.split()[0] for line in read_list(folder / "annotations/trainval.txt")]
    everything = trainval + [line.split()[0] for line in read_list(folder / "annotations/test.txt")]
    train, _ = split_trainval(trainval)
    with tempfile.TemporaryDirectory() as workplace:
        os.chdir(workplace)
        preprocess.DATASET.parent.mkdir(parents=True)
        shutil.copytree(folder, preprocess.DATASET)
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["data"] |= {"image_size": SIDE, "limit": 0}
        Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

        stage, least, course = Rates(), Rates(), Rates()
        for _ in range(REPETITIONS):
            stage.measure(everything, preprocess.main)
            least.measure(everything, lambda: loop(pil_pair, preprocess.DATASET, everything))
            course.measure(everything, lambda: loop(course_pair, preprocess.DATASET, everything))
        stage.show(f"making the cache, {os.cpu_count()} cores")
        least.show("PIL, one thread, the least it can do", stage)
        course.show("PIL, one thread, as in the course's class", stage)
        largest = max((preprocess.CACHE / f"{split}.npy").stat().st_size for split in SPLITS) >> 20
        print(f"peak memory of preprocess: {peak_of_preprocess()} MB; the largest split has {largest} MB")

        cache, none, two = Rates(), Rates(), Rates()
        pixels = SimpleOxfordPetDataset(preprocess.CACHE, "train").tensor()
        for _ in range(REPETITIONS):
            cache.measure(train * 10, lambda: [len(batch) for _ in range(10) for batch in cached_batches(pixels)])
            none.measure(train, lambda: decoded_epoch(preprocess.DATASET, train, 0))
            two.measure(train, lambda: decoded_epoch(preprocess.DATASET, train, 2))
        cache.show(f"batches of {BATCH} from the cache")
        none.show("DataLoader that decodes, 0 workers", cache)
        two.show("DataLoader that decodes, 2 workers", cache)
        os.chdir(ROOT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dataset/oxford-iiit-pet"))
    main(parser.parse_args().folder)
