"""How far a long job is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
from typing import NoReturn

from tqdm import tqdm

EVERY = 5.0  # seconds between two lines where there is no terminal


class _Lines:
    """What tqdm redraws in place, as lines of their own, each state once: a log keeps every one of them."""

    said = ""

    def write(self, text: str) -> None:
        state = text.strip().partition("[")[0]
        if state and state != self.said:
            print(text.strip(), file=sys.stderr)
        self.said = state or self.said

    def flush(self) -> None:
        sys.stderr.flush()


def progress(what: str, total: int | None, unit: str, done: int = 0) -> tqdm[NoReturn]:
    """A context manager with `update(n)`. Bytes (`unit="B"`) are shown in kB, MB and so on."""
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=what,
        total=total,
        initial=done,
        unit=unit if unit == "B" else f" {unit}",
        unit_scale=unit == "B",
        file=sys.stderr if terminal else _Lines(),
        mininterval=0.1 if terminal else EVERY,
        delay=0 if terminal else EVERY,  # a short job needs no line
        miniters=1,
        dynamic_ncols=terminal,
        ascii=not terminal,
    )
