"""What dvc.lock says of a clone, compared with the clone itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import lock
from utils import Refusal

PARAMS = {"seed": 42, "train": {"lr": 0.001, "augment": {"hflip": 0.5}}, "unet": {"width": 4, "train": {}}}


def md5(content: str) -> str:
    return hashlib.md5(content.encode()).hexdigest()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Two stages that have run, as DVC would leave them."""
    folder = tmp_path / "clone"
    for name, content in (
        ("src/train.py", "print(1)"),
        ("metrics/unet.json", "{}"),
        ("plots/history.csv", "epoch\n1\n"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    stages: dict[str, Any] = {
        "train": {
            "cmd": "python src/train.py",
            "deps": [
                {"path": "dataset/cache/train.npy", "md5": "0"},
                {"path": "src/train.py", "md5": md5("print(1)")},
            ],
            "params": {"params.yaml": {"seed": 42, "train": PARAMS["train"], "unet": PARAMS["unet"]}},
            "outs": [
                {"path": "saved_models/unet.pth", "md5": "1"},
                {"path": "metrics/unet.json", "md5": md5("{}")},
                {"path": "plots/history.csv", "md5": md5("epoch\n1\n")},
            ],
        },
        "preprocess": {"cmd": "python src/p.py", "outs": [{"path": "dataset/cache", "md5": "2.dir"}]},
        "plot": {"cmd": "python src/plot.py", "deps": [{"path": "saved_models", "md5": "3.dir"}]},
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {n: {"cmd": s["cmd"]} for n, s in stages.items()}}))
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return folder


def said(clone: Path) -> str:
    """What is refused, '' for nothing."""
    try:
        found = lock.read_lock(clone)
        lock.refuse_edited(clone, found)
        lock.refuse_stale(clone, found)
    except Refusal as refusal:
        return f"{refusal.code}: {refusal}"
    return ""


def edit(clone: Path, name: str, change: Callable[[Any], Any]) -> None:
    values = yaml.safe_load((clone / name).read_text())
    change(values)
    (clone / name).write_text(yaml.safe_dump(values))


def test_what_has_run_and_was_not_touched_is_taken(clone: Path) -> None:
    assert said(clone) == ""


def test_the_hash_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    """`dvc add` of these three files gave this hash."""
    for name, content in (("b.py", "print(1)\n"), ("a b.py", "x"), ("sub/__init__.py", "print(2)\n")):
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text(content)
    (tmp_path / "code/__pycache__").mkdir()
    (tmp_path / "code/__pycache__/b.pyc").write_text("no part of it")
    assert lock.hash_of(tmp_path, "code") == "a0e84a8c0c83dc89efaf4f73ff2a9d61.dir"
    assert lock.hash_of(tmp_path, "code/b.py") == md5("print(1)\n")
    assert lock.hash_of(tmp_path, "none") == ""


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("metrics/unet.json", '{"dice": 1}', "1: metrics/unet.json: dvc.lock has another hash: it was edited by hand"),
        ("plots/history.csv", "epoch\n2\n", "1: plots/history.csv: dvc.lock has another hash"),
        ("metrics/mine.json", "{}", "1: metrics/mine.json: no stage in dvc.lock has written it"),
        ("plots/mine.csv", "a", "1: plots/mine.csv: no stage in dvc.lock has written it"),
        ("plots/notes.txt", "a", ""),
        ("src/train.py", "print(2)", "2: nothing can be verified: src/train.py changed"),
    ],
)
def test_a_file_with_another_content_is_named(clone: Path, name: str, content: str, says: str) -> None:
    (clone / name).write_text(content)
    assert said(clone).startswith(says) and bool(said(clone)) == bool(says)


