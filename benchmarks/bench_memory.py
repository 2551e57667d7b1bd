"""An epoch on a CPU: with memory kept from step to step, and with memory given back at each step."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench_growth import ONCE, prepared, spent
from measure import Row, Skip, middle, row
from place import Place

REPETITIONS, BATCHES = 5, (32, 128)
CALL = (
    "import train as stage; from shared import device; {first}; job = stage.job_of('unet', stage.load());"
    " call = lambda: stage.train(job, stage.setup(job.threads, portable=True))"
)
FIRST = {True: "pass", False: "device.keep_freed_memory = lambda: None"}


def rows(place: Place) -> Iterator[Row]:
    if torch.cuda.is_available():
        raise Skip("it acts on a CPU only")
    for batch in BATCHES:
        folder = prepared(place, "train", 1, train={"batch_size": batch})
        taken = [
            {kept: spent(CALL.format(first=first), folder).seconds for kept, first in FIRST.items()}
            for _ in range(REPETITIONS)
        ]
        ratios = [one[True] / one[False] for one in taken]
        figures = " against ".join(middle([one[kept] for one in taken]) for kept in FIRST)
        work = f"times as long; batches of {batch}, {ONCE['train']} {place.source} at 64 px"
        yield row("memory", "epoch of unet, memory kept", "given back at each step", ratios, f"{figures} s", work)
