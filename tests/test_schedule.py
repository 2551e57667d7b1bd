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
    assert min(at_ends(train(schedule="step", step_size=1, gamma=0.1))) == 0.001


def test_exponential() -> None:
    assert at_ends(train(schedule="exponential", gamma=0.9))[:3] == pytest.approx([0.1, 0.09, 0.081])


def test_cosine_ends_at_lr_min() -> None:
    rates = at_ends(train(schedule="cosine"))
    assert rates == sorted(rates, reverse=True)
    assert rates[9] == pytest.approx((0.1 + 0.001) / 2)
    assert rates[-1] == pytest.approx(0.001)


def test_one_cycle_rises_then_falls() -> None:
    rates = at_ends(train(schedule="one_cycle"))
    top = rates.index(max(rates))
    assert 4 <= top <= 7
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0.001)


def test_plateau_drops_when_validation_stands_still() -> None:
    rates = at_ends(train(schedule="plateau", plateau_patience=2, epochs=8), [0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7])
    assert rates == [0.1] * 5 + [0.05] * 3
    assert drops([0.1, 0.2, 0.3], 0) == 0
    assert drops([0.3, 0.2, 0.1], 0) == 2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_in_a_line_from_nothing(schedule: str) -> None:
    settings = train(schedule=schedule, warmup=2)
    plain = [learning_rate(settings, 0, step / 10, []) for step in range(1, 11)]
    assert plain == sorted(plain)
    assert plain[0] == pytest.approx(learning_rate(settings, 0, 1.0, []) / 10, rel=0.01)


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
