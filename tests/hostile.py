"""What a stranger may hand in: objects that run code when they are opened, and pictures that claim to be large."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any


class Malicious:
    """Whoever unpickles it makes the file `executed` in the working directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def bomb(width: int, height: int, grey: bool = False) -> bytes:
    """A PNG in colour or grey that claims so many pixels and holds a hundred bytes of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if grey else 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
