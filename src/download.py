"""Stage download: the photographs and annotations of `data.source`, limited to `data.breeds`, into dataset/.

Archives from the network are kept in .downloads/, so that other breeds do not mean downloading again; delete that
folder to be rid of them. A folder as source is looked at only when the stage runs: DVC sees its name in params.yaml,
not what is in it, so after changing its files run `dvc repro --force download`; preprocess and summary.py say when that
is due. Its files are shared with the dataset by reflink or hard link where the file system can; hard-linked files
become read-only where DVC protects its cache.
A login for an address belongs into ~/.netrc: params.yaml and dvc.lock are for everybody to read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import oxford_pet
from params import load
from params.data import Data
from photos import Unusable
from progress import progress
from source import sample
from source.archives import BadArchive, extract, gzip_fault, unpacked_size
from source.fetch import Missing, fetch
from source.layout import Layout, expanded, is_folder, layout, trimap_of
from utils import Refusal, described, printable, run, write_bytes, writing

DATASET = Path("dataset/oxford-iiit-pet")
DOWNLOADS = Path(".downloads")

MIRRORS = (  # tried in this order
    "https://www.robots.ox.ac.uk/~vgg/data/pets/data",
    "https://thor.robots.ox.ac.uk/~vgg/data/pets",
    "https://thor.robots.ox.ac.uk/datasets/pets",
)
PUBLISHED_MD5 = {
    "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
    "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
}
ARCHIVES = tuple(PUBLISHED_MD5)
SUMS = "md5sums.txt"
FICLONE = 0x40049409  # Linux: share the blocks of another file until one of the two is written to


def main() -> None:
    data = Data.model_validate(load()["data"])
    with writing(DATASET), emptied(DATASET.with_name(f".{DATASET.name}.part")) as folder:
        found = provided(data.source, folder / "unpacked")
        chosen = layout(found, data.lists, data.breeds)
        select(chosen, folder / "selected")
        remove(DATASET)
        (folder / "selected").replace(DATASET)
    for note in chosen.notes:
        print(printable(note), file=sys.stderr)
    lists = [Path(name) for name in chosen.lists if not name.endswith("list.txt")]
    counts = [f"{len(oxford_pet.read_list(DATASET / file)):,} {file.stem}" for file in lists]
    print(f"{DATASET}: {', '.join(counts[:-1])} and {counts[-1]} photographs listed")


def provided(source: str, unpacked: Path) -> Path:
    """The folder with the source's images/ and annotations/; `unpacked`, unless they lie unpacked elsewhere."""
    if source == "sample":
        sample.draw(unpacked)
        return unpacked
    if source == "oxford":
        return unpack(downloaded(MIRRORS, DOWNLOADS / "oxford", PUBLISHED_MD5), unpacked)
    if "://" in source:
        prefix = source.rstrip("/")
        place = DOWNLOADS / f"{host(prefix)}-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"
        return unpack(downloaded([prefix], place, remote_sums(prefix, place)), unpacked)
    return local(expanded(source), unpacked)


def host(url: str) -> str:
    try:
        address = urlsplit(url)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise Refusal(f"params.yaml: data.source = {url}: not an address such as https://HOST/FOLDER", 2)
    return address.hostname


def local(folder: Path, unpacked: Path) -> Path:
    if not folder.is_dir():
        raise Refusal(f"data.source = {folder}: no such folder (sample, oxford, http://... are known)")
    if folder.resolve() == DATASET.resolve():
        raise Refusal(f"data.source = {folder}: this is where the dataset is written to; keep the source elsewhere")
    archives = [folder / name for name in ARCHIVES]
    if all(archive.is_file() for archive in archives):
        sums = read_sums(folder / SUMS) if (folder / SUMS).exists() else {}
        for archive in archives:
            if fault := checker(sums.get(archive.name))(archive):
                raise Refusal(f"{archive}: {fault}")
        return unpack(archives, unpacked)
    if is_folder(folder):
        return folder
    wanted = f"{' and '.join(ARCHIVES)}, or the folders images and annotations, or images and masks"
    raise Refusal(f"data.source = {folder}: does not hold {wanted}")


