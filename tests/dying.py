"""Ways to die at a chosen moment: forks of this process, which has all modules loaded already."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR


def forked(action: Callable[[], object]) -> int:
    """Starts it in a process of its own, whose number is returned."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        action()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(1)


def end_of(child: int) -> int:
    """Its exit code; negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def on_change(place: Path, react: Callable[[], None]) -> None:
    """From now on, `react` before this process makes, renames, links, removes or opens to write anything in `place`."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING)
        if (
            changes
            and isinstance(arguments[0], str | os.PathLike)
            and Path(arguments[0]).absolute().is_relative_to(place)
        ):
            react()

    sys.addaudithook(hook)


def changes(place: Path, action: Callable[[], object]) -> int:
    """Runs it to its end, and counts what it changes in `place`."""
    read, write = os.pipe()
    count: list[None] = []

    def counted() -> None:
        on_change(place, lambda: count.append(None))
        action()
        os.write(write, str(len(count)).encode())

    child = forked(counted)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = int(pipe.read() or 0)
    assert end_of(child) == 0
    return found


def killed_before(change: int, place: Path, action: Callable[[], object]) -> None:
    """Runs it until it is killed, just before so many-th a change in `place`."""
    left = change

    def count_down() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def until_then() -> None:
        on_change(place, count_down)
        action()

    assert end_of(forked(until_then)) == -signal.SIGKILL


def killed_beyond(size: int, action: Callable[[], object]) -> None:
    """Runs it until it is killed, in the middle of writing the first file that grows larger than this."""

    def until_then() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        action()

    assert end_of(forked(until_then)) == -signal.SIGXFSZ
