"""Unpacks a .tar.gz from somebody else: nothing lands outside the folder, and nothing fills the disk."""

from __future__ import annotations

import errno
import gzip
import posixpath
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

MAX_BYTES = 4 << 30  # unpacked; the official photographs take 0.8 GB
MAX_FILES = 100_000  # and folders
MAX_DEPTH = 20  # folders within folders
MAX_RATIO = 100  # unpacked to packed, beyond the first SLACK bytes; photographs stay near 1, lists near 10
SLACK = 16 << 20
CHUNK = 1 << 20

_NAME_FAULTS = (None, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class BadArchive(Exception):
    """Why an archive is not unpacked, without its name."""


class _Unzipped(gzip.GzipFile):
    """Counts what comes out, headers included: a tar header, too, can claim gigabytes."""

    limit: int

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= CHUNK:
            raise BadArchive("holds a header of absurd size")
        content = super().read(size)
        if self.tell() > self.limit:
            raise BadArchive(f"unpacks to more than {self.limit:,} bytes")
        return content


def gzip_fault(file: Path) -> str | None:
    """What is wrong with a gzip file, by its own checksums; None when nothing is."""
    try:
        with gzip.open(file) as content:
            while content.read(CHUNK):
                pass
    except gzip.BadGzipFile as error:
        return f"not a sound gzip archive ({error})"
    except (EOFError, zlib.error) as error:
        return f"a damaged gzip archive ({error})"
    return None


def unpacked_size(archive: Path) -> int:
    """What a gzip file that unpacks to less than 4 GB says of itself in its last bytes; nobody checks it."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - 4))
        return int.from_bytes(file.read(), "little")


def extract(archive: Path, folder: Path) -> int:
    """Unpack regular files and folders into `folder`, which a failure leaves half filled; how many files there were.

    tarfile's own filters follow links on the disk and have been tricked through them, so no link is ever made: one to a
    file already unpacked becomes a copy, which also works where links need a privilege.
    """
    try:
        with _Unzipped(archive, "rb") as unzipped:
            unzipped.limit = min(MAX_BYTES, SLACK + MAX_RATIO * archive.stat().st_size)
            with tarfile.open(fileobj=unzipped, mode="r:") as tar:
                files = _unpack(tar, folder, unzipped.limit)
            while unzipped.read(CHUNK):  # to the end, where gzip's checksum stands
                pass
    except (tarfile.TarError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise BadArchive(f"is damaged or no .tar.gz ({error})") from None
    except OSError as error:
        if error.errno not in _NAME_FAULTS:
            raise
        raise BadArchive(f"is damaged or holds names that cannot be: {error}") from None
    return files


def _unpack(tar: tarfile.TarFile, folder: Path, limit: int) -> int:
    sizes: dict[PurePosixPath, int] = {}
    claimed = 0
    for count, member in enumerate(tar, 1):
        name = _safe(member.name)
        if count > MAX_FILES or len(name.parts) > MAX_DEPTH:
            raise BadArchive(f"holds more than {MAX_FILES:,} files and folders, or more than {MAX_DEPTH} in each other")
        target = folder / name
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        linked = _linked(member, name)
        if not member.isreg() and linked not in sizes:
            kind = f"a link to {member.linkname!r}, no file before it in here" if linked else "a device or the like"
            raise BadArchive(f"{member.name!r} is {kind}")
        sizes[name] = sizes[linked] if linked else member.size
        claimed += sizes[name]
        if claimed > limit:
            raise BadArchive(f"unpacks to more than {limit:,} bytes")
        target.parent.mkdir(parents=True, exist_ok=True)
        if linked:
            shutil.copyfile(folder / linked, target)
        else:
            content = tar.extractfile(member)
            assert content is not None
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
    return len(sizes)


def _safe(name: str) -> PurePosixPath:
    """A relative path on every system: no root, drive, backslash or `..`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(c in "\\:" or not c.isprintable() for c in name):
        raise BadArchive(f"{name!r} would land outside the folder")
    return path


def _linked(member: tarfile.TarInfo, name: PurePosixPath) -> PurePosixPath | None:
    """Where a link leads, seen from the root of the archive; None for anything else."""
    if member.islnk():
        return _safe(member.linkname)
    if member.issym():
        return _safe(posixpath.normpath(name.parent / member.linkname))
    return None