def downloaded(prefixes: Sequence[str], folder: Path, sums: Mapping[str, str]) -> list[Path]:
    archives = [folder / name for name in ARCHIVES]
    for archive in archives:
        fault = checker(sums.get(archive.name))
        wrong = fault(archive) if archive.is_file() else None
        if wrong:
            print(printable(f"{archive}: {wrong}; downloading it again"), flush=True)
        if wrong or not archive.is_file():
            fetch([f"{prefix}/{archive.name}" for prefix in prefixes], archive, fault)
    return archives


def remote_sums(prefix: str, folder: Path) -> dict[str, str]:
    """The checksums beside the archives, where there are any; asked for only when an archive is."""
    file = folder / SUMS
    if not all((folder / name).is_file() for name in ARCHIVES):
        try:
            fetch([f"{prefix}/{SUMS}"], file, sums_fault)
        except Missing:
            file.unlink(missing_ok=True)
    return read_sums(file) if file.exists() else {}


def read_sums(file: Path) -> dict[str, str]:
    """Lines as md5sum writes them: `<32 hex digits>  <name>`."""
    sums = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{32}) [ *](?:\./)?(.+)", line.rstrip())
        if not match:
            raise Refusal(f"{file}: {line[:60]!r} is not what md5sum writes")
        sums[match[2]] = match[1].lower()
    return sums


def sums_fault(file: Path) -> str | None:
    try:
        read_sums(file)
    except Refusal as refusal:
        return str(refusal)
    return None


def checker(md5: str | None) -> Callable[[Path], str | None]:
    """What is wrong with an archive: by its MD5 where that is known, else by gzip's own checksum."""
    if md5 is None:
        return gzip_fault

    def fault(archive: Path) -> str | None:
        with archive.open("rb") as file:
            actual = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return None if actual == md5 else f"its MD5 is {actual}, not {md5}: damaged, or another file"

    return fault


def unpack(archives: Sequence[Path], folder: Path) -> Path:
    for archive in archives:
        try:
            with writing(DATASET, unpacked_size(archive)):
                count = extract(archive, folder)
        except BadArchive as error:
            raise Refusal(f"{archive}: {error}; nothing was kept of it. Delete it to download it again") from None
        top = archive.name.removesuffix(".tar.gz")
        if not (folder / top).is_dir():
            raise Refusal(f"{archive}: holds no folder `{top}`: another archive than the dataset's")
        print(f"{archive}: {count:,} files unpacked")
    return folder


def select(chosen: Layout, target: Path) -> None:
    """The lists, and the files that they name, where these exist; archives hold strays as well."""
    for name, text in chosen.lists.items():
        write_bytes(target / name, text.encode())
    for folder in ("images", "annotations/trimaps"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    with progress("dataset", len(chosen.files), "files") as bar:
        for name, file in chosen.files.items():
            if chosen.masks and name.startswith("annotations"):
                convert(file, target / name)
            else:
                share(file, target / name)
            bar.update()


def convert(mask: Path, trimap: Path) -> None:
    """What is no mask is left to preprocess, which names all that is wrong at once."""
    try:
        trimap.write_bytes(trimap_of(mask))
    except Unusable as reason:
        print(printable(f"{mask}: {reason}; taken as it is"), file=sys.stderr)
        share(mask, trimap)


def share(source: Path, target: Path) -> None:
    """A reflink, a hard link or a copy: the first that works."""
    source = source.resolve()
    if not reflinked(source, target):
        try:
            os.link(source, target)
        except FileExistsError:
            raise Refusal(f"{source}: this disk does not tell its name from that of another; rename one") from None
        except OSError:
            shutil.copyfile(source, target)


def reflinked(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with source.open("rb") as original, target.open("wb") as clone:
        try:
            fcntl.ioctl(clone, FICLONE, original.fileno())
            return True
        except OSError:
            pass
    target.unlink()
    return False


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A new folder, gone at the end."""
    remove(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Also of read-only files, which DVC's links are and Windows does not delete."""

    def writable(action: Callable[..., Any], path: str, _: object) -> None:
        if not Path(path).is_symlink():  # what a link leads to is not ours
            Path(path).chmod(stat.S_IWRITE)
        action(path)

    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder, onerror=writable)


if __name__ == "__main__":
    described(__doc__).parse_args()
    run(main)
