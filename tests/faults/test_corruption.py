"""Files damaged after they were written: DVC puts them back, and the scripts name what they can tell."""

from __future__ import annotations

import pickle
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import plot
from project import ran, results, shell
from reliability import fault
from results import NETWORKS
from scripts import script
from utils import Refusal

Damage = Callable[[bytes], bytes]


def flipped(content: bytes, place: float = 0.5) -> bytes:
    """With one bit turned, at this share of the way."""
    at = int(place * len(content))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def torn(content: bytes) -> bytes:
    return content[: len(content) // 2]


# --- under DVC --------------------------------------------------------------------------------------------------------


@pytest.mark.pipeline
@fault(
    "Corruption",
    "any output of the pipeline, written over with other bytes",
    "`dvc status` names it; `dvc repro` puts it back from its cache, or makes it again",
)
def test_dvc_puts_back_what_was_written_over(pipeline: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "x")
    damages: dict[str, Damage] = {
        "dataset/oxford-iiit-pet/images/pug_4.jpg": torn,
        "dataset/cache/train.npy": flipped,
        "saved_models/unet.pth": torn,
        "plots/history_resnet34_unet.csv": flipped,
        "metrics/data.json": torn,
        "dataset/predictions.npz": flipped,
        "plots/report.html": torn,
    }
    for name, damage in damages.items():
        content = damage((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).write_bytes(content)
    status = shell(folder, "dvc", "status")
    assert [name for name in damages if name not in status] == ["dataset/oxford-iiit-pet/images/pug_4.jpg"]
    assert "modified:           dataset/oxford-iiit-pet\n" in status
    shell(folder, "dvc", "repro")
    assert results(folder) == results(pipeline)


@pytest.mark.pipeline
@fault(
    "Corruption",
    "a tensor in its place and in DVC's cache, which are one file where they are linked",
    "`dvc status` names it; after `chmod -R u+w .dvc/cache` DVC looks at its own, and `dvc repro` makes it again",
)
def test_dvc_makes_again_what_is_damaged_in_its_cache_too(pipeline: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "x")
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    [md5] = [out["md5"] for out in lock["stages"]["preprocess"]["outs"] if out["path"] == "dataset/cache/train.npy"]
    for file in (folder / "dataset/cache/train.npy", folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]):
        file.write_bytes(flipped(file.read_bytes()))
    assert "modified:           dataset/cache/train.npy" in shell(folder, "dvc", "status")
    shell(folder, "chmod", "-R", "u+w", ".dvc/cache")
    assert ran(shell(folder, "dvc", "repro")) == ["preprocess"]
    assert results(folder) == results(pipeline)


# --- what a script itself can tell ------------------------------------------------------------------------------------


@fault("Corruption", "half of a file that `plot` reads is gone", "`plot` names it, exit 1; the report of before stays")
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "name",
    [
        "dataset/predictions.npz",
        "metrics/data.json",
        "metrics/test.json",
        "metrics/unet.json",
        "plots/history_unet.csv",
        "plots/images/dataset.png",
        "plots/test_breeds.csv",
        "plots/test_images.csv",
        "plots/thresholds.csv",
    ],
)
def test_plot_names_a_torn_file(name: str) -> None:
    file = Path(name)
    file.write_bytes(torn(file.read_bytes()))
    report = Path("plots/report.html")
    report.write_text("of before")
    done = script("plot")
    assert done.code == 1
    assert re.fullmatch(rf"plot: {name}: .*; delete it and run `dvc repro` to make it anew\n", done.err)
    assert report.read_text() == "of before"


@fault("Corruption", "a bit of the kept predictions", "`plot` names the file, or the bit is of no consequence")
@pytest.mark.usefixtures("place")
def test_a_flipped_bit_never_changes_a_picture_unnoticed() -> None:
    file, dices = Path("dataset/predictions.npz"), [f"{name}_dice" for name in NETWORKS]
    scores = plot.read_table(Path("plots/test_images.csv"), dices, ("name",))
    sound, draw = file.read_bytes(), random.Random(0)
    before = pickle.dumps(plot.read_photos(file, scores, NETWORKS, "pet"))
    noticed = 0
    for _ in range(300):
        file.write_bytes(flipped(sound, draw.random()))
        try:
            assert pickle.dumps(plot.read_photos(file, scores, NETWORKS, "pet")) == before
        except Refusal as refusal:
            assert str(refusal).startswith(f"{file}: ")
            noticed += 1
    assert noticed > 200
