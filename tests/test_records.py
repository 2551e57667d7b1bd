"""The page of records says what its rows say."""

from __future__ import annotations

from typing import Any

import records_page as records


def row(variant: str, network: str, seed: int, epoch: int, seconds: int, dice: float) -> dict[str, Any]:
    key = {"group": records.GROUP, "variant": variant, "network": network, "seed": str(seed), "fold": ""}
    return key | {"epoch": str(epoch), "seconds": str(seconds), "valid_dice": str(dice)}


def test_a_race_ends_where_ours_first_has_the_best_of_the_other() -> None:
    ours = [row(records.OURS, "unet", 1, epoch, 60 * epoch, dice) for epoch, dice in ((1, 0.7), (2, 0.85), (3, 0.9))]
    theirs = [
        row("rotate-bce-dice", "unet", 1, n, 120 * n, dice) for n, dice in ((1, 0.6), (2, 0.7), (5, 0.84), (6, 0.8))
    ]
    unmatched = [row(records.OURS, "unet", 2, 1, 1, 0.99)]
    assert list(records.races([*ours, *theirs, *unmatched])) == [["laptop", "UNet", "0.840", "10.0", "2.0", "5.0"]]


def test_a_race_that_ours_does_not_end_has_no_line() -> None:
    curves = [row(records.OURS, "unet", 1, 1, 60, 0.7), row("rotate-bce-dice", "unet", 1, 1, 60, 0.8)]
    assert list(records.races(curves)) == []


def test_a_record_has_the_mean_and_the_range_of_its_seeds() -> None:
    same = {"parameters": "486553", "hardware": "CPU AVX2", "threads": "2", "valid_dice": "0.9"}
    rows = [
        {**same, "variant": variant, "network": network, "seed": seed, "seconds": seconds, "test_dice_native": dice}
        for variant, network, seed, seconds, dice in (
            ("laptop", "unet", "1", "600", "0.910"),
            ("laptop", "unet", "2", "900", "0.914"),
            ("laptop, twice as wide", "unet", "1", "3600", "0.99"),
            ("laptop", "ensemble", "1", "1200", "0.92"),
        )
    ]
    found = list(records.records(rows, "laptop"))
    dice, minutes = "0.912 (0.910 to 0.914)", "12 (10 to 15)"
    assert found == [
        ["laptop", "UNet", "486,553", "1, 2", "CPU AVX2", "2", minutes, "0.900 (0.900 to 0.900)", dice],
        ["laptop", "Ensemble", "486,553", "1", "CPU AVX2", "2", "20", "0.900", "0.920"],
    ]


def test_an_idea_has_the_points_between_it_and_the_recipe() -> None:
    same = {"network": "unet", "fold": ""}
    rows = [
        {**same, "variant": variant, "seed": seed, "valid_dice": dice}
        for variant, seed, dice in (
            ("before", "1", "0.900"),
            ("AdamW", "1", "0.880"),
            ("before", "2", "0.902"),
            ("AdamW", "2", "0.892"),
        )
    ]
    assert list(records.ideas(rows)) == [
        ["before", "UNet", "2", "-", "0.901 (0.900 to 0.902)"],
        ["AdamW", "UNet", "2", "-1.5 (-2.0 to -1.0)", "0.886 (0.880 to 0.892)"],
    ]


def test_the_page_is_made_from_the_rows() -> None:
    assert records.PAGE.read_text(encoding="utf-8") == records.document()
