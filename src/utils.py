"""What every stage shares: how it ends, and how it writes a file."""

from __future__ import annotations

import csv
import errno
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

DECIMALS = 5  # of every number in a tracked output


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


def run(main: Callable[[], None]) -> NoReturn:
    """Run a script's main function; end in one line and a non-zero code when it cannot do its work."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    name = Path(sys.argv[0]).stem
    try:
        main()
    except Refusal as refusal:
        end(f"{name}: {refusal}", refusal.code)
    except Interrupted as interrupted:
        end(f"{name}: stopped by {interrupted}; nothing half-written was kept", interrupted.code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        end(f"{name}: cannot write {error.filename or 'its output'}: {error.strerror}", 1)
    sys.exit(0)


def end(line: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(printable(line), file=sys.stderr, flush=True)
    sys.exit(code)


def printable(text: str) -> str:
    """Text from outside (a file name, a server's answer) without control characters a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(rounded(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{cell:.6g}" if isinstance(cell, float) else cell for key, cell in row.items()})


def rounded(value: Any) -> Any:
    """Every float to five decimals, through nested mappings."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, DECIMALS) if isinstance(value, float) else value
