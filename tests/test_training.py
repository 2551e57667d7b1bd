"""The engine: it learns, every choice works, equal inputs give equal bytes, and an interruption changes nothing."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from torch._inductor.exc import InvalidCxxCompiler

import fake_tools
import models
import train
import training
from dying import end_of, forked
from learning import engine, parallel, resume
from learning.engine import NotFinite, Trainer, explained, spoken, symptom, waiting
from learning.origin import hash_of_code
from oxford_pet import BACKGROUND
from params.training import Augment, Train
from reliability import fault
from scoring.predict import Predictor
from scripts import script
from shared import checkpoint
from shared.inputs import CHANNELS, edges, gray, in_mode, statistics, unit
from shared.metrics import confusion, dice
from shared.thresholds import best_threshold, threshold_curves
from training import CPU, TRAIN, VALID, epochs, trainer
from utils import Refusal

pytestmark = pytest.mark.slow

SCHEDULES = get_args(Train.model_fields["schedule"].annotation)


def same(one: Trainer, other: Trainer) -> bool:
    equal = [torch.equal(a, b) for a, b in zip(one.best["state"].values(), other.best["state"].values(), strict=True)]
    last = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return one.history == other.history and all(equal) and all(torch.equal(a, b) for a, b in last)


@pytest.mark.parametrize("name", ["unet", "resnet34_unet"])
def test_it_learns(name: str) -> None:
    it = epochs(trainer(name, epochs=12, lr=0.01, schedule="one_cycle"), 12)
    assert it.best["valid_dice"] > 0.85
    assert it.history[-1]["train_loss"] < it.history[0]["train_loss"] / 2
    assert it.best["valid_dice"] == max(row["valid_dice"] for row in it.history)


def test_the_numbers_of_an_epoch_are_means_over_photographs() -> None:
    """The last batch of validation is smaller than the others. The rate is too small to change the weights."""
    still: dict[str, Any] = {"lr": 1e-12, "lr_min": 0, "augment": dict.fromkeys(Augment.model_fields, 0)}
    it = trainer(batch_size=4, shuffle=False, loss="bce", **still)
    torch.nn.init.constant_(it.network.get_parameter("head.bias"), 0.1)  # no pixel has a score of 0
    epochs(it, 1)

    def counted(pixels: torch.Tensor, network: torch.nn.Module, at_once: int) -> np.ndarray:
        """Loss, Dice and share of each photograph, then the means."""
        with torch.no_grad():
            scores = torch.cat([it.scores(network, unit(batch[..., :3])) for batch in pixels.split(at_once)]).numpy()
        truths, rows = pixels[..., 3].numpy() != BACKGROUND, []
        for score, truth in zip(scores.astype(float), truths, strict=True):
            found = score >= 0
            loss = np.log1p(np.exp(np.where(truth, -score, score))).mean()
            rows.append([loss, 2 * (found & truth).sum() / (found.sum() + truth.sum()), found.mean()])
        return np.mean(rows, 0)

    (row,) = it.history
    assert [row["valid_loss"], row["valid_dice"], row["valid_share"]] == pytest.approx(
        counted(VALID, it.network.eval(), 1), abs=1e-5
    )
    assert [row["train_loss"], row["train_dice"]] == pytest.approx(counted(TRAIN, it.network.train(), 4)[:2], abs=1e-5)


CHOICES: list[dict[str, Any]] = [
    *({"input": value} for value in CHANNELS),
    *({"loss": value} for value in get_args(Train.model_fields["loss"].annotation)),
    *({"optimizer": value} for value in get_args(Train.model_fields["optimizer"].annotation)),
    *({"schedule": value, "warmup": 1} for value in SCHEDULES),
    *({"precision": value} for value in get_args(Train.model_fields["precision"].annotation)),
    {"channels_last": False},
    {"shuffle": False},
    {"border_weight": 3},
    {"deep_supervision": 0.5},
    {"clip": 0},
    {"ema": 0.9},
    {"batch_size": 64},
    {"batch_size": 3},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_trains_and_repeats_to_the_bit(choice: dict[str, Any]) -> None:
    one, other = epochs(trainer(**choice), 2), epochs(trainer(**choice), 2)
    assert same(one, other)
    assert all(math.isfinite(value) for row in one.history for value in row.values())
    fresh = training.network("unet", CHANNELS[one.settings.input], 2 if one.settings.loss == "ce" else 1).state_dict()
    assert any(not torch.equal(a, b) for a, b in zip(fresh.values(), one.network.state_dict().values(), strict=True))


def test_batchnorm_goes_on_learning_after_validation() -> None:
    it = epochs(trainer(), 1)
    before = [b.clone() for b in it.network.buffers()]
    epochs(it, 2)
    assert not any(torch.equal(a, b) for a, b in zip(before, it.network.buffers(), strict=True))


def test_each_epoch_has_an_order_of_its_own_and_always_the_same() -> None:
    it = trainer()
    first, second = (torch.cat(it.batches(16, epoch)) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(16))
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat(it.batches(16, 0)), first)
    assert torch.cat(trainer(shuffle=False).batches(16, 3)).tolist() == list(range(16))


@given(count=st.integers(1, 70), batch=st.integers(1, 40))
@example_settings(max_examples=40)
def test_batches_are_whole_and_use_nothing_twice(count: int, batch: int) -> None:
    batches = trainer(batch_size=batch).batches(count, 0)
    assert {len(rows) for rows in batches} == {min(batch, count)}
    assert len(batches) == max(1, count // batch)
    used = torch.cat(batches).tolist()
    assert len(set(used)) == len(used) <= count


class Stop(Exception):
    pass


def interrupted(it: Trainer, epoch: int, step: int) -> Trainer:
    """Dies in the middle of an epoch, is born again from the saved state, and goes on."""
    kept: dict[str, Any] = {}

    def on_step(done: int, _: int) -> None:
        if len(it.history) == epoch and done == step:
            raise Stop

    try:
        while True:
            it.epoch(TRAIN, VALID, on_step)
            buffer = io.BytesIO()
            torch.save(it.state(), buffer)
            kept = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    except Stop:
        pass
    again = Trainer(training.network(), it.settings, 1, CPU, it.mean, it.std)
    if kept:
        again.restore(kept)
    return again


@fault("Killed", "a training at any step, with every schedule", "resumed, it ends in the same bits")
@pytest.mark.parametrize(
    ("schedule", "ema", "epoch", "step"),
    [
        *((schedule, 0.8, 1, 1) for schedule in SCHEDULES),
        *(("cosine", 0.8, epoch, step) for epoch, step in ((0, 2), (2, 4))),
        ("cosine", 0, 1, 1),
    ],
)
def test_resumed_is_as_if_never_interrupted(schedule: str, ema: float, epoch: int, step: int) -> None:
    choice: dict[str, Any] = {"schedule": schedule, "ema": ema, "epochs": 4, "plateau_patience": 0}
    whole = epochs(trainer(**choice), 4)
    assert same(epochs(interrupted(trainer(**choice), epoch, step), 4), whole)


@fault(
    "Killed", "a training with other optimizers, loss scaling or deep supervision", "resumed, it ends in the same bits"
)
@pytest.mark.parametrize(
    "choice",
    [
        {"optimizer": "muon"},
        {"optimizer": "sgd"},
        {"optimizer": "rmsprop"},
        {"precision": "fp16"},
        {"deep_supervision": 0.5},
    ],
    ids=str,
)
def test_resumed_with_other_choices(choice: dict[str, Any]) -> None:
    assert same(epochs(interrupted(trainer(**choice), 1, 2), 3), epochs(trainer(**choice), 3))


def test_dropout_is_drawn_by_epoch_too() -> None:
    def with_dropout(**changes: Any) -> Trainer:
        it = trainer(**changes)
        for module in it.network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
        return it

    half = epochs(with_dropout(), 1)
    again = with_dropout()
    again.restore(half.state())
    torch.rand(7)  # whatever else has drawn from the global stream
    assert same(epochs(again, 3), epochs(with_dropout(), 3))
    still = {"shuffle": False, "lr": 1e-12, "lr_min": 0, "augment": dict.fromkeys(Augment.model_fields, 0)}
    first, second = (row["train_loss"] for row in epochs(with_dropout(**still), 2).history)
    assert first != pytest.approx(second, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_at_once() -> None:
    it = trainer(lr=10, optimizer="sgd", clip=0, momentum=0.9, warmup=0)
    it.loss = lambda scores, _: scores.mean() * float("nan")
    with pytest.raises(NotFinite, match=r"not finite in epoch 1, step 1, at lr .*try a lower lr"):
        epochs(it, 1)


@pytest.mark.parametrize("bad", [2, 4])
def test_the_first_step_of_several_that_is_not_finite_is_named(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU looks at many losses at once."""
    monkeypatch.setitem(engine.CHECKS, "cpu", 3)
    it = trainer(batch_size=4)
    whole, steps = it.loss, itertools.count(1)
    it.loss = lambda scores, trimaps: whole(scores, trimaps) * (float("nan") if next(steps) == bad else 1)
    with pytest.raises(NotFinite, match=f"not finite in epoch 1, step {bad}, at lr"):
        epochs(it, 1)


