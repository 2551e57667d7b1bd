"""The Oxford-IIIT Pet dataset: its lists, the course's split, the mask rule, and the cached tensors."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from utils import Refusal

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "valid", "test")
PET, BACKGROUND, BORDER = 1, 2, 3  # the trimap's values
NOWHERE = 0  # no pixel of a trimap has it
BORDERS = {  # what the border may be taken for
    "pet": "the border counts as pet",
    "background": "the border counts as background",
    "ignore": "the border counts nowhere",
}
SIDES = range(16, 2049)  # of the cached squares, in pixels
SPECIES = {"1": "cat", "2": "dog"}
LONGEST = 240  # bytes of a name; file systems allow 255 with the suffix

T = TypeVar("T")
Mask = TypeVar("Mask", np.ndarray, "torch.Tensor")


class Entry(NamedTuple):
    """One line of a list file: `Abyssinian_100 1 1 1`."""

    name: str
    breed: str  # empty where a list gives names alone
    species: str

    @staticmethod
    def parse(line: str) -> Entry:
        """Fails with ValueError on anything but `NAME` and `NAME CLASS SPECIES BREED`."""
        fields = line.split()
        if len(fields) not in (1, 4):
            raise ValueError(f"{len(fields)} fields in place of NAME or NAME CLASS SPECIES BREED")
        name, *classes = fields
        breed, underscore, number = name.rpartition("_")
        sound = name.isprintable() and not name.startswith(".") and not any(c in name for c in '/\\:",')
        if classes and not (sound and underscore and breed and number.isdecimal()):
            raise ValueError(f"{name!r} is not of the form Breed_123")
        if not sound:
            raise ValueError(f"{name!r} is not the name of a photograph")
        if len(name.encode()) > LONGEST:
            raise ValueError(f"{name[:20]!r}... is longer than the name of a file can be")
        if not classes:
            return Entry(name, "", "")
        if classes[1] not in SPECIES:
            raise ValueError(f"species {classes[1]!r} is not 1 or 2")
        return Entry(name, breed, SPECIES[classes[1]])


def entry_of(line: str) -> Entry | None:
    try:
        return Entry.parse(line)
    except ValueError:
        return None


def read_list(file: Path) -> list[str]:
    """The lines of a list file without blank ones and comments, which list.txt has."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def list_of(annotations: Path, split: str) -> Path:
    """The file that lists a split: test.txt; trainval.txt, or where there is none train.txt and val.txt."""
    trainval, own = annotations / "trainval.txt", annotations / {"valid": "val.txt"}.get(split, f"{split}.txt")
    return own if split == "test" or (own.is_file() and not trainval.exists()) else trainval


def read_split(annotations: Path, split: str) -> list[str]:
    """The lines of a split."""
    file = list_of(annotations, split)
    lines = read_list(file)
    return lines if file.name != "trainval.txt" else split_trainval(lines)[split == "valid"]


def split_trainval(lines: Sequence[T]) -> tuple[list[T], list[T]]:
    """The course's rule: every tenth line of trainval.txt, beginning with the first, is validation."""
    return [x for i, x in enumerate(lines) if i % 10 != 0], [x for i, x in enumerate(lines) if i % 10 == 0]


def foreground(trimap: Mask, border: str = "pet") -> Mask:
    """The mask rule: the pet is foreground, and its border too unless `border` is "background"."""
    return trimap == PET if border == "background" else trimap != BACKGROUND


def counted(trimap: Mask, border: str) -> Mask:
    """The pixels that a loss and a score count: all but the border's where `border` is "ignore"."""
    return trimap != (BORDER if border == "ignore" else NOWHERE)


class SimpleOxfordPetDataset:
    """One cached split. `pixels` is (N, side, side, 4), uint8: red, green, blue, trimap; a memory map, not a copy.

    dataset = SimpleOxfordPetDataset("dataset/cache", "train")
    for sample in dataset:
        sample["image"], sample["mask"]
    """

    def __init__(self, cache: str | Path, split: str) -> None:
        file = Path(cache) / f"{split}.npy"
        self.table = file.with_suffix(".csv")
        try:
            self.pixels: np.ndarray = np.load(file, mmap_mode="c", allow_pickle=False)
        except FileNotFoundError:
            raise Refusal(f"{file}: not found; preprocess makes it (`dvc repro`)") from None
        except OSError:
            raise
        except Exception:  # of a damaged header NumPy raises all kinds
            raise Refusal(f"{file}: damaged; remove it and run preprocess again (`dvc repro`)") from None
        shape = self.pixels.shape
        square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 4
        if self.pixels.dtype != np.uint8 or not square or not self.pixels.size:
            raise Refusal(f"{file}: damaged: not (N, side, side, 4) in uint8; run preprocess again (`dvc repro`)")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """`image` (3, H, W) and `trimap` (H, W) in uint8, `mask` (H, W) in bool."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        pixels = self.tensor()[index]
        return {
            "image": pixels[..., :3].permute(2, 0, 1),
            "trimap": pixels[..., 3],
            "mask": foreground(pixels[..., 3]),
        }

    def rows(self) -> list[dict[str, str]]:
        """Name, breed, species, height and width of each photograph, from the table beside the pixels."""
        try:
            with self.table.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError:
            raise Refusal(f"{self.table}: not found; `dvc repro preprocess` makes it") from None
        except (UnicodeDecodeError, csv.Error):
            rows = []
        if len(rows) != len(self) or not all(row.get("name") and None not in row.values() for row in rows):
            advice = "`dvc repro --force preprocess` makes both again"
            raise Refusal(f"{self.table}: does not belong to {self.table.stem}.npy; {advice}")
        return rows

    def tensor(self) -> torch.Tensor:
        """All pixels as one tensor over the memory map."""
        import torch

        return torch.from_numpy(self.pixels)
