"""Command-line options that scoring and inference share. Free of slow imports, so that --help answers at once."""

from __future__ import annotations

import argparse

from oxford_pet import BORDERS

TTA = ("none", "flip", "flip_scales")


def add_prediction_options(parser: argparse.ArgumentParser, default_threshold: str) -> None:
    parser.add_argument(
        "--tta",
        choices=TTA,
        help="test-time augmentation: average over the photograph and its mirror image (flip), and at three scales"
        " (flip_scales); default: none",
    )
    text = f"probability from which a pixel is pet; default: {default_threshold}"
    parser.add_argument("--threshold", type=between_0_and_1, metavar="X", help=text)


def add_border_option(parser: argparse.ArgumentParser) -> None:
    text = f"the border rule: {', '.join(f'{name} ({rule})' for name, rule in BORDERS.items())}; default: pet"
    parser.add_argument("--border", choices=BORDERS, metavar="RULE", help=text)


def between_0_and_1(word: str) -> float:
    value = float(word)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{word} is not between 0 and 1")
    return value


def at_least_1(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{word} is less than 1")
    return value