@fault("Numbers", "out of memory in training", "one line that says what to lower")
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_is_one_line(error: Exception) -> None:
    expected = r"out of memory at batch_size 4: lower train\.batch_size"
    with pytest.raises(Refusal, match=expected), explained(training.settings()):
        raise error
    with pytest.raises(RuntimeError, match="something else"), explained(training.settings()):
        raise RuntimeError("something else")


@pytest.mark.parametrize(
    "error",
    [InvalidCxxCompiler(), RuntimeError("Failed to find C compiler. Please specify via CC environment variable")],
)
def test_no_compiler_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(Refusal, match=r"train\.compile needs a C\+\+ compiler"),
        explained(training.settings(compile=True)),
    ):
        raise error
    with pytest.raises(type(error)), explained(training.settings()):
        raise error


@pytest.mark.parametrize("name", get_args(Train.model_fields["optimizer"].annotation))
def test_a_first_step_that_overflows_in_half_precision_leaves_nothing_behind(name: str) -> None:
    it, untouched = (trainer(precision="fp16", optimizer=name) for _ in range(2))
    it.scaler = torch.GradScaler("cpu", init_scale=2.0**100)
    epochs(it, 1)
    assert it.scaler.get_scale() < 2.0**100
    state = it.optimizer.state_dict()["state"].values()
    assert all(value.eq(0).all() for kept in state for value in kept.values())
    pairs = zip(it.network.parameters(), untouched.network.parameters(), strict=True)
    assert all(torch.equal(moved, first) for moved, first in pairs)


