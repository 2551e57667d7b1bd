"""What the dataset takes from a source folder: its lists, and the file behind each photograph and each trimap.

Two layouts are known: the official one, and `images/` beside `masks/` with the masks of any programme.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from oxford_pet import BACKGROUND, BORDER, PET, SPLITS, entry_of, list_of
from photos import SUFFIXES, Unusable, opened, pictures_in
from source.masks import pet_of
from utils import Refusal

OFFICIAL, OWN = ("trainval.txt", "test.txt"), ("train.txt", "val.txt", "test.txt")
TEST = 10  # where nothing else says so, every tenth photograph is for testing
MADE_OF = "Mask"  # the key in a trimap's PNG that holds the hash of the mask from which it was made
NAMED = 5


class Layout(NamedTuple):
    """All paths are those in the dataset."""

    lists: dict[str, str]  # their texts
    files: dict[str, Path]  # where each photograph and each trimap, or the mask for it, lies in the source
    masks: bool  # are there masks in place of trimaps?
    notes: list[str]  # what the user should know


def expanded(folder: str) -> Path:
    return Path(os.path.expanduser(folder))  # noqa: PTH111  # Path.expanduser fails where there is no such user


def is_folder(source: Path) -> bool:
    """Is it a source that is unpacked already?"""
    return (source / "images").is_dir() and any((source / name).is_dir() for name in ("annotations", "masks"))


def layout(source: Path, own_lists: str, breeds: Sequence[str]) -> Layout:
    """A line that makes no sense and a name without a file are kept: preprocess lists all that is wrong at once."""
    annotations = source / "annotations"
    masks = (source / "masks").is_dir() and not (annotations / "trimaps").is_dir()
    trimaps = source / "masks" if masks else annotations / "trimaps"
    photograph_of = {joined(name): file for name, file in pictures_in(source / "images", ".jpg").items()}
    trimap_files = {joined(name): file for name, file in pictures_in(trimaps, ".png").items()}
    if own_lists:
        lists = read_own(expanded(own_lists), official_lines(annotations), spaces=masks)
    elif annotations.is_dir():
        lists = {file.name: lines_of(file) for file in dict.fromkeys(list_of(annotations, split) for split in SPLITS)}
        if (annotations / "list.txt").is_file():
            lists["list.txt"] = lines_of(annotations / "list.txt")
    else:
        lists = by_rule([name for name, file in photograph_of.items() if usual(file)], source / "images")
    check_breeds(breeds, {entry.breed for lines in lists.values() for line in lines if (entry := entry_of(line))})

    texts: dict[str, str] = {}
    files: dict[str, Path] = {}
    for name, lines in lists.items():
        kept = [line for line in lines if not breeds or not (entry := entry_of(line)) or entry.breed in breeds]
        texts[f"annotations/{name}"] = "".join(f"{line}\n" for line in kept)
        for entry in filter(None, map(entry_of, kept if name != "list.txt" else [])):
            if photograph := photograph_of.get(entry.name):
                files[f"images/{entry.name}.jpg"] = photograph
            if trimap := trimap_files.get(entry.name) or (masks and trimap_files.get(f"{entry.name}_mask")):
                files[f"annotations/trimaps/{entry.name}.png"] = trimap
    odd = [file for name, file in files.items() if name.startswith("images") and not usual(file)]
    notes = [f"{file}: not a usual suffix of a photograph; taken as it is" for file in odd]
    if masks:
        alone = [
            file for name, file in trimap_files.items() if not photograph_of.keys() & {name, name.removesuffix("_mask")}
        ]
        notes += left_out(alone, "without a photograph")
    same = [file for file in (source / "images").glob("[!.]*") if photograph_of.get(joined(file.stem)) != file]
    notes += left_out(filter(usual, same), "with the name of another photograph")
    return Layout(texts, files, masks, notes)


def joined(name: str) -> str:
    """A name as it stands in a list, where spaces separate fields."""
    return "_".join(name.split())


def left_out(files: Iterable[Path], why: str) -> list[str]:
    """A note on the files that are left out; no note where there are none."""
    found = sorted(files)
    named = ", ".join(file.name for file in found[:NAMED]) + (" ..." if len(found) > NAMED else "")
    return [f"{found[0].parent}: {len(found)} {why}, left out: {named}"] if found else []


def usual(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


# --- lists ------------------------------------------------------------------------------------------------------------


def lines_of(file: Path, advice: str = "without it there is no split; get the annotations anew") -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise Refusal(f"{file}: is missing, and {advice}") from None
    except UnicodeDecodeError:
        raise Refusal(f"{file}: is not text in UTF-8; get the annotations anew") from None


def official_lines(annotations: Path) -> dict[str, str]:
    """By name, the lines that also say breed and species."""
    lists = (annotations / name for name in ("list.txt", *OFFICIAL, *OWN))
    lines = [line for file in lists if file.is_file() for line in lines_of(file)]
    return {entry.name: line for line in lines if (entry := entry_of(line)) and entry.breed}


def read_own(folder: Path, official: Mapping[str, str], spaces: bool) -> dict[str, list[str]]:
    """The lists in data.lists. A line with a name alone becomes the official line where there is one."""
    if not folder.is_dir():
        raise Refusal(f"data.lists = {folder}: no such folder; leave it empty for the official lists")
    lists = {name: lines_of(folder / name, f"data.lists needs {', '.join(OWN)}") for name in OWN}
    return {
        name: [official.get(bare(line, spaces), bare(line, spaces)) for line in lines] for name, lines in lists.items()
    }


def bare(line: str, spaces: bool = False) -> str:
    """A line that is a name, without the suffix of the photograph; `spaces` may be a part of the name."""
    line = line.strip()
    if line.startswith("#") or (len(line.split()) > 1 and (entry_of(line) or not spaces)):
        return line
    return joined(line.removesuffix(Path(line).suffix) if usual(Path(line)) else line)


def by_rule(names: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """Of the names in alphabetical order every tenth, beginning with the first, is for testing."""
    for name in names:
        if name.startswith("#") or not entry_of(name):
            raise Refusal(f"{folder}: {name!r} cannot stand in a list; rename it, without special characters")
    ordered = sorted(names)
    return {"trainval.txt": [name for i, name in enumerate(ordered) if i % TEST], "test.txt": ordered[::TEST]}


def check_breeds(breeds: Sequence[str], found: set[str]) -> None:
    spelled = {name.casefold(): name for name in found if name}
    for breed in breeds:
        if breed not in spelled.values():
            near = difflib.get_close_matches(breed.casefold().replace(" ", "_"), spelled, n=1)
            known = f"known here: {', '.join(sorted(spelled.values()))}" if spelled else "it names no breeds"
            hint = f"did you mean {spelled[near[0]]}?" if near else known
            raise Refusal(f"params.yaml: data.breeds holds {breed!r}, no breed of this source; {hint}")


# --- masks ------------------------------------------------------------------------------------------------------------


def trimap_of(mask: Path) -> bytes:
    """A mask of 0 and 1, or of 0 and 255, as the PNG of a trimap without a border; a trimap as it is."""
    with opened(mask) as image:
        if image.mode not in ("1", "L", "P"):
            raise Unusable(f"has pixels of type {image.mode}, not one value each")
        found = np.unique(np.asarray(image).astype(np.uint8)).tolist()
        if set(found) <= {PET, BACKGROUND, BORDER}:
            return mask.read_bytes()
        pet = pet_of(image, "pet")
        if pet is None:
            raise Unusable(f"holds {', '.join(map(str, found[:4]))}, not 0 and 1, 0 and 255, or 1, 2 and 3")
    trimap, note, buffer = np.where(pet, PET, BACKGROUND).astype(np.uint8), PngInfo(), io.BytesIO()
    note.add_text(MADE_OF, content_hash(mask))
    Image.fromarray(trimap).save(buffer, "PNG", pnginfo=note)
    return buffer.getvalue()


def made_of(trimap: Path) -> str | None:
    """The hash of the mask from which a trimap was made, if it was."""
    with opened(trimap) as image:
        return str(image.info[MADE_OF]) if MADE_OF in image.info else None


def content_hash(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
