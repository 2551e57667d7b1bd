"""Somebody else's repository: what does not agree with its own dvc.lock is refused before any of its code runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import verify
from project import commit, shell
from reliability import fault
from utils import Refusal

pytestmark = pytest.mark.pipeline

Change = Callable[[Path], object]


@pytest.fixture
def fork(pipeline: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "fork"
    shell(tmp_path, "git", "clone", "-q", str(pipeline), str(folder))
    return folder


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """How verify ends: what it refuses, or "trained again". Nothing is trained."""

    def repro(_: Path) -> None:
        raise InterruptedError

    monkeypatch.setattr(verify, "repro", repro)

    def check(folder: Path, *words: str) -> str:
        try:
            verify.main(verify.arguments(["--fork", str(folder), *words]))
        except Refusal as refusal:
            return str(refusal)
        except InterruptedError:
            return "trained again"
        raise AssertionError("verify ended")

    return check


def edited(name: str, change: Callable[[Any], Any]) -> Change:
    """JSON or YAML with a change."""

    def edit(fork: Path) -> None:
        file = fork / name
        values = yaml.safe_load(file.read_text())
        change(values)
        file.write_text(
            json.dumps(values, indent=2) if name.endswith("json") else yaml.safe_dump(values, sort_keys=False)
        )

    return edit


def replaced(name: str, old: str, new: str) -> Change:
    def edit(fork: Path) -> None:
        text = (fork / name).read_text()
        assert old in text
        (fork / name).write_text(text.replace(old, new, 1))

    return edit


def lock(change: Callable[[dict[str, Any]], Any]) -> Change:
    return edited("dvc.lock", lambda values: change(values["stages"]))


def link(fork: Path) -> None:
    (fork / "metrics/test.json").unlink()
    (fork / "metrics/test.json").symlink_to("/etc/hostname")


def test_what_agrees_is_trained_again(
    fork: Path, checked: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(fork) == "trained again"
    out = capsys.readouterr().out
    assert f"this runs the code of {fork} with your rights" in out and "container" in out


def test_it_can_end_before_the_training(
    fork: Path, checked: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the scores that were committed, for whoever looks at many forks."""
    verify.main(verify.arguments(["--fork", str(fork), "--no-training"]))
    scores = json.loads((fork / "metrics/test.json").read_text())
    assert capsys.readouterr().out.splitlines() == [
        "the committed results, code and parameters are those of dvc.lock; nothing was trained",
        *(f"test Dice of {name}: {scores[name]['dice']:.4f} recorded" for name in METHODS),
    ]
    (fork / "metrics/test.json").write_text("{}")
    commit(fork)
    assert checked(fork, "--no-training").startswith("metrics/test.json")


METHODS = ("unet", "resnet34_unet", "ensemble")
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3000\n"
NOT_RUN = "nothing can be verified: "
CASES: list[tuple[str, Change, str]] = [
    (
        "a Dice edited by hand",
        edited("metrics/test.json", lambda values: values["unet"].update(dice=0.987)),
        "metrics/test.json: dvc.lock has another hash: it was edited by hand",
    ),
    (
        "a table edited by hand",
        replaced("plots/history_unet.csv", "\n1,", "\n2,"),
        "plots/history_unet.csv: dvc.lock has another hash",
    ),
    (
        "a metrics file that is gone",
        lambda fork: (fork / "metrics/unet.json").unlink(),
        "metrics/unet.json: it is missing",
    ),
    (
        "a metrics file of nobody",
        lambda fork: (fork / "metrics/best.json").write_text("{}"),
        "metrics/best.json: no stage in dvc.lock has written it",
    ),
    (
        "a metrics file whose name moves the cursor and looks like an option",
        lambda fork: (fork / "metrics/--x\x1b[2J\n.json").write_text("{}"),
        r"metrics/--x\x1b[2J\n.json: no stage in dvc.lock has written it",
    ),
    (
        "a pointer of Git LFS in place of the scores",
        lambda fork: (fork / "metrics/test.json").write_text(POINTER),
        "metrics/test.json: dvc.lock has another hash",
    ),
    ("a link in place of the scores", link, "metrics/test.json: dvc.lock has another hash"),
    (
        "a parameter that was changed without a run",
        replaced("params.yaml", "seed: 42", "seed: 43"),
        NOT_RUN + "params.yaml: seed changed",
    ),
    (
        "code that was changed without a run",
        replaced("src/learning/losses.py", "clamp(min=1)", "clamp(min=2)"),
        NOT_RUN + "src/learning changed",
    ),
    (
        "a stage that was changed without a run",
        replaced("dvc.yaml", "cmd: python src/evaluate.py", "cmd: python src/forge.py"),
        NOT_RUN + "dvc.yaml: evaluate changed",
    ),
    ("no dvc.lock", lambda fork: (fork / "dvc.lock").unlink(), "dvc.lock: not found"),
    (
        "a dvc.lock without stages",
        lambda fork: (fork / "dvc.lock").write_text("stages: {}"),
        "dvc.lock: names no stage",
    ),
    ("a dvc.lock that is text", lambda fork: (fork / "dvc.lock").write_text("a: [\n"), "dvc.lock: not valid YAML"),
    (
        "a dvc.lock without hashes",
        lock(lambda stages: stages["evaluate"]["outs"][0].pop("md5")),
        "dvc.lock: an input or output has no path or no md5",
    ),
    (
        "a dvc.lock that leads out of the repository",
        lock(lambda stages: stages["evaluate"]["deps"].append({"path": "../../etc/passwd", "md5": "0"})),
        "../../etc/passwd: is a link, or leads out of the repository",
    ),
    (
        "a metrics file that is no metrics, with its hash in dvc.lock",
        lambda fork: forged(fork, "[]"),
        "metrics: not what train.py and evaluate.py write",
    ),
]