def test_symptoms_of_not_learning() -> None:
    def rows(share: float, dice: float, count: int) -> list[dict[str, float]]:
        return [{"valid_share": share, "valid_dice": dice}] * count

    assert "background" in symptom(rows(0, 0.1, 1), 20, 0.5)
    assert "pet" in symptom(rows(1, 0.5, 1), 20, 0.5)
    assert symptom(rows(0.3, 0.4, 4), 20, 0.5) == ""
    assert "below 0.500" in symptom(rows(0.3, 0.4, 5), 20, 0.5)
    assert symptom(rows(0.3, 0.6, 5), 20, 0.5) == ""


def test_waiting_counts_epochs_since_the_best() -> None:
    assert waiting([]) == 0
    assert waiting([{"valid_dice": d} for d in (0.1, 0.5, 0.5, 0.4)]) == 2


def test_spoken() -> None:
    assert [spoken(s) for s in (4, 119, 125, 3600 * 3 + 605)] == ["4 s", "119 s", "2 min", "3 h 10 min"]


# Input modes


def test_gray_edges_sees_edges_and_flat_is_flat() -> None:
    images = torch.zeros(1, 3, 8, 8)
    assert edges(gray(images)).max() == 0
    images[..., 4:] = 1
    found = edges(gray(images))
    assert found[0, 0, :, 3:5].min() > 0.9
    assert found[0, 0, :, :3].max() == 0
    assert in_mode(images, "gray_edges").shape == (1, 2, 8, 8)


