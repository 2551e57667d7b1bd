"""The state of an unfinished training: found again when nothing changed, and never believed when something did."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from pathlib import Path

import pytest
import torch

from hostile import Malicious
from learning import resume
from reliability import fault


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `resume` sees; writing takes none unless a test says so."""
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def kept(folder: Path, made_from: resume.Fingerprint, name: str = "unet") -> resume.Keeper:
    """With the state of two epochs."""
    keeper = resume.Keeper(folder, name, made_from)
    keeper.keep(2, lambda: {"history": [1, 2]}, last=False)
    return keeper


# --- what it follows from ---------------------------------------------------------------------------------------------


def test_a_fingerprint_is_of_values_and_of_what_files_hold(tmp_path: Path) -> None:
    file = tmp_path / "engine.py"
    file.write_text("a = 1")

    def found(seed: int | str) -> resume.Fingerprint:
        return resume.fingerprint({"seed": seed, "train.lr": 0.1}, {"learning/engine.py": file})

    first = found(42)
    assert first == found(42)
    assert first != found(43)
    assert first != found("42"), "text is no number"
    assert list(first) == ["seed", "train.lr", "learning/engine.py"]
    file.write_text("a = 2")
    assert found(42) == first | {"learning/engine.py": hashlib.blake2b(b"a = 2").hexdigest()[:32]}
    assert found(42) != first


def test_a_difference_names_values_and_files() -> None:
    before = {"lr": "0.1", "engine.py": "a" * 32, "gone": "1"}
    now = {"lr": "0.2", "engine.py": "b" * 32, "new": "2"}
    assert resume.difference(before, before) == ""
    assert resume.difference(before, now) == "lr (0.1 to 0.2), engine.py, gone (1 to nothing) and 1 more"
    del now["new"]
    assert resume.difference(before, now) == "lr (0.1 to 0.2), engine.py, gone (1 to nothing)"
    assert resume.difference({}, {"new": "2"}) == "new (nothing to 2)"


@pytest.mark.parametrize(("length", "said"), [(30, f"key ({'x' * 30} to 1)"), (31, "key")])
def test_a_long_value_is_not_shown(length: int, said: str) -> None:
    assert resume.difference({"key": "x" * length}, {"key": "1"}) == said
    assert (resume.difference({"key": "1"}, {"key": "x" * length}) == "key") == (said == "key")


def test_each_thing_that_a_run_follows_from_has_its_own_file(tmp_path: Path) -> None:
    paths = {resume.Keeper(tmp_path, name, {"a": a}).path for name in ("unet", "resnet34_unet") for a in ("1", "2")}
    assert len(paths) == 4
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert resume.Keeper(tmp_path, "unet", one).path == resume.Keeper(tmp_path, "unet", other).path, "in any order"


# --- found again ------------------------------------------------------------------------------------------------------


def test_state_is_found_again(tmp_path: Path) -> None:
    again = resume.Keeper(tmp_path, "unet", {"a": "1"})
    assert again.load() == (None, "")
    assert again.epochs == 0
    kept(tmp_path, {"a": "1"})
    state, news = again.load()
    assert state == {"made_from": {"a": "1"}, "history": [1, 2]}
    assert again.epochs == 2
    assert news == "going on after epoch 2 of an interrupted run"


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(7)}
    resume.save(tmp_path / "x.state", {}, tensors)
    found = resume.read(tmp_path / "x.state")
    assert found is not None and all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_code_in_a_state_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resume.save(tmp_path / "x.state", {}, {"history": Malicious()})
    with pytest.raises(pickle.UnpicklingError):
        resume.read(tmp_path / "x.state")
    assert not (tmp_path / "executed").exists()


def test_a_state_of_something_else_is_named_and_kept(tmp_path: Path) -> None:
    other = kept(tmp_path, {"lr": "0.1"})
    keeper = resume.Keeper(tmp_path, "unet", {"lr": "0.2"})
    state, news = keeper.load()
    assert state is None and keeper.epochs == 0
    what = "starting afresh: since the interrupted run, lr (0.1 to 0.2) changed; its epochs stay in"
    assert news == f"{what} {other.path}"
    assert other.path.exists()


