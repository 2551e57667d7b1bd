"""`verify.py` from start to exit code, in a small repository; what `dvc repro` makes there is written by hand."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import verify
from project import ROOT, commit, shell
from utils import Refusal

WEIGHTS = {"saved_models/unet.pth": "1", "saved_models/resnet34_unet.pth": "2"}
OUTPUTS = (*WEIGHTS, "metrics/test.json", "metrics/unet.json", "metrics/resnet34_unet.json")


def write_results(folder: Path, dice: dict[str, float], cpu: str = "AVX2", **hashes: str) -> None:
    """dvc.lock and the metrics, as a run leaves them."""
    (folder / "metrics").mkdir(exist_ok=True)
    machine = {"cpu": cpu, "threads": 2}
    for name in ("unet", "resnet34_unet"):
        (folder / f"metrics/{name}.json").write_text(json.dumps({"run": [machine]}))
    (folder / "metrics/test.json").write_text(json.dumps({name: {"dice": value} for name, value in dice.items()}))
    written = {f"metrics/{file.name}": file.read_bytes() for file in (folder / "metrics").iterdir()}
    outputs = WEIGHTS | {name: hashlib.md5(content).hexdigest() for name, content in written.items()} | hashes
    report = [path for path in hashes if path == verify.REPORT]
    stages: dict[str, dict[str, Any]] = {
        "train": {"cmd": "train", "outs": [{"path": path, "md5": outputs[path]} for path in [*WEIGHTS, *report]]},
        "evaluate": {"cmd": "score", "outs": [{"path": path, "md5": outputs[path]} for path in written]},
        "no outputs": {"cmd": "true"},
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    commands = {name: {"cmd": stage["cmd"]} for name, stage in stages.items()}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": commands}))


DICE = {"unet": 0.9, "resnet34_unet": 0.9, "ensemble": 0.9}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With committed results, as working directory."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "requirements.txt").write_text("")
    write_results(folder, DICE)
    shell(folder, "git", "init", "-q")
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of verify.main when a rerun in the clone gives these results."""

    def run(dice: dict[str, float], **results: Any) -> int:
        def repro(clone: Path) -> None:
            assert clone != Path.cwd() and (clone / ".git").exists()
            write_results(clone, dice, **results)

        monkeypatch.setattr(verify, "repro", repro)
        with pytest.raises(SystemExit) as end:
            verify.main(verify.arguments([]))
        return int(end.value.code or 0)

    return run


Verified = Callable[..., int]


def test_the_same_bytes(repository: Path, verified: Verified, capfd: pytest.CaptureFixture[str]) -> None:
    assert verified(DICE) == 0
    out, err = capfd.readouterr()
    assert [line.split() for line in out.splitlines() if line.startswith("same")] == [
        ["same", name] for name in sorted(OUTPUTS)
    ]
    assert out.splitlines()[-1] == "reproduced: all 5 outputs are the same to the byte"
    assert "DIFFERS" not in out and "not committed" not in out and err == ""
    assert shell(repository, "git", "status", "--porcelain") == ""


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("dice", "cpu", "code"),
    [
        ({}, "NEON", 0),
        ({"unet": 0.885}, "NEON", 0),
        ({"unet": 0.915}, "NEON", 0),
        ({"unet": 0.875}, "NEON", 1),
        ({"unet": 0.925}, "NEON", 1),
        ({"ensemble": 0.875}, "NEON", 1),
        ({"resnet34_unet": 0.875}, "NEON", 1),
        ({}, "AVX2", 1),
    ],
)
def test_other_bytes_are_judged_by_every_dice_and_the_machine(
    dice: dict[str, float], cpu: str, code: int, verified: Verified, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verified(DICE | dice, cpu=cpu, **{"metrics/test.json": "9"}) == code
    out = capfd.readouterr().out
    assert "DIFFERS  metrics/test.json" in out
    assert out.count("same     saved_models/") == 2
    assert ("cpu" in out and "AVX2 recorded, NEON here" in out) == (cpu == "NEON")
    for name, value in (DICE | dice).items():
        assert f"test Dice of {name}: 0.9000 recorded, {value:.4f} here" in out


def test_what_is_not_committed_is_said_and_not_compared(
    repository: Path, verified: Verified, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "untracked").write_text("of no interest")
    assert verified(DICE) == 0
    assert "not committed" not in capfd.readouterr().out
    write_results(repository, DICE | {"unet": 0.1}, cpu="another")
    assert verified(DICE, **{"metrics/test.json": "9"}) == 1
    out = capfd.readouterr().out
    assert out.startswith("note: what is not committed is not verified\n")
    assert "test Dice of unet: 0.9000 recorded, 0.9000 here" in out
    assert "no recorded property of the machine differs" in out


def test_every_stage_runs_with_this_interpreters_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], dict[str, Any]]] = []

    def exit_code(command: list[str], **options: Any) -> int:
        calls.append((command, options))
        return 3 * (len(calls) - 1)

    monkeypatch.setattr(verify, "exit_code", exit_code)
    monkeypatch.setenv("SEEN", "yes")
    verify.repro(tmp_path)
    (command, options), *_ = calls
    assert command == [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    assert options["cwd"] == tmp_path
    assert options["env"]["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert options["env"]["PATH"].endswith(os.environ["PATH"]) and options["env"]["SEEN"] == "yes"
    with pytest.raises(Refusal, match=r"dvc repro failed in the clone \(exit code 3\)"):
        verify.repro(tmp_path)


@pytest.mark.usefixtures("repository")
def test_git_says_why_it_failed() -> None:
    assert verify.shell("git", "rev-parse", "--show-prefix") == "\n"
    with pytest.raises(Refusal, match=r"^git: fatal: path 'none' does not exist.*; verify compares with a commit"):
        verify.shell("git", "show", "HEAD:none")
    with pytest.raises(Refusal, match=r"^git: .*No such file or directory: 'none'; verify compares with a commit"):
        verify.shell("none", "at", "all")


def test_photographs_that_are_here_take_the_place_of_the_source(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The report shows where they lie, so it is not compared; everything else is."""
    (repository / "photos").mkdir()
    seen: list[str] = []

    def repro(clone: Path) -> None:
        seen.append(yaml.safe_load((clone / "params.yaml").read_text())["data"]["source"])
        write_results(clone, DICE, **{"plots/report.html": "8", "saved_models/unet.pth": "9"})

    write_results(repository, DICE, **{"plots/report.html": "7"})
    commit(repository)
    monkeypatch.setattr(verify, "repro", repro)
    with pytest.raises(SystemExit) as end:
        verify.main(verify.arguments(["--data", "photos"]))
    out = capfd.readouterr().out
    assert end.value.code == 1 and seen == [str(repository / "photos")]
    assert "not compared, since it shows data.source: plots/report.html" in out
    assert "DIFFERS  saved_models/unet.pth" in out and "  plots/report.html" not in out.replace(": plots", "")