@pytest.mark.parametrize("mode", CHANNELS)
def test_statistics_are_those_of_the_split(mode: str) -> None:
    mean, std = statistics(TRAIN, mode)
    x = in_mode(unit(TRAIN[..., :3]), mode)
    torch.testing.assert_close(torch.tensor(mean), x.mean((0, 2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(std), x.std((0, 2, 3), correction=0), atol=1e-4, rtol=0)


# The stage itself


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "plots/history_unet.csv").open() as file:
        return list(csv.DictReader(file))


def test_outputs_and_same_bytes_twice(tmp_path: Path) -> None:
    one = training.workplace(tmp_path / "one")
    other = training.workplace(tmp_path / "another place")
    training.stage(one)
    training.stage(other)
    assert training.outputs(one) == training.outputs(other)
    assert len(training.outputs(one)) == 3
    rows = history(one)
    assert list(rows[0]) == ["epoch", "lr", "train_loss", "train_dice", "valid_loss", "valid_dice"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    metrics = json.loads((one / "metrics/unet.json").read_text())
    best = max(rows, key=lambda row: float(row["valid_dice"]))
    assert metrics["run"][0]["best_epoch"] == int(best["epoch"])
    assert metrics["valid_dice"] == pytest.approx(float(best["valid_dice"]), abs=1e-5)
    weights = checkpoint.load(one / "saved_models/unet.pth")
    assert (weights.network, weights.input, weights.image_size) == ("unet", "rgb", 32)
    assert not list((one / ".resume").iterdir())


# Where the weights come from


def origin_of(folder: Path) -> checkpoint.Origin:
    found = checkpoint.load(folder / "saved_models/unet.pth").origin
    assert found
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = training.workplace(tmp_path_factory.mktemp("origin") / "x", unet={"train": {"lr": 0.005}})
    training.stage(folder)
    return folder


def test_weights_say_what_they_were_trained_on(trained: Path) -> None:
    found = origin_of(trained)
    assert found.seed == 42
    assert found.params["train"] == training.settings(lr=0.005).model_dump()
    assert found.params["unet"]["width"] == 4
    assert found.params["data"] == {"image_size": 32, "border": "pet"}
    best = max(history(trained), key=lambda row: float(row["valid_dice"]))
    assert (found.best_epoch, f"{found.valid_dice:.6g}") == (int(best["epoch"]), best["valid_dice"])
    for split, seed, used in (("train", 1, found.train), ("valid", 2, found.valid)):
        count = {"train": 20, "valid": 5}[split]
        names = "".join(f"{split}_{number}\n" for number in range(1, count + 1))
        pixels = training.pixels(count, seed=seed).tobytes()
        expected = [hashlib.sha256(content).hexdigest() for content in (names.encode(), pixels)]
        assert [used.photographs, used.names, used.pixels] == [count, *expected]


@pytest.mark.parametrize(
    ("border", "changes"),
    [
        ("pet", {}),
        ("background", {"input": "gray_edges", "loss": "ce"}),
        ("ignore", {"precision": "bf16", "ema": 0.9}),
    ],
)
def test_the_threshold_is_the_one_that_evaluation_would_choose(
    tmp_path: Path, border: str, changes: dict[str, Any]
) -> None:
    folder = training.workplace(tmp_path / "x", validation=21, data={"border": border}, train=changes)
    training.stage(folder)
    weights = checkpoint.load(folder / "saved_models/unet.pth")
    assert weights.origin
    pixels = torch.from_numpy(np.load(folder / "dataset/cache/valid.npy"))
    predictor = Predictor(weights, "none", CPU)
    found = predictor(pixels[..., :3])
    trimaps = pixels[..., 3]
    truth = trimaps == 1 if border == "background" else trimaps != 2
    seen = trimaps != 3 if border == "ignore" else None
    by_hand = [float(dice(confusion(found >= step / 100, truth, seen)).mean()) for step in range(5, 96)]
    assert by_hand[round(weights.origin.threshold * 100) - 5] == pytest.approx(max(by_hand), abs=1e-6)
    curve = threshold_curves(lambda images: predictor(images).unsqueeze(1), pixels, border, lambda _: None)[0]
    assert weights.origin.threshold == best_threshold(curve)


def test_the_names_are_in_the_weights_and_the_rest_of_the_table_is_not(tmp_path: Path, trained: Path) -> None:
    folder = training.workplace(tmp_path / "x", unet={"train": {"lr": 0.005}})
    table = folder / "dataset/cache/train.csv"
    table.write_text(table.read_text().replace(",dog", ",cat"))
    training.stage(folder)
    assert origin_of(folder) == origin_of(trained)
    table.write_text(table.read_text().replace("train_20,", "train_21,"))
    training.stage(folder)
    assert origin_of(folder).train.names != origin_of(trained).train.names
    assert replace(origin_of(folder), train=origin_of(trained).train) == origin_of(trained)


def test_a_comment_in_the_code_changes_its_hash_and_not_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    copy = tmp_path / "src"
    shutil.copytree(train.SRC, copy)
    code = [copy / file.relative_to(train.SRC) for file in train.CODE]
    monkeypatch.setattr(train, "SRC", copy)
    monkeypatch.setattr(train, "CODE", code)
    monkeypatch.setattr(models, "file_of", lambda name: copy / f"models/{name}.py")
    folders = [training.workplace(tmp_path / str(number), unet={"train": {"lr": 0.005}}) for number in range(2)]
    training.stage(folders[0])
    with (copy / "models/unet.py").open("a") as file:
        file.write("# a comment\n")
    training.stage(folders[1])
    before, after = (checkpoint.load(folder / "saved_models/unet.pth") for folder in folders)
    assert origin_of(folders[0]) == origin_of(trained)
    assert origin_of(folders[0]).code != origin_of(folders[1]).code
    assert checkpoint.hash_of_tensors(before) == checkpoint.hash_of_tensors(after)


def test_the_hash_of_the_code_is_what_a_shell_computes(tmp_path: Path) -> None:
    for name, text in (("b/one.py", "1\n"), ("a.py", ""), ("b.py", "x = 2\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    lines = subprocess.run(
        ["sha256sum", "a.py", "b.py", "b/one.py"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    files = {name: tmp_path / name for name in ("b/one.py", "b.py", "a.py")}
    assert hash_of_code(files) == hashlib.sha256(lines).hexdigest()


@fault(
    "Corruption", "a table of cached photographs that is gone or of other photographs", "`train.py` names it, exit 1"
)
@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize(
    ("content", "reason"), [(None, "not found; `dvc repro preprocess` makes it"), ("name\n", "does not belong to")]
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, split: str, content: str | None, reason: str) -> None:
    folder = training.workplace(tmp_path / "x")
    table = folder / f"dataset/cache/{split}.csv"
    table.unlink() if content is None else table.write_text(content)
    with pytest.raises(Refusal, match=f"{split}.csv: {reason}"):
        training.stage(folder)
    assert training.outputs(folder) == {}


@fault("Killed", "`train.py`, and what it follows from changes before the next run", "that starts afresh and says why")
def test_other_names_start_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_early(tmp_path / "x", monkeypatch)
    table = folder / "dataset/cache/valid.csv"
    table.write_text(table.read_text().replace("valid_1,", "valid_9,"))
    training.stage(folder)
    assert "starting afresh: since the interrupted run, dataset/cache/valid.csv changed" in capsys.readouterr().out


# Interrupted


LONG: dict[str, Any] = {"train": {"epochs": 6, "ema": 0.9}}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training as a process of its own; what it said is in said.txt."""
    folder = training.workplace(tmp_path_factory.mktemp("whole") / "x", **LONG)
    done = training.run(folder)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_bytes((done.stdout + done.stderr).encode())
    return folder


def test_fp32_is_computed_as_on_every_processor(uninterrupted: Path) -> None:
    """Also on one with wider vectors."""
    assert not json.loads((uninterrupted / "metrics/unet.json").read_text())["run"][0]["cpu"].startswith("AVX512")


@fault(
    "Killed",
    "`train.py` by SIGKILL, SIGTERM or Ctrl-C",
    "the next run goes on after the last whole epoch and ends in the same bytes",
)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=lambda x: str(x)
)
def test_killed_and_run_again_ends_in_the_same_bytes(
    tmp_path: Path, number: signal.Signals, code: int, uninterrupted: Path
) -> None:
    folder = training.workplace(tmp_path / "x", **LONG)
    process = training.paused(folder)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code
    assert training.outputs(folder) == {}
    if number != signal.SIGKILL:
        assert "2 of 6 epochs are kept; run again to go on" in out
        assert err.strip().splitlines()[-1].startswith(f"train: stopped by {number.name}")
        assert "Traceback" not in err
    done = training.run(folder)
    assert "going on after epoch 2" in done.stdout
    assert training.outputs(folder) == training.outputs(uninterrupted)


class Killed(BaseException):
    pass


def stopped_early(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workplace with the state of a run that ended after its second epoch."""
    training.workplace(folder)

    def epoch(it: Trainer, *arguments: Any) -> Any:
        if len(it.history) == 2:
            raise Killed
        return whole(it, *arguments)

    whole = Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", epoch)
    monkeypatch.setattr(resume, "CHEAP", math.inf)  # every epoch is kept, however long that takes
    with pytest.raises(Killed):
        training.stage(folder)
    monkeypatch.undo()
    assert list((folder / ".resume").glob("unet-*.state"))
    return folder


def test_the_same_again_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_early(tmp_path / "x", monkeypatch)
    training.stage(folder)
    assert "going on after epoch 2 of an interrupted run" in capsys.readouterr().out


@fault("Killed", "`train.py`, and what it follows from changes before the next run", "that starts afresh and says why")
def test_a_changed_parameter_starts_afresh_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_early(tmp_path / "x", monkeypatch)
    training.write_params(folder, seed=7, train={"epochs": 2, "lr": 0.004})
    training.stage(folder)
    out = capsys.readouterr().out
    changed = "seed (42 to 7), train.epochs (3 to 2), train.lr (0.003 to 0.004)"
    assert f"starting afresh: since the interrupted run, {changed} changed" in out


@fault("Killed", "`train.py`, and what it follows from changes before the next run", "that starts afresh and says why")
def test_changed_data_starts_afresh_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_early(tmp_path / "x", monkeypatch)
    np.save(folder / "dataset/cache/train.npy", training.pixels(20, seed=9))
    training.stage(folder)
    assert "starting afresh: since the interrupted run, dataset/cache/train.npy changed" in capsys.readouterr().out


@fault("Killed", "`train.py`, and a parameter changes before the next run, and back", "the epochs are found again")
def test_a_parameter_that_changes_back_finds_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_early(tmp_path / "x", monkeypatch)
    training.write_params(folder, train={"lr": 0.003})
    training.stage(folder)
    training.write_params(folder)
    training.stage(folder)
    assert "going on after epoch 2 of an interrupted run" in capsys.readouterr().out
    assert not list((folder / ".resume").iterdir())


@fault(
    "Numbers",
    "a loss that is not finite",
    "one line with what to try; the best weights so far are kept aside",
)
def test_a_loss_that_becomes_nan_keeps_the_best_weights_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = training.workplace(tmp_path / "x")
    healthy = Trainer.scores

    def scores(it: Trainer, *arguments: Any) -> Any:
        return healthy(it, *arguments) * (float("nan") if len(it.history) == 1 else 1)

    monkeypatch.setattr(Trainer, "scores", scores)
    with pytest.raises(Refusal, match=r"epoch 2, step 1.*best weights so far \(epoch 1\) are in .resume/unet.best.pth"):
        training.stage(folder)
    assert checkpoint.load(folder / ".resume/unet.best.pth").network == "unet"
    assert training.outputs(folder) == {}


@fault("Numbers", "a validation loss that is not finite", "one line with what to try; no such epoch is kept")
def test_a_validation_loss_that_is_not_finite_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = training.workplace(tmp_path / "x")
    monkeypatch.setattr(Trainer, "validate", lambda *_: {"valid_loss": math.nan, "valid_dice": 1, "valid_share": 0.5})
    with pytest.raises(Refusal, match=r"the validation loss is not finite in epoch 1, at lr .*; try a lower lr"):
        training.stage(folder)
    assert training.outputs(folder) == {}


def test_early_stopping(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"train": {"epochs": 50, "patience": 2, "lr": 1e-9, "lr_min": 0}}
    folder = training.workplace(tmp_path / "x", **changes)
    training.stage(folder)
    dices = [float(row["valid_dice"]) for row in history(folder)]
    assert len(dices) == dices.index(max(dices)) + 1 + 2 < 50


@fault("Numbers", "training on one photograph, or on fewer than a batch", "it trains")
@pytest.mark.parametrize(("train", "valid", "batch"), [(1, 1, 4), (3, 1, 64), (2, 2, 1)])
def test_few_photographs(tmp_path: Path, train: int, valid: int, batch: int) -> None:
    folder = training.workplace(tmp_path / "x", train, valid, train={"batch_size": batch, "epochs": 1})
    training.stage(folder)
    assert len(history(folder)) == 1


@fault("Numbers", "masks that are all background", "the network learns to find nothing, Dice 1")
def test_empty_masks_are_learnt_as_empty(tmp_path: Path) -> None:
    folder = training.workplace(tmp_path / "x", train={"epochs": 30, "lr": 0.02, "loss": "bce"})
    for split in ("train", "valid"):
        pixels = training.pixels(8)
        pixels[..., 3] = 2
        training.cache(folder / "dataset/cache", split, pixels)
    training.stage(folder)
    dices = [float(row["valid_dice"]) for row in history(folder)]
    assert dices[0] < dices[-1] == 1


@fault("Numbers", "a network that does not learn", "said once, with the likely causes")
def test_a_network_that_does_not_learn_is_told_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Trainer, "scores", lambda _, network, images: network(images)[:, 0] * 0 - 1)
    training.stage(training.workplace(tmp_path / "x"))
    out = capsys.readouterr().out
    assert out.count("warning: unet does not learn: every validation pixel is predicted as background") == 1
    assert "Likely causes" in out


@fault(
    "Machine", "a GPU whose driver is too old for torch", "training says it, with what to do, and goes on on the CPU"
)
def test_a_training_says_that_the_driver_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_tools.nvidia_smi(tmp_path / "bin", "550.163.01", monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    training.stage(training.workplace(tmp_path / "x", train={"epochs": 1}))
    assert re.search(
        r"^about .+ on this CPU: NVIDIA driver 550\.163\.01 is too old .*CUDA 13, needs 580: .*`make TORCH=cu126`\)$",
        capsys.readouterr().out,
        re.M,
    )


def test_cost_on_a_cpu_is_foretold_and_lines_replace_the_bar(uninterrupted: Path) -> None:
    said = (uninterrupted / "said.txt").read_bytes().decode()
    assert re.search(r"^about .+ on this CPU: no GPU here$", said, re.M)
    assert len([line for line in said.splitlines() if line.startswith("epoch ")]) == 6
    assert "images/s" in said
    assert "\r" not in said


@fault("Corruption", "cached tensors that are gone, cut or of another kind", "`train.py` names the file, exit 1")
@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "not found"), (b"", "damaged"), (b"\x93NUMPY garbage", "damaged"), (np.zeros((3, 8, 8, 3)), "damaged")],
)
def test_bad_tensors_are_refused(tmp_path: Path, content: Any, reason: str) -> None:
    folder = training.workplace(tmp_path / "x")
    file = folder / "dataset/cache/valid.npy"
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    with pytest.raises(Refusal, match=f"valid.npy: {reason}"):
        training.stage(folder)
    assert training.outputs(folder) == {}


# Several processes


JOINT: dict[str, Any] = {"train": {"processes": 2, "epochs": 12, "lr": 0.005, "batch_size": 8, "deep_supervision": 0.5}}
COMPARED = """
import runpy, sys
import torch
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rsplit("/", 1)[0])
from learning import parallel
from learning.engine import Trainer

fit = Trainer.fit

def compared(it, pixels, epoch, on_step):
    row = fit(it, pixels, epoch, on_step)
    photographs = set(torch.cat(it.batches(len(pixels), epoch)).tolist())
    weights = torch.cat([parameter.detach().flatten() for parameter in it.network.parameters()])
    others, first = parallel.from_first((photographs, weights))
    assert torch.equal(weights, first), "the processes have learnt different weights"
    assert parallel.rank() == 0 or not photographs & others, "the processes have learnt from the same photographs"
    with open(f"compared {parallel.rank()}", "a") as file:  # a line of a shared output may be torn
        file.write("x")
    return row

Trainer.fit = compared
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two processes, which the parameters ask for; what it said is in said.txt."""
    folder = training.workplace(tmp_path_factory.mktemp("joint") / "x", 32, 8, **JOINT)
    done = training.run(folder)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


def found(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics/unet.json").read_text())


def test_processes_of_the_parameters_start_by_themselves(joint: Path) -> None:
    assert found(joint)["run"][0]["processes"] == 2
    assert (joint / "said.txt").read_text().count("best validation Dice") == 1


def test_two_processes_learn_as_well_as_one(joint: Path, tmp_path: Path) -> None:
    alone = training.workplace(tmp_path / "x", 32, 8, **JOINT)
    training.stage(alone)
    assert found(alone)["run"][0]["processes"] == 1
    assert abs(found(alone)["valid_dice"] - found(joint)["valid_dice"]) < 0.02


def test_processes_of_torchrun_repeat_to_the_bit_and_have_the_same_weights_from_different_photographs(
    joint: Path, tmp_path: Path
) -> None:
    folder = training.workplace(tmp_path / "x", 32, 8, **JOINT)
    (folder / "compared.py").write_text(COMPARED)
    done = training.run(folder, *training.TORCHRUN, "compared.py")
    assert done.returncode == 0, done.stderr
    assert [(folder / f"compared {rank}").read_text() for rank in (0, 1)] == 2 * [JOINT["train"]["epochs"] * "x"]
    assert training.outputs(folder) == training.outputs(joint)


@fault(
    "Killed", "one of several processes that train together", "all end; the next run goes on and ends in the same bytes"
)
def test_a_killed_process_ends_the_run_and_the_next_one_goes_on(joint: Path, tmp_path: Path) -> None:
    folder = training.workplace(tmp_path / "x", 32, 8, **JOINT)
    process = training.paused(folder)
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in below if child.environ().get("RANK") == "1"]
    assert workers
    workers[-1].kill()
    _, err = process.communicate()
    assert process.returncode == 1
    assert "whole epochs are kept, run again to go on" in err.strip().splitlines()[-1]
    assert training.outputs(folder) == {}
    done = training.run(folder)
    assert "going on after epoch 2" in done.stdout
    assert training.outputs(folder) == training.outputs(joint)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/gloo/transport/tcp/pair.cc:538] Read error [10.0.0.2]:50405: Connection reset by peer\nmore"),
        RuntimeError("Application timeout caused pair closure"),
        torch.distributed.DistNetworkError("Failed to recv, got 0 bytes. Connection was likely closed"),
    ],
)
def test_a_process_that_is_lost_is_named_in_one_line(error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(Refusal, match=r"^process 1 of 2 has lost another one.* run the same again to go on$"),
        parallel.lost(),
    ):
        raise error


