"""Is the dataset still what its source gives? DVC does not see that files in a folder outside of the project change.

Only a source that is an unpacked folder is compared file by file; of any other source the names in `data.lists` are.
A file counts as unchanged where both names lead to the same file (a hard link), or where the size is the same and the
source's file was not written after the dataset's; else the bytes are compared. So 7,000 photographs cost no more than
a look at their sizes. Of a mask, a hash stands in the trimap that was made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import params
from oxford_pet import read_list
from params.data import Data
from photos import Unusable
from source.layout import OWN, bare, content_hash, expanded, is_folder, layout, lines_of, made_of
from utils import Refusal

DATASET = Path("dataset/oxford-iiit-pet")
REMEDY = "`dvc repro --force download`, then `dvc repro`, takes them up"


def stale() -> str | None:
    """A line for the user if something changed since the download."""
    if not DATASET.is_dir():
        return None
    try:
        data = params.validated(Data, params.read(params.FILE).get("data"), "data", str(params.FILE))
    except (Refusal, OSError):
        return None  # whoever reads params.yaml next says it
    source, lists = expanded(data.source), expanded(data.lists)
    unpacked = is_folder(source)
    if not unpacked and (not data.lists or not lists.is_dir() or data.breeds):
        return None
    where = source if unpacked else lists
    try:
        found = list(changes(source, data) if unpacked else other_lists(lists))
    except (Refusal, OSError) as error:
        return f"{where}: changed since the download, and cannot be taken up: {error}"
    return f"{where}: changed since the download: {len(found)}, such as {found[0]}; {REMEDY}" if found else None


def changes(source: Path, data: Data) -> Iterator[str]:
    """What a download would bring otherwise than it lies in the dataset."""
    now = layout(source, data.lists, data.breeds)
    for name, text in now.lists.items():
        if not (DATASET / name).is_file() or (DATASET / name).read_text(encoding="utf-8") != text:
            yield name
    for name, file in now.files.items():
        if not (DATASET / name).is_file() or not unchanged(file, DATASET / name):
            yield name
    for folder in ("images", "annotations/trimaps"):
        for file in sorted((DATASET / folder).iterdir()):
            if (name := f"{folder}/{file.name}") not in now.files:
                yield name


def unchanged(source: Path, file: Path) -> bool:
    ours, theirs = file.stat(), source.stat()
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
        return True
    if ours.st_size == theirs.st_size:
        return theirs.st_mtime_ns < ours.st_mtime_ns or source.read_bytes() == file.read_bytes()
    try:
        return file.suffix == ".png" and made_of(file) == content_hash(source)
    except Unusable:
        return False


def other_lists(folder: Path) -> Iterator[str]:
    """Lists that name other photographs than the dataset's."""
    for name in OWN:
        if not (file := DATASET / "annotations" / name).is_file() or names(lines_of(folder / name)) != names(
            read_list(file)
        ):
            yield name


def names(lines: list[str]) -> list[str]:
    return [bare(line).split()[0] for line in lines if line.strip() and not line.startswith("#")]
