"""Masks as competition sites take them: runs of pixels down the columns, counted from 1, in a CSV with a row a mask."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from photos import Unusable
from utils import Refusal, write_csv

COLUMNS = ("image_id", "encoded_mask")
MAX_ROWS = 100_000
MAX_ROW = 16 << 20  # bytes; the worst mask of 500 x 375 pixels takes 0.8 MB
MAX_DIGITS = 12  # of a pixel's number
csv.field_size_limit(MAX_ROW)


def encoded(mask: np.ndarray) -> str:
    """`5 3 10 2` is three pixels from the fifth on and two from the tenth; a mask without a pet is empty."""
    pixels = np.concatenate([[False], mask.ravel(order="F"), [False]])
    starts, ends = np.flatnonzero(pixels[1:] != pixels[:-1]).reshape(-1, 2).T
    return " ".join(map(str, np.stack([starts + 1, ends - starts], 1).ravel().tolist()))


def decoded(text: str, height: int, width: int) -> np.ndarray:
    """The mask, (height, width) in bool; or Unusable."""
    words = text.split()
    if not re.fullmatch(r"[0-9\s]*", text, re.ASCII):
        raise Unusable("holds more than numbers and spaces")
    if len(words) % 2:
        raise Unusable("ends with a start that has no length")
    if len(words) > height * width + 1 or any(len(word) > MAX_DIGITS for word in words):
        raise Unusable(f"has more runs or larger numbers than {height} x {width} pixels allow")
    starts, lengths = np.array([int(word) for word in words], np.int64).reshape(-1, 2).T
    ends = starts + lengths  # the first pixel behind the run
    for wrong, reason in (
        (starts < 1, "starts before pixel 1, the first"),
        (lengths < 1, "has no pixels"),
        (ends > height * width + 1, f"ends behind pixel {height * width}, the last"),
        (np.append(starts[1:] < starts[:-1], [False] * bool(words)), "starts behind the next one"),
        (np.append(starts[1:] < ends[:-1], [False] * bool(words)), "overlaps the next one"),
    ):
        if wrong.any():
            place = int(wrong.argmax())
            raise Unusable(f"holds a run, {starts[place]} {lengths[place]}, that {reason}")
    changes = np.zeros(height * width + 1, np.int8)
    changes[starts - 1] += 1
    changes[ends - 1] -= 1  # where another run begins at once, nothing changes
    return np.ascontiguousarray(changes[:-1].cumsum(dtype=np.int8).astype(bool).reshape(width, height).T)


def write(path: Path, runs: Mapping[str, str]) -> None:
    """`runs`: what `encoded` gives, by the name of the photograph."""
    write_csv(path, [dict(zip(COLUMNS, row, strict=True)) for row in runs.items()])


class Place(NamedTuple):
    start: int
    bytes: int


class Table:
    """A CSV whose rows stay on the disk: memory holds where the rows of known photographs are."""

    def __init__(self, file: Path, photograph: Callable[[str], str | None]) -> None:
        """`photograph` knows which one a name means, if any."""
        self.file = file
        self.places: dict[str, list[Place]] = {}
        self.others: list[str] = []  # names of photographs that are not known
        self.broken: list[str] = []  # rows that cannot be read, in words
        start = 0
        with file.open("rb") as content:
            self.columns, line = self.header(content.readline(MAX_ROW))
            for number in range(2, MAX_ROWS + 3):
                start += len(line)
                if not (line := content.readline(MAX_ROW)):
                    return
                if len(line) == MAX_ROW and not line.endswith(b"\n"):
                    raise Refusal(f"{file}: line {number} is longer than {MAX_ROW:,} bytes")
                if line.strip():
                    self.note(number, line, Place(start, len(line)), photograph)
        raise Refusal(f"{file}: has more than {MAX_ROWS:,} rows; a submission has one for each photograph")

    def header(self, line: bytes) -> tuple[list[str], bytes]:
        try:
            columns = [name.strip() for name in cells(line.removeprefix(b"\xef\xbb\xbf"))]
        except ValueError:
            columns = []
        if sorted(columns) != sorted(COLUMNS):
            raise Refusal(f"{self.file}: does not begin with the line {','.join(COLUMNS)}")
        return columns, line

    def note(self, number: int, line: bytes, place: Place, photograph: Callable[[str], str | None]) -> None:
        try:
            name = self.row(line)["image_id"]
        except ValueError as error:
            self.broken.append(f"line {number} {error}")
        else:
            if known := photograph(name):
                self.places.setdefault(known, []).append(place)
            else:
                self.others.append(name[:100])

    def row(self, line: bytes) -> dict[str, str]:
        found = cells(line)
        if len(found) != len(self.columns):
            raise ValueError(f"has {len(found)} cells in place of {len(self.columns)}")
        return dict(zip(self.columns, found, strict=True))

    def mask(self, name: str, height: int, width: int) -> np.ndarray | None:
        """None where there is no row."""
        places = self.places.get(name, [])
        if not places:
            return None
        if len(places) > 1:
            raise Unusable(f"has {len(places)} rows")
        try:
            with self.file.open("rb") as content:
                content.seek(places[0].start)
                text = self.row(content.read(places[0].bytes))["encoded_mask"]
        except (OSError, ValueError):
            raise Unusable("has a row that changed while it was read") from None
        return decoded(text, height, width)


def cells(line: bytes) -> list[str]:
    """Fails with ValueError."""
    try:
        return next(iter(csv.reader([line.decode()], strict=True)), [])
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"is no row of a CSV ({error})"
        raise ValueError(reason) from None