def test_an_error_of_another_kind_is_no_lost_process() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), parallel.lost():
        raise RuntimeError("shapes differ")


@fault("Input", "a batch that several processes cannot share equally", "one line, before training")
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    folder = training.workplace(tmp_path / "x", train={"processes": 2, "batch_size": 3})
    refused_at_once(folder, "train.batch_size = 3 cannot be shared equally by 2 processes; take a multiple of 2")


@fault("Input", "a split with fewer photographs than processes", "one line, before training")
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_split_that_cannot_be_shared_is_refused(tmp_path: Path, split: str) -> None:
    folder = training.workplace(tmp_path / "x", train={"processes": 4, "batch_size": 8})
    np.save(folder / f"dataset/cache/{split}.npy", training.pixels(3))
    refused_at_once(folder, f"{split}.npy: its 3 photographs cannot be shared by 4 processes; lower train.processes")


def refused_at_once(folder: Path, reason: str) -> None:
    with contextlib.chdir(folder):
        done = script("train", "--model", "unet")
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
    assert training.outputs(folder) == {}


def test_compiling_for_a_cpu_is_refused(tmp_path: Path) -> None:
    folder = training.workplace(tmp_path / "x", train={"compile": True})
    with pytest.raises(Refusal, match=r"params\.yaml: train\.compile = true needs a GPU"):
        training.stage(folder)
    assert training.outputs(folder) == {}


