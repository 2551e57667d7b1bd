"""Hostile and broken archives, each refused; sound ones, unpacked to the byte."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliability import fault
from source import archives
from source.archives import BadArchive, extract, gzip_fault


def packed(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    archive = folder / "some.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def refusal(tmp_path: Path, archive: Path) -> str:
    """Why an archive is refused; nothing may appear beside the folder it should go to."""
    before = set(tmp_path.iterdir())
    with pytest.raises(BadArchive) as caught:
        extract(archive, tmp_path / "out")
    assert set(tmp_path.iterdir()) <= before | {tmp_path / "out"}
    return str(caught.value)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


NAMES = st.text("abcXYZ._-é 0", min_size=1, max_size=8).filter(lambda name: name.strip("."))


@given(st.dictionaries(st.builds("{}/f{}".format, st.sampled_from(["images", "a/b"]), NAMES), st.binary(max_size=2000)))
def test_sound_archives_arrive_to_the_byte(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    tmp_path = tmp_path_factory.mktemp("sound")
    count = extract(packed(tmp_path, *((member(name), data) for name, data in files.items())), tmp_path / "out")
    assert files_in(tmp_path / "out") == files
    assert count == len(files)


@fault("Hostile", "an archive's names that lead out of its folder", "refused; nothing lands outside")
@pytest.mark.parametrize("name", ["/tmp/x", "//x", "../x", "a/../../x", "a/..", "C:/x", "C:x", "a\\..\\x", "a/b\nc"])
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    assert "outside the folder" in refusal(tmp_path, packed(tmp_path, (member("a/ok"), b"1"), (member(name), b"2")))


@fault("Hostile", "an archive's links to what is not in it", "refused; no link is ever made")
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside", "..", "later", "folder", "."])
def test_links_to_anything_but_a_file_of_the_archive(tmp_path: Path, kind: bytes, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    members = [(member("folder", tarfile.DIRTYPE), b""), (member("link", kind, target), b""), (member("later"), b"1")]
    refusal(tmp_path, packed(tmp_path, *members))
    assert not (tmp_path / "out" / "link").exists()


@fault("Hostile", "a file of an archive that goes through a link", "the link's target stays as it was")
def test_a_file_written_through_a_link_does_not_reach_its_target(tmp_path: Path) -> None:
    members = [(member("a/x"), b"old"), (member("link", tarfile.SYMTYPE, "a/x"), b""), (member("link"), b"new")]
    extract(packed(tmp_path, *members), tmp_path / "out")
    assert files_in(tmp_path / "out") == {"a/x": b"old", "link": b"new"}


def test_links_within_the_archive_become_files(tmp_path: Path) -> None:
    members = [
        (member("a/b/real"), b"content"),
        (member("a/hard", tarfile.LNKTYPE, "a/b/real"), b""),
        (member("a/soft", tarfile.SYMTYPE, "b/real"), b""),
        (member("up/soft", tarfile.SYMTYPE, "../a/b/real"), b""),
    ]
    assert extract(packed(tmp_path, *members), tmp_path / "out") == 4
    assert set(files_in(tmp_path / "out").values()) == {b"content"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@fault("Hostile", "device nodes and pipes in an archive", "refused")
@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(tmp_path: Path, kind: bytes) -> None:
    assert "device" in refusal(tmp_path, packed(tmp_path, (member("a", kind), b"")))


@fault(
    "Hostile",
    "an archive that unpacks to far more than it is: by a file, links, many files, a header, holes",
    "refused before it is written",
)
def test_a_bomb_stops_before_it_is_written(tmp_path: Path) -> None:
    bomb = packed(tmp_path, (member("zeros"), bytes(archives.SLACK + (8 << 20))))
    assert bomb.stat().st_size < 100_000
    assert "unpacks to more than" in refusal(tmp_path, bomb)
    assert not (tmp_path / "out" / "zeros").exists()


@fault(
    "Hostile",
    "an archive that unpacks to far more than it is: by a file, links, many files, a header, holes",
    "refused before it is written",
)
def test_a_bomb_of_many_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SLACK", 1 << 20)
    links = [(member(f"l{i}", tarfile.LNKTYPE, "real"), b"") for i in range(40)]
    assert "unpacks to more than" in refusal(tmp_path, packed(tmp_path, (member("real"), bytes(300_000)), *links))


@fault(
    "Hostile",
    "an archive that unpacks to far more than it is: by a file, links, many files, a header, holes",
    "refused before it is written",
)
def test_a_bomb_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 50)
    assert "files" in refusal(tmp_path, packed(tmp_path, *((member(f"f{i}"), b"") for i in range(60))))


def test_a_bomb_of_many_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 50)
    many = [(member(f"d{i}", tarfile.DIRTYPE), b"") for i in range(60)]
    assert "files and folders" in refusal(tmp_path, packed(tmp_path, *many))
    assert "in each other" in refusal(tmp_path, packed(tmp_path, (member("/".join("d" * 30), tarfile.DIRTYPE), b"")))


@fault(
    "Hostile",
    "an archive that unpacks to far more than it is: by a file, links, many files, a header, holes",
    "refused before it is written",
)
def test_a_bomb_in_a_header(tmp_path: Path) -> None:
    archive = tmp_path / "some.tar.gz"
    long_name = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    long_name.size = 1 << 30
    archive.write_bytes(gzip.compress(long_name.tobuf(tarfile.GNU_FORMAT) + bytes(2 << 20)))
    assert "header" in refusal(tmp_path, archive)


@fault(
    "Hostile",
    "an archive that unpacks to far more than it is: by a file, links, many files, a header, holes",
    "refused before it is written",
)
def test_a_sparse_bomb(tmp_path: Path) -> None:
    """A file of 4 GiB of holes takes a few bytes in the archive."""
    checksum, first_block, real_size = slice(148, 156), slice(386, 410), slice(483, 495)  # of a GNU header
    header = bytearray(member("holes", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[first_block] = b"%011o\0%011o\0" % (0, 0)  # offset and length: empty
    header[real_size] = b"%011o\0" % (4 << 30)
    header[checksum] = b" " * 8
    header[checksum] = b"%06o\0 " % sum(header)
    archive = tmp_path / "some.tar.gz"
    archive.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    assert "unpacks to more than" in refusal(tmp_path, archive)


@fault("Input", "an archive with names that cannot be", "refused")
def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    refusal(tmp_path, packed(tmp_path, (member("a"), b"1"), (member("a/b"), b"2")))


@fault("Input", "an archive with names that cannot be", "refused")
def test_a_name_too_long_for_the_disk(tmp_path: Path) -> None:
    refusal(tmp_path, packed(tmp_path, (member("n" * 300), b"1")))


@fault("Input", "a file that is no archive", "refused")
@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"\x1f\x8b", gzip.compress(b"not a tar" * 200, mtime=0)])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.tar.gz").write_bytes(content)
    assert "damaged" in refusal(tmp_path, tmp_path / "some.tar.gz")


@fault("Corruption", "an archive that is cut or has a bit turned", "refused, or unpacked to the same files")
@given(st.data())
def test_a_damaged_archive_never_passes_for_a_sound_one(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut anywhere or with one bit turned: refused, or (a bit of gzip's own header) the same files as before."""
    tmp_path = tmp_path_factory.mktemp("damaged")
    sound = packed(tmp_path, (member("a/b"), bytes(range(256)) * 8), (member("c"), b"hello" * 100))
    extract(sound, tmp_path / "before")
    content = bytearray(sound.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    sound.write_bytes(content)
    try:
        extract(sound, tmp_path / "after")
    except BadArchive:
        return
    assert files_in(tmp_path / "after") == files_in(tmp_path / "before")
    assert gzip_fault(sound) is None


@fault("Corruption", "an archive that is cut or has a bit turned", "refused, or unpacked to the same files")
def test_gzip_fault_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "x.gz"
    sound = gzip.compress(b"hello" * 1000)
    for content, expected in ((sound, None), (sound[:-4], "damaged"), (b"hello", "not a sound gzip")):
        file.write_bytes(content)
        fault = gzip_fault(file)
        assert fault is None if expected is None else expected in str(fault)
