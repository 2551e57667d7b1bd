"""The learning rate over a training, by schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.schedule import drops, learning_rate
from params import read, whole
from params.training import Train

BASE = whole.check(read(Path(__file__).parents[1] / "params.yaml"), "params.yaml").train
SCHEDULES = get_args(Train.model_fields["schedule"].annotation)


def train(**changes: Any) -> Train:
    values = {"epochs": 20, "lr": 0.1, "lr_min": 0.001, "warmup": 0, "step_size": 5, "gamma": 0.5} | changes
    return BASE.model_copy(update=values)


def at_ends(settings: Train, dices: list[float] | None = None) -> list[float]:
    """The rate at the end of each epoch."""
    return [learning_rate(settings, epoch, 1.0, (dices or [0.0] * 99)[:epoch]) for epoch in range(settings.epochs)]


def test_constant() -> None:
    assert at_ends(train(schedule="constant")) == [0.1] * 20


def test_step_drops_every_step_size_epochs_down_to_the_floor() -> None:
    rates = at_ends(train(schedule="step"))
    assert rates[:5] == [0.1] * 5
    assert rates[5:10] == [0.05] * 5
    assert rates[15:] == pytest.approx([0.1 / 8] * 5)
    assert at_ends(train(schedule="step", step_size=1, gamma=0.1))[3:] == [0.001] * 17


def test_exponential_drops_each_epoch_down_to_the_floor() -> None:
    assert at_ends(train(schedule="exponential", gamma=0.9))[:3] == pytest.approx([0.1, 0.09, 0.081])
    rates = at_ends(train(schedule="exponential", gamma=0.5))
    assert rates[6] == pytest.approx(0.1 / 64)
    assert rates[7:] == [0.001] * 13


def test_cosine_ends_at_lr_min() -> None:
    rates = at_ends(train(schedule="cosine"))
    assert rates == sorted(rates, reverse=True)
    assert rates[9] == pytest.approx((0.1 + 0.001) / 2)
    assert rates[4] == pytest.approx(0.001 + 0.099 * (1 + 0.5**0.5) / 2)  # a quarter of the way, cos 45°
    assert rates[-1] == pytest.approx(0.001)


def test_cosine_begins_when_the_warm_up_ends() -> None:
    rates = at_ends(train(schedule="cosine", warmup=4))
    assert rates[3] == pytest.approx(0.1)
    assert rates[11] == pytest.approx((0.1 + 0.001) / 2)
    assert rates[-1] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("epoch", "fraction", "rate"),
    [
        (0, 0.0, 0.1 / 25),
        (1, 0.5, (0.1 / 25 + 0.1) / 2),  # half of the rise
        (2, 1.0, 0.1),  # three of ten epochs
        (6, 0.5, (0.1 + 0.001) / 2),  # half of the fall
        (9, 1.0, 0.001),
    ],
)
def test_one_cycle_rises_for_three_tenths_from_a_25th_of_the_rate(epoch: int, fraction: float, rate: float) -> None:
    assert learning_rate(train(schedule="one_cycle", epochs=10), epoch, fraction, []) == pytest.approx(rate)


def test_one_cycle_rises_then_falls() -> None:
    rates = at_ends(train(schedule="one_cycle"))
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert max(rates) == rates[5] == pytest.approx(0.1)


def test_plateau_drops_when_validation_stands_still_down_to_the_floor() -> None:
    rates = at_ends(train(schedule="plateau", plateau_patience=2, epochs=8), [0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7])
    assert rates == [0.1] * 5 + [0.05] * 3
    assert at_ends(train(schedule="plateau", plateau_patience=0, epochs=12), [0.5] * 12)[8:] == [0.001] * 4


@pytest.mark.parametrize(
    ("dices", "patience", "count"),
    [
        ([], 0, 0),
        ([0.1, 0.2, 0.3], 0, 0),
        ([0.3, 0.2, 0.1], 0, 2),
        ([0.0, 0.0], 0, 1),  # the first is better than nothing, an equal one is not better
        ([0.5, 0.3, 0.4], 1, 1),  # better than the last is not better than the best
        ([0.5, 0.4, 0.4, 0.4], 1, 1),
        ([0.5, 0.4, 0.4, 0.4, 0.4], 1, 2),  # after a drop the count begins anew
        ([0.5, 0.4, 0.4, 0.6, 0.5], 1, 1),
    ],
)
def test_drops(dices: list[float], patience: int, count: int) -> None:
    assert drops(dices, patience) == count


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_in_a_line_from_nothing(schedule: str) -> None:
    settings = train(schedule=schedule, warmup=2)
    plain = [learning_rate(settings, 0, step / 10, []) for step in range(1, 11)]
    assert plain == sorted(plain)
    assert plain[0] == pytest.approx(learning_rate(settings, 0, 1.0, []) / 10, rel=0.01)


def test_warm_up_takes_its_epochs_even_if_there_are_fewer() -> None:
    assert at_ends(train(schedule="constant", warmup=4, epochs=6)) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    assert at_ends(train(schedule="cosine", warmup=4, epochs=2)) == pytest.approx([0.025, 0.05])


@given(
    schedule=st.sampled_from(SCHEDULES),
    epochs=st.integers(1, 50),
    warmup=st.floats(0, 60),
    lr_min=st.floats(0, 0.1),
    fraction=st.floats(0.01, 1),
    data=st.data(),
)
@settings(max_examples=200)
def test_the_rate_stays_between_zero_and_lr(
    schedule: str, epochs: int, warmup: float, lr_min: float, fraction: float, data: st.DataObject
) -> None:
    chosen = train(schedule=schedule, epochs=epochs, warmup=warmup, lr_min=lr_min)
    epoch = data.draw(st.integers(0, epochs - 1))
    dices = data.draw(st.lists(st.floats(0, 1), min_size=epoch, max_size=epoch))
    assert 0 <= learning_rate(chosen, epoch, fraction, dices) <= 0.1 + 1e-12