def test_of_several_the_newest_is_named(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        os.utime(kept(tmp_path, {"lr": str(number)}).path, (number, number))
    _, news = resume.Keeper(tmp_path, "unet", {"lr": "9"}).load()
    assert "lr (3 to 9)" in news


def test_a_state_of_another_network_is_not_looked_at(tmp_path: Path) -> None:
    kept(tmp_path, {"a": "2"}, "resnet34_unet")
    assert resume.Keeper(tmp_path, "unet", {"a": "1"}).load() == (None, "")


@fault("Corruption", "the state of an interrupted training", "said, set aside, and trained from the beginning")
@pytest.mark.parametrize("damage", ["cut", "flipped", "flipped at the start", "empty"])
def test_a_damaged_state_is_set_aside(tmp_path: Path, damage: str) -> None:
    keeper = kept(tmp_path, {"a": "1"})
    content = bytearray(keeper.path.read_bytes())
    content[0 if "start" in damage else len(content) // 2] ^= 1
    keeper.path.write_bytes(
        {"cut": keeper.path.read_bytes()[:-9], "empty": b""}.get(damage, bytes(content)),
    )
    state, news = resume.Keeper(tmp_path, "unet", {"a": "1"}).load()
    assert state is None
    aside = keeper.path.with_suffix(".damaged")
    assert news == f"starting afresh: {keeper.path} is torn or damaged and was set aside as {aside.name}"
    assert not keeper.path.exists()
    assert aside.exists()


def test_a_damaged_state_of_something_else_is_no_news(tmp_path: Path) -> None:
    other = kept(tmp_path, {"a": "2"})
    other.path.write_bytes(b"torn")
    assert resume.Keeper(tmp_path, "unet", {"a": "1"}).load() == (None, "")


@pytest.mark.parametrize("moment", ["listed", "read"])
@pytest.mark.parametrize("whose", ["1", "2"])
def test_a_state_that_goes_while_it_is_looked_for_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str, moment: str
) -> None:
    """As when a training beside this one ends."""
    path = kept(tmp_path, {"a": whose}).path
    if moment == "listed":
        path.unlink()
        path.symlink_to(tmp_path / "gone")
    else:
        whole = resume.read
        monkeypatch.setattr(resume, "read", lambda file: (file.unlink(missing_ok=True), whole(file))[1])
    keeper = resume.Keeper(tmp_path, "unet", {"a": "1"})
    assert keeper.load() == (None, "")
    assert keeper.others() == []


# --- kept -------------------------------------------------------------------------------------------------------------


def test_the_last_three_states_of_a_network_are_kept(tmp_path: Path) -> None:
    other = kept(tmp_path, {"a": "0"}, "resnet34_unet")
    for number in range(5):
        os.utime(kept(tmp_path, {"a": str(number)}).path, (number, number))
    kept(tmp_path, {"a": "2"})
    found = {number: resume.Keeper(tmp_path, "unet", {"a": str(number)}).load()[0] is not None for number in range(5)}
    assert found == {0: False, 1: False, 2: True, 3: True, 4: True}
    assert other.path.exists()


def test_an_old_state_that_goes_meanwhile_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [tmp_path / f"unet-{number}.state" for number in range(4)]
    monkeypatch.setattr(resume.Keeper, "others", lambda _: gone)
    assert kept(tmp_path, {"a": "1"}).path.exists()


@pytest.mark.parametrize(("epoch", "write", "written"), [(1, 0.1875, 100), (1, 0.25, 21), (1, 1, 7), (30, 1, 100)])
def test_writing_states_takes_a_small_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], epoch: float, write: float, written: int
) -> None:
    """Up to 0.2 s at each of a hundred epochs, else a twentieth of the time; and the last one always."""
    epochs: list[int] = []

    def save(*_: object) -> None:
        clock[0] += write
        epochs.append(number)

    monkeypatch.setattr(resume, "save", save)
    keeper = resume.Keeper(tmp_path, "unet", {})
    for number in range(1, 101):
        clock[0] += epoch
        keeper.keep(number, dict, last=number == 100)
        assert keeper.epochs == epochs[-1]
    assert epochs[0] == 1
    assert epochs[-1] == 100
    assert len(epochs) == written
