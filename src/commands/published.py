"""The weights that come with the project. Free of slow imports, so that --help answers at once."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "published"


def published() -> list[Path]:
    """UNet first, as in all tables."""
    return sorted(FOLDER.glob("*.pth"), reverse=True)
