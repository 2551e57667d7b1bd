"""A network is added by its file, its section and its stage: everything else follows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from project import clone, ran, shell

pytestmark = pytest.mark.pipeline

FCN = '''"""A tiny fully convolutional network: no skip connections."""

from torch import Tensor, nn

from models.parts import Conv, ConvNorm, Decode, EncoderDecoder, initialise
from params.values import Channels, Flag


class FCN(EncoderDecoder):
    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, width: Channels = 8, norm_affine: Flag = True
    ) -> None:
        super().__init__()
        self.encoder = ConvNorm(in_channels, width, stride=2, padding="zeros", affine=norm_affine)
        common = {"upsample": "nearest", "padding": "zeros", "dropout": 0.0, "attention": False}
        self.decoder = nn.ModuleList([Decode(width, width, 0, width, affine=norm_affine, **common)])
        self.head = Conv(width, out_channels, 1, bias=True)
        initialise(self)

    def decoded(self, image: Tensor) -> list[Tensor]:
        return [self.decoder[0](self.encoder(image).relu())]
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which FCN was added and everything has run."""
    folder = clone(tmp_path_factory.mktemp("third") / "project")
    (folder / "src/models/fcn.py").write_text(FCN, encoding="utf-8")
    for name, old, new in (
        ("params.yaml", "evaluate:\n", "fcn: {width: 4, norm_affine: true, train: {}}\nevaluate:\n"),
        ("dvc.yaml", "\n  evaluate:\n", stage(folder) + "\n  evaluate:\n"),
        ("dvc.yaml", *twice("      - saved_models/unet.pth\n      - src/evaluate.py", "unet", "fcn")),
        ("dvc.yaml", *twice("      - metrics/unet.json\n      - plots/", "unet", "fcn")),
        ("dvc.yaml", *twice("      - plots/history_unet.csv\n      - plots/images", "history_unet", "history_fcn")),
        ("dvc.yaml", *twice("        plots/history_unet.csv: [train_dice, valid_dice]\n", "unet", "fcn")),
        ("dvc.yaml", *twice("        plots/history_unet.csv: [train_loss, valid_loss]\n", "unet", "fcn")),
        ("dvc.yaml", "[unet_dice, resnet34_unet_dice]", "[unet_dice, resnet34_unet_dice, fcn_dice]"),
        ("dvc.yaml", "[unet, resnet34_unet, ensemble]", "[unet, resnet34_unet, fcn, ensemble]"),
    ):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    changed = shell(folder, "git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert [line[3:] for line in changed] == ["dvc.yaml", "params.yaml", "src/models/fcn.py"]
    assert "train_fcn" in ran(shell(folder, "dvc", "repro"))
    return folder


def stage(folder: Path) -> str:
    """UNet's stage, for FCN."""
    text = (folder / "dvc.yaml").read_text(encoding="utf-8")
    start = text.index("\n  train_unet:\n")
    return text[start : text.index("\n\n", start + 1)].replace("unet", "fcn").replace("UNet", "FCN") + "\n"


def twice(line: str, old: str, new: str) -> tuple[str, str]:
    """To replace a line by itself and by the same for the new network."""
    first = line.splitlines()[0] + "\n"
    return line, first.replace(old, new) + line


def test_it_is_trained_scored_and_part_of_the_ensemble(place: Path) -> None:
    written = json.loads((place / "metrics/test.json").read_text())
    assert [name for name in written if not isinstance(written[name], list)] == [
        *("unet", "resnet34_unet", "fcn"),
        "ensemble",
    ]
    assert [row["method"] for row in written["scores"]][:4] == ["unet", "resnet34_unet", "fcn", "ensemble"]
    pairs = [(row["network"], row["minus"]) for row in written["differences"]]
    assert pairs == [("resnet34_unet", "unet"), ("fcn", "unet"), ("fcn", "resnet34_unet")]
    by_name = {row["method"]: row for row in written["scores"]}
    for row in written["differences"]:
        apart = by_name[row["network"]]["dice"] - by_name[row["minus"]]["dice"]
        assert row["dice"] == pytest.approx(apart, abs=2e-5)


def test_the_report_the_summary_and_the_charts_show_it(place: Path) -> None:
    report = (place / "plots/report.html").read_text(encoding="utf-8")
    assert report.count('<div class="card" ') == 4
    assert ">fcn<b>" in report and "fcn minus" in report.replace("is better than", "minus")
    assert "fcn            test Dice 0." in shell(place, "python", "src/summary.py")
    page = shell(place, "dvc", "plots", "show", "--json", "plots/thresholds.csv", "Validation Dice by threshold")
    assert '"field": "fcn"' in page.replace("'", '"')


def test_only_it_trains_when_its_code_changes(place: Path) -> None:
    file = place / "src/models/fcn.py"
    file.write_text(FCN + "# a comment\n", encoding="utf-8")
    assert ran(shell(place, "dvc", "repro")) == ["train_fcn", "evaluate"]
    file.write_text(FCN, encoding="utf-8")


def test_inference_takes_its_weights_beside_the_others(place: Path) -> None:
    photo = next((place / "pets/images").glob("*.jpg"))
    weights = [f"saved_models/{name}.pth" for name in ("unet", "fcn")]
    shell(place, "python", "src/inference.py", str(photo), "--weights", *weights, "--out", "found")
    assert {file.name.rpartition("_")[2] for file in (place / "found").iterdir()} == {
        "mask.png",
        "overlay.png",
        "compare.png",
    }
    shutil.rmtree(place / "found")


def test_without_its_file_its_section_and_its_weights_are_named(place: Path) -> None:
    (place / "src/models/fcn.py").rename(place / "fcn.py")
    try:
        with pytest.raises(AssertionError, match=r"params.yaml: fcn = .*unknown key; known here: seed"):
            shell(place, "python", "src/plot.py")
        words = (
            "--weights",
            "saved_models/fcn.pth",
            "--out",
            "found",
            str(next((place / "pets/images").glob("*.jpg"))),
        )
        with pytest.raises(
            AssertionError, match=r"fcn.pth: weights of the network 'fcn', and there is no src/models/fcn"
        ):
            shell(place, "python", "src/inference.py", *words)
    finally:
        (place / "fcn.py").rename(place / "src/models/fcn.py")