def forged(fork: Path, content: str) -> None:
    """The scores and their hash in dvc.lock: what only a retraining can find."""
    file = fork / "metrics/test.json"
    file.write_text(content)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()

    def change(stages: dict[str, Any]) -> None:
        next(out for out in stages["evaluate"]["outs"] if out["path"] == "metrics/test.json")["md5"] = md5

    lock(change)(fork)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            change, says, id=what, marks=fault("Hostile", f"a fork: {what}", "refused at once; none of its code runs")
        )
        for what, change, says in CASES
    ],
)
def test_what_does_not_agree_is_refused(fork: Path, checked: Callable[..., str], change: Change, says: str) -> None:
    change(fork)
    commit(fork)
    assert checked(fork).startswith(says)


@fault("Hostile", "a fork: scores and dvc.lock forged alike", "found by training again, exit 1")
def test_a_consistent_forgery_is_found_by_training_again(
    fork: Path, pipeline: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scores = json.loads((fork / "metrics/test.json").read_text())
    scores["unet"]["dice"] = 0.987
    forged(fork, json.dumps(scores))
    commit(fork)
    with pytest.raises(SystemExit) as end:
        verify.main(verify.arguments(["--fork", str(fork), "--data", str(pipeline / "pets")]))
    assert end.value.code == 1
    out = capfd.readouterr().out
    assert "DIFFERS  metrics/test.json" in out and out.count("DIFFERS") == 1, "a second run from nothing is the same"
    assert "test Dice of unet: 0.9870 recorded" in out
    assert out.splitlines()[-1].startswith(
        "NOT reproduced: outputs differ, although the machine is of the recorded kind"
    )


@pytest.mark.parametrize("revision", ["another", "v1"])
def test_another_branch_and_a_tag_are_checked(fork: Path, checked: Callable[..., str], revision: str) -> None:
    """They are not what is checked out."""
    shell(fork, "git", "checkout", "-q", "-b", "another")
    (fork / "metrics/test.json").write_text("{}")
    commit(fork)
    shell(fork, "git", "tag", "v1")
    shell(fork, "git", "checkout", "-q", "-")
    assert checked(fork) == "trained again"
    assert checked(fork, "--revision", revision).startswith("metrics/test.json")


def test_an_earlier_commit_is_checked(fork: Path, checked: Callable[..., str]) -> None:
    (fork / "metrics/test.json").write_text("{}")
    commit(fork)
    assert checked(fork).startswith("metrics/test.json")
    assert checked(fork, "--revision", "HEAD~1") == "trained again"
    assert "verify compares with a commit" in checked(fork, "--revision", "none")
    with pytest.raises(SystemExit):
        verify.arguments(["--revision", "--upload-pack=x"])


@fault("Hostile", "a fork: a submodule whose address is a command", "it is not fetched, and the command does not run")
def test_no_submodule_is_fetched(fork: Path, checked: Callable[..., str], tmp_path: Path) -> None:
    commit_of = shell(fork, "git", "rev-parse", "HEAD").strip()
    shell(fork, "git", "update-index", "--add", "--cacheinfo", f"160000,{commit_of},extra")
    (fork / ".gitmodules").write_text(f'[submodule "extra"]\npath = extra\nurl = "ext::touch {tmp_path}/ran"\n')
    shell(fork, "git", "add", ".gitmodules")
    shell(fork, "git", "commit", "-q", "-m", "a submodule")
    assert checked(fork) == "trained again"
    assert not (tmp_path / "ran").exists()


@fault("Hostile", "a fork: a hook that git would run", "it does not run")
def test_no_hook_runs(fork: Path, checked: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = tmp_path / "template"
    (template / "hooks").mkdir(parents=True)
    hook = template / "hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template))
    monkeypatch.delenv("GIT_CONFIG_COUNT")  # which keeps hooks from running in all tests
    assert checked(fork) == "trained again"
    assert not (tmp_path / "ran").exists()
    assert os.access(hook, os.X_OK)
