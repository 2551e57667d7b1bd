"""What every stage shares: how it ends, and how it writes a file."""

from __future__ import annotations

import argparse
import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

DECIMALS = 5  # of every number in a JSON file
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Refusal(Exception):
    """A failure the user can act on: one line that says what, where, why and what to do."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


class Interrupted(KeyboardInterrupt):
    """SIGTERM or Ctrl-C. A stage that ends by it exits non-zero, so DVC does not record it as done."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def described(text: str | None) -> argparse.ArgumentParser:
    """A parser whose --help shows a script's docstring as it stands."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main: Callable[[], None]) -> NoReturn:
    """Run a script's main function; end in one line and a non-zero code when it cannot do its work."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    name = Path(sys.argv[0]).stem
    if isinstance(sys.stdout, io.TextIOWrapper):  # on Windows, a file or a pipe takes few letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except Refusal as refusal:
        end(f"{name}: {refusal}", refusal.code)
    except Interrupted as interrupted:
        end(f"{name}: stopped by {interrupted}; nothing half-written was kept", interrupted.code)
    except OSError as error:
        place = error.filename2 or error.filename
        if error.errno in (*FULL, errno.EROFS, errno.EPIPE):
            end(f"{name}: cannot write {place or 'what it has to say'}: {error.strerror}", 1)
        if error.errno in (errno.EACCES, errno.EPERM):
            end(f"{name}: no access to {place}: {error.strerror}", 1)
        if not place:
            raise
        end(f"{name}: cannot use {place}: {error.strerror}; remove it, or put what it should be there", 1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        end(f"{name}: out of memory; end what else uses it (`top` and `nvidia-smi` show that), then run again", 1)
    sys.exit(0)


def exit_code(command: Sequence[str], **options: Any) -> int:
    """Of a program that may run for hours. What stops this one stops it too, with all that it has started."""
    with subprocess.Popen(command, process_group=0, **options) as process:
        try:
            return process.wait()
        except BaseException:
            if hasattr(os, "killpg"):  # not on Windows
                with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                    os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise


def out_of_memory(error: Exception) -> bool:
    """Python's, NumPy's, or one of PyTorch's, which are known by their text."""
    return isinstance(error, MemoryError) or any(s in str(error) for s in ("out of memory", "can't allocate memory"))


def end(line: str, code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries and fails once more
    print(printable(line), file=sys.stderr, flush=True)
    sys.exit(code)


def printable(text: str) -> str:
    """Text from outside (a file name, an address) without logins and control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in without_logins(text))


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]).rstrip()
        for first, *rest in lines
    )


def without_logins(text: str) -> str:
    """An address in it keeps neither user name nor password."""
    return re.sub(r"(?<=://)[^/\s]*@", "***@", text)


@contextmanager
def writing(path: Path, size: int = 0) -> Iterator[None]:
    """An OSError inside names `path`. When the disk is full, the message gives the free space and the space needed."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise no_room(path, size, error.strerror) from None
        if not error.filename or str(error.filename).endswith(".part"):
            if error.errno in (errno.EACCES, errno.EPERM):
                raise Refusal(f"cannot write {path}: {error.strerror}") from None
            error.filename = str(path)
        raise


def require_room(path: Path, size: int) -> None:
    """Before work whose result would not fit."""
    if size > free_near(path):
        raise no_room(path, size, os.strerror(errno.ENOSPC))


def no_room(path: Path, size: int, reason: str | None) -> Refusal:
    needed = f"{size:,} bytes are needed, " if size else ""
    return Refusal(f"cannot write {path}: {reason}: {needed}{free_near(path):,} are free there; make room, run again")


def free_near(path: Path) -> int:
    return shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.is_dir())).free


@contextmanager
def replacing(path: Path, size: int = 0) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it does not.

    Its own in each process: of two that write the same file at once, both write it whole, and the later one stays. It
    has a hash in place of the name, which may be as long as a name can be.
    """
    with writing(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent.resolve())
        digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
        part = path.with_name(f".{digest}.{platform.node()}.{os.getpid()}.part")
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@cache
def remove_abandoned(folder: Path) -> None:
    """What killed processes of this machine left of `replacing`; once, as a folder may hold very many files."""
    for part in folder.glob(".*.part"):
        owner = re.fullmatch(rf".+\.{re.escape(platform.node())}\.(\d+)\.part", part.name)
        if owner and not alive(int(owner[1])):
            part.unlink(missing_ok=True)


def alive(process: int) -> bool:
    if sys.platform == "win32":  # where os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path, len(content)) as part:
        part.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(rounded(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{cell:.6g}" if isinstance(cell, float) else cell for key, cell in row.items()})
    write_bytes(path, table.getvalue().encode())


def rounded(value: Any) -> Any:
    """Every float to five decimals, through nested mappings and lists."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
