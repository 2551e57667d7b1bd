"""How two things are compared: in turn, in one run, so that another load on the machine falls on both."""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from shared import device
from table import short

Work = Callable[[], object]


class Skip(Exception):
    """Why a line cannot be measured here."""


class Row(NamedTuple):
    """One comparison. The ratio is a median; `least` and `most` are its range over the repetitions."""

    line: str
    what: str
    against: str
    ratio: float
    least: float
    most: float
    figures: str
    work: str
    repetitions: int
    device: str
    cpu: str
    cores: int
    threads: int
    torch: str


def row(line: str, what: str, against: str, ratios: Sequence[float], figures: str, work: str) -> Row:
    ratio, least, most = (float(f"{value:.4g}") for value in (statistics.median(ratios), min(ratios), max(ratios)))
    return Row(line, what, against, ratio, least, most, figures, work, len(ratios), *machine().values())


def machine() -> dict[str, Any]:
    """What a row was measured on; no name of it."""
    found = device.environment(hardware())
    return {"device": found["device"], "cpu": found["cpu"], "cores": os.cpu_count()} | {
        name: found[name] for name in ("threads", "torch")
    }


def hardware() -> torch.device:
    return device.setup(torch.get_num_threads())


def seconds(work: Work) -> float:
    finish()
    begun = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - begun


def finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turn(works: Mapping[str, Work], repetitions: int) -> dict[str, list[float]]:
    """Seconds that each took in each repetition, after one that warms up."""
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repetitions + 1)]
    return {name: [taken[name] for taken in rounds[1:]] for name in works}


def races(
    line: str, works: Mapping[str, Callable[[], int]], repetitions: int, work: str, unit: str = "photographs/s"
) -> Iterator[Row]:
    """The first against each of the others. Each returns how much it did; above 1 the first is faster."""
    done: dict[str, int] = {}

    def counted(name: str) -> Callable[[], None]:
        return lambda: done.update({name: works[name]()})

    taken = in_turn({name: counted(name) for name in works}, repetitions)
    rates = {name: [done[name] / one for one in taken[name]] for name in works}
    (what, ours), *others = rates.items()
    for against, theirs in others:
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        yield row(line, what, against, ratios, f"{middle(ours)} against {middle(theirs)} {unit}", work)


def milliseconds(line: str, works: Mapping[str, Work], repetitions: int, work: str) -> Iterator[Row]:
    """The first against each of the others, the same work in each. Above 1 the first is faster."""
    (what, ours), *others = in_turn(works, repetitions).items()
    for against, theirs in others:
        ratios = [other / mine for mine, other in zip(ours, theirs, strict=True)]
        figures = " against ".join(middle([1000 * one for one in taken]) for taken in (ours, theirs))
        yield row(line, what, against, ratios, f"{figures} ms", work)


def middle(values: Sequence[float]) -> str:
    return short(statistics.median(values))


def optional(module: str) -> Any:
    """A rival that only `make bench` installs."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Skip(f"{error.name} is not installed; pip install -r benchmarks/requirements.txt") from None
