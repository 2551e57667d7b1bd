"""Draw docs/stages.svg, the stages of dvc.yaml and the files that pass between them: `make docs`."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "stages.svg"
TOP, LEFT, COLUMN, LINE, GAP = 96, 300, 118, 19, 17  # pixels
MANY = 2  # more files of one kind in one folder are counted, not named
INK, QUIET, BLUE = "#1f2328", "#c3c9d0", "#0a58a8"


class Files(NamedTuple):
    """Outputs of one stage that the same stages read."""

    writer: str
    readers: tuple[str, ...]
    paths: list[str]


def passed(stages: dict[str, Any]) -> list[Files]:
    """Every output of every stage, in the order of dvc.yaml."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for writer, stage in stages.items():
        for path in outputs(stage):
            readers = tuple(name for name, other in stages.items() if any(within(dep, path) for dep in other["deps"]))
            found.setdefault((writer, readers), []).append(path)
    return [Files(*key, paths) for key, paths in found.items()]


def outputs(stage: dict[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for entry in stage.get(kind, []):
            yield entry if isinstance(entry, str) else next(iter(entry))


def within(dep: str, out: str) -> bool:
    """A stage may read a part of a folder that another one writes, or a folder into which several write."""
    return PurePosixPath(dep).is_relative_to(out) or PurePosixPath(out).is_relative_to(dep)


def lines(paths: list[str]) -> list[str]:
    """A line for each folder and suffix: `plots/history_unet.csv`, or `plots/images/*.png (7)`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in map(PurePosixPath, paths):
        groups.setdefault((str(path.parent), path.suffix), []).append(path.name)
    return [
        f"{folder}/{', '.join(names)}" if len(names) <= MANY else f"{folder}/*{suffix} ({len(names)})"
        for (folder, suffix), names in groups.items()
    ]


def drawn(stages: dict[str, Any]) -> str:
    centre = {name: LEFT + COLUMN * (place + 0.5) for place, name in enumerate(stages)}
    body: list[str] = []
    y = TOP
    for files in passed(stages):
        named = lines(files.paths)
        middle = y + LINE * len(named) / 2
        for row, line in enumerate(named):
            body.append(text(LEFT - 12, y + LINE * (row + 0.72), line, 'text-anchor="end" class="file"'))
        start = centre[files.writer]
        if files.readers:
            end = centre[files.readers[-1]]
            body.append(f'<path d="M{start:g} {middle:g}H{end - 10:g}" stroke="{BLUE}" stroke-width="2"/>')
        body.append(f'<circle cx="{start:g}" cy="{middle:g}" r="6" fill="{BLUE}"/>')
        for x in (centre[reader] for reader in files.readers):
            body.append(f'<path d="M{x:g} {middle:g}l-13 -7v14z" fill="{BLUE}"/>')
        y += LINE * len(named) + GAP
    width, height = LEFT + COLUMN * len(stages) + 12, y + 4
    head = [text(12, 24, "a dot writes, an arrow reads; what no stage reads is for you", 'class="key"')]
    for name, x in centre.items():
        head.append(f'<path d="M{x:g} 66V{height - GAP:g}" stroke="{QUIET}"/>')
        head.append(
            f'<rect x="{x - COLUMN / 2 + 5:g}" y="38" width="{COLUMN - 10}" height="32" rx="6" fill="#e8f1fb" '
            f'stroke="{BLUE}"/>'
        )
        head.append(text(x, 59, name, 'text-anchor="middle" class="stage"'))
    style = (
        f"text{{font:14px sans-serif;fill:{INK}}}"
        ".file{font:13px monospace}.stage{font-weight:bold;font-size:15px}.key{font-style:italic}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">',
            "<title>The stages of dvc.yaml and the files that pass between them</title>",
            f"<style>{style}</style>",
            '<rect width="100%" height="100%" fill="white"/>',
            *head,
            *body,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, words: str, attributes: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" {attributes}>{escape(words)}</text>'


def document() -> str:
    return drawn(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


if __name__ == "__main__":
    DRAWING.write_text(document(), encoding="utf-8")