@fault("Input", "more processes than GPUs", "one line, before training")
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(Refusal, match=r"train\.processes = 3, but there are only 2 GPUs here; auto takes all of them"):
        parallel.launch(3, ["-c", ""])


def test_training_opens_no_test_file(tmp_path: Path) -> None:
    """The interpreter reports every file that the stage opens."""
    folder = training.workplace(tmp_path / "x", train={"epochs": 1})
    (folder / "dataset/cache/test.npy").write_bytes(b"never read")

    def watched() -> None:
        with (folder / "opened.txt").open("w", encoding="utf-8") as seen:

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                if event == "open":
                    print(arguments[0], file=seen)

            sys.addaudithook(hook)
            training.stage(folder)

    assert end_of(forked(watched)) == 0
    opened = (folder / "opened.txt").read_text(encoding="utf-8")
    assert "train.npy" in opened and "valid.npy" in opened
    assert "train.csv" in opened and "valid.csv" in opened
    assert "test.npy" not in opened and "test.txt" not in opened and "test.csv" not in opened


def test_rates_follow_the_schedule() -> None:
    it = epochs(trainer(epochs=4, schedule="cosine", warmup=1, lr=0.01, lr_min=0.0), 4)
    rates = [row["lr"] for row in it.history]
    assert rates[0] == pytest.approx(0.01)
    assert all(a > b for a, b in pairwise(rates))
    assert rates[-1] == pytest.approx(0, abs=1e-9)
