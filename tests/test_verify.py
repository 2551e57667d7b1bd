"""The verdict on a rerun: what counts as reproduced."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import verify
from utils import Refusal
from verify import SCORES, differences, other_packages, verdict

TRAININGS = ("metrics/unet.json", "metrics/resnet34_unet.json")
HASHES = {"saved_models/unet.pth": "1", "metrics/test.json": "2"}
OTHER = HASHES | {"saved_models/unet.pth": "3"}


@pytest.fixture(autouse=True)
def no_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is tested as if every pin were installed; what compares them has a test of its own."""
    monkeypatch.setattr(verify, "other_packages", lambda _: [])


def results(dice: float = 0.9, **environment: Any) -> dict[str, dict[str, Any]]:
    """What is read from the metrics of a run."""
    runs = {name: {"run": [{"best_epoch": 7, "cpu": "AVX2", "threads": 2}]} for name in TRAININGS}
    runs["metrics/unet.json"]["run"][0] |= environment
    methods = ("unet", "resnet34_unet", "ensemble")
    return {**runs, SCORES: {name: {"dice": dice} for name in methods} | {"scores": [{"method": "unet"}]}}


def test_equal_bytes_are_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(HASHES, HASHES, results(), results()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "same     saved_models/unet.pth" in lines
    assert lines[-1] == "reproduced: all 2 outputs are the same to the byte"


@pytest.mark.parametrize(
    ("here", "code", "says"),
    [
        (results(0.885, cpu="NEON"), 0, "unet: cpu AVX2 recorded, NEON here"),
        (results(0.87, cpu="NEON"), 1, "more than 0.02 away"),
        (results(0.885), 1, "although the machine is of the recorded kind"),
    ],
)
def test_other_bytes(here: dict[str, Any], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(HASHES, OTHER, results(), here) == code
    printed = capsys.readouterr().out
    assert "DIFFERS  saved_models/unet.pth" in printed
    assert "same     metrics/test.json" in printed
    assert says in printed


@pytest.mark.parametrize("name", ["dataset/oxford-iiit-pet", "dataset/cache/train.npy", "metrics/data.json"])
def test_data_must_be_the_same_on_every_machine(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    there, here = ({**HASHES, name: mark} for mark in ("1", "2"))
    assert verdict(there, here, results(), results(cpu="NEON")) == 1
    assert capsys.readouterr().out.endswith(f"NOT reproduced: {name} differs, which is the same on every machine\n")


def test_an_output_that_is_no_longer_made_is_seen() -> None:
    assert verdict(HASHES, {"metrics/test.json": "2"}, results(), results()) == 1


def test_a_machine_that_differs_for_one_network_alone_is_named() -> None:
    found = list(differences(results(), results(driver="580.1", best_epoch=9)))
    assert found == ["unet: driver none recorded, 580.1 here"]


def test_packages_are_compared_with_the_pins(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    installed = metadata.version("pytest")
    pins.write_text(f"pytest==0.1\npytest=={installed} ; python_version > '3'\nnumpy==0.1 \\\nno-such-package==1\n")
    (line,) = other_packages(pins)
    assert line.startswith(f"numpy: 0.1 in {pins}, ")


def test_another_build_of_torch_is_no_other_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training records the build, so it is compared there."""
    pins = tmp_path / "pins.txt"
    pins.write_text("torch==2.11.0\n")
    found = {"2.11.0+cpu": 0, "2.11.0": 0, "2.11.1+cpu": 1}
    for version, others in found.items():
        monkeypatch.setattr(metadata, "version", lambda _, version=version: version)
        assert len(list(other_packages(pins))) == others


def test_outside_of_a_clone_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match="run it in a git clone"):
        verify.main(verify.arguments([]))
