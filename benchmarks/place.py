"""Photographs to measure with, and folders in which stages can run on them."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image

import params
import preprocess
from oxford_pet import SimpleOxfordPetDataset, read_list, split_trainval
from params import whole
from params.training import Train
from source import sample
from utils import Refusal

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = params.networks(params.read(ROOT / "params.yaml"))
LONG_SIDE = 500  # of most photographs of the dataset, in pixels


class Place:
    def __init__(self, folder: Path, given: Path | None) -> None:
        """`given` is a dataset in the official layout; without it one is drawn when it is first needed."""
        self.folder, self.given = folder, given
        if given:
            names(given, "trainval")  # refuses anything else before the first line is measured

    @cached_property
    def dataset(self) -> Path:
        return self.given.resolve() if self.given else drawn(self.folder / "drawn")

    @cached_property
    def trainval(self) -> list[str]:
        return names(self.dataset, "trainval")

    @cached_property
    def test(self) -> list[str]:
        return names(self.dataset, "test")

    @property
    def train(self) -> list[str]:
        return split_trainval(self.trainval)[0]

    @cached_property
    def source(self) -> str:
        """Of the photographs, in words."""
        sides = []
        for name in self.test:
            with Image.open(self.dataset / "images" / f"{name}.jpg") as image:
                sides.append(max(image.size))
        return f"{'real' if self.given else 'drawn'} photographs of {statistics.median(sides):.0f} px"

    def workplace(self, dataset: Path | None = None, **changes: Any) -> Path:
        """A new folder with a dataset and with params.yaml of this project, changed."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / preprocess.DATASET).parent.mkdir()
        (folder / preprocess.DATASET).symlink_to(dataset or self.dataset, target_is_directory=True)
        (folder / "params.yaml").write_text(yaml.safe_dump(values(**changes), sort_keys=False), encoding="utf-8")
        return folder

    def cached(self, side: int) -> torch.Tensor:
        """Pixels of the training split as `preprocess` makes them."""
        with contextlib.chdir(self.workplace(data={"image_size": side})):
            quiet_preprocess()
            return SimpleOxfordPetDataset(preprocess.CACHE.resolve(), "train").tensor()


def quiet_preprocess() -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        preprocess.main()


def values(**changes: Any) -> dict[str, Any]:
    """params.yaml for all photographs, on as many threads as here, with changes."""
    base = params.overlaid(params.read(ROOT / "params.yaml"), {"data": {"limit": 0}})
    return params.overlaid(base | {"threads": torch.get_num_threads()}, changes)


def settings(**changes: Any) -> Train:
    return whole.check(values(train=changes), "params.yaml").train


def noise(count: int, side: int) -> torch.Tensor:
    """Pixels of a split, where only their number matters."""
    pixels = torch.randint(256, (count, side, side, 4), dtype=torch.uint8)
    pixels[..., 3] = pixels[..., 3] % 3 + 1
    return pixels


def names(dataset: Path, listed: str) -> list[str]:
    file = dataset / "annotations" / f"{listed}.txt"
    try:
        return [line.split()[0] for line in read_list(file)]
    except OSError:
        raise Refusal(f"{file}: not found; --data takes an unpacked dataset in the official layout", 2) from None


def drawn(folder: Path) -> Path:
    """The sample, enlarged to the size of photographs and all of it JPEG."""
    sample.draw(folder)
    for file in (folder / "images").glob("*.jpg"):
        with Image.open(file) as image:
            enlarged(image.convert("RGB"), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    for file in (folder / "annotations/trimaps").glob("[!.]*.png"):
        with Image.open(file) as image:
            enlarged(image, Image.Resampling.NEAREST).save(file)
    return folder


def enlarged(image: Image.Image, how: Image.Resampling) -> Image.Image:
    share = LONG_SIDE / max(image.size)
    return image.resize((round(image.width * share), round(image.height * share)), how)