@pytest.mark.parametrize("name", ["metrics/unet.json", "plots/history.csv"])
def test_a_result_that_is_gone_is_named(clone: Path, name: str) -> None:
    (clone / name).unlink()
    assert said(clone).startswith(f"1: {name}: it is missing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values.update(seed=43), "params.yaml: seed changed"),
        (lambda values: values["train"].update(lr=0.002), "params.yaml: train changed"),
        (lambda values: values["train"]["augment"].update(hflip=True), "params.yaml: train changed"),
        (lambda values: values["unet"].update(train={"lr": 1}), "params.yaml: unet changed"),
        (lambda values: values.pop("unet"), "params.yaml: unet changed"),
        (lambda values: values["train"].update(lr="1e-3"), ""),
        (lambda values: values.update(seed=42.0), ""),
        (lambda values: values.update(threads=3), ""),
        (lambda values: values.update(seed=10**400), "params.yaml: seed changed"),
    ],
)
def test_a_parameter_that_a_stage_read_is_named(clone: Path, change: Callable[[Any], Any], says: str) -> None:
    edit(clone, "params.yaml", change)
    assert said(clone).startswith(says and f"2: nothing can be verified: {says}") and bool(said(clone)) == bool(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda stages: stages["train"].update(cmd="python src/forge.py"), "dvc.yaml: train changed"),
        (lambda stages: stages.pop("train"), "dvc.yaml: train changed"),
        (lambda stages: stages.update(more={"cmd": "x"}), "dvc.yaml: more changed"),
        (lambda stages: stages.update(train=5), "dvc.yaml: train changed"),
    ],
)
def test_a_stage_that_changed_is_named(clone: Path, change: Callable[[Any], Any], says: str) -> None:
    edit(clone, "dvc.yaml", lambda values: change(values["stages"]))
    assert (
        said(clone)
        == f"2: nothing can be verified: {says} after the last run; run `dvc repro` and commit what it writes"
    )


def test_lists_that_hold_each_other_are_not_unfolded(clone: Path) -> None:
    """A few lines that are billions of values."""
    laughs = ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    text = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text("\n".join([*laughs, "laughs: *a11", text]))
    edit(clone, "dvc.lock", lambda values: values["stages"]["train"]["params"]["params.yaml"].update(laughs=1))
    assert "params.yaml: laughs changed" in said(clone)


def test_of_three_changes_all_are_named(clone: Path) -> None:
    edit(clone, "params.yaml", lambda values: values.update(seed=1, unet=2, train=3))
    assert "params.yaml: seed, params.yaml: train, params.yaml: unet changed" in said(clone)


def test_of_many_changes_three_are_named(clone: Path) -> None:
    edit(clone, "dvc.yaml", lambda values: values["stages"].update({f"s{i}": {"cmd": "x"} for i in range(3)}))
    edit(clone, "params.yaml", lambda values: values.update(seed=1, unet=2))
    assert "dvc.yaml: s0, dvc.yaml: s1, dvc.yaml: s2 and 2 more changed" in said(clone)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}", "dvc.lock: names no stage"),
        ("stages: [1]", "dvc.lock: names no stage"),
        ("stages: {a: 1}", "dvc.lock: names no stage"),
        ("stages: {a: {outs: [{path: x}]}}", "dvc.lock: an input or output has no path or no md5"),
        ("stages: {a: {deps: [{path: 1, md5: x}]}}", "dvc.lock: an input or output has no path or no md5"),
        ("stages: {a: {deps: [x]}}", "dvc.lock: an input or output has no path or no md5"),
        ("stages: {a: {outs: [{path: ../x.json, md5: a}]}}", "metrics/unet.json: no stage"),
        ("stages: {a: {deps: 5}}", "dvc.lock: deps and outs are no lists"),
        ("stages: {a: {outs: {path: x}}}", "dvc.lock: deps and outs are no lists"),
        ("stages: {a: {params: [y]}}", "dvc.lock: deps and outs are no lists, or params no mapping"),
        ("stages: {a: {params: {params.yaml: [y]}}}", "dvc.lock: deps and outs are no lists, or params no mapping"),
        ("a: [", "dvc.lock: not valid YAML"),
        ("x: &x [*x]", "dvc.lock: not valid YAML"),
    ],
)
def test_a_lock_of_another_shape_is_refused(clone: Path, content: str, says: str) -> None:
    (clone / "dvc.lock").write_text(content)
    assert says in said(clone)


def test_links_and_paths_that_lead_out_are_not_followed(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    for path in ("../secret", str(tmp_path / "secret"), "src/../../secret", "src/a\0b"):
        with pytest.raises(Refusal, match="is a link, or leads out of the repository"):
            lock.hash_of(clone, path)
    (clone / "link").symlink_to(clone / "src/train.py")
    (clone / "src/link.py").symlink_to(tmp_path / "secret")
    for path in ("link", "src/link.py", "src"):
        with pytest.raises(Refusal, match="is a link, or leads out of the repository"):
            lock.hash_of(clone, path)


def test_what_is_missing_is_named_without_the_folder_that_it_is_missing_from(clone: Path) -> None:
    (clone / "dvc.lock").unlink()
    assert said(clone) == "1: dvc.lock: not found, so there is nothing to verify"
