"""What the same bytes on every x86-64 processor with AVX2 cost: an epoch in fp32, `deterministic: true` and false."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import params
from bench_growth import ONCE, prepared, spent
from measure import Row, Skip, middle, row
from place import NETWORKS, ROOT, Place

REPETITIONS = 5
CALL = (
    "import train as stage; job = stage.job_of({name!r}, stage.load());"
    " call = lambda: stage.train(job, stage.setup(job.threads, {portable}, portable={portable}))"
)


def rows(place: Place) -> Iterator[Row]:
    if torch.cuda.is_available():
        raise Skip("it acts on a CPU only")
    recipe = params.read(ROOT / "recipes/laptop.yaml")["params"]
    whole_size = {"train": {"epochs": 1, "sizes": []}, "resnet34_unet": {"train": {"sizes": []}}}
    folder = prepared(place, "train", 1, **params.overlaid(recipe, whole_size))
    for name in NETWORKS:
        calls = {portable: CALL.format(name=name, portable=portable) for portable in (True, False)}
        taken = [
            {portable: spent(call, folder).seconds for portable, call in calls.items()} for _ in range(REPETITIONS)
        ]
        ratios = [one[True] / one[False] for one in taken]
        figures = " against ".join(middle([one[portable] for one in taken]) for portable in (True, False))
        what, against = f"epoch of {name}, same bytes everywhere", "its own kernels (deterministic: false)"
        side = recipe["data"]["image_size"]
        work = f"times as long; recipe laptop in fp32, {ONCE['train']} {place.source} at {side} px"
        yield row("portable", what, against, ratios, f"{figures} s", work)
