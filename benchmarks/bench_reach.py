"""Seconds until the validation Dice first reaches TARGET: params.yaml against a plain loop with AdamW."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import preprocess
from learning.engine import Trainer
from measure import Row, Skip, middle, row
from models import build
from oxford_pet import SimpleOxfordPetDataset, foreground
from params import whole
from place import NETWORKS, Place, quiet_preprocess, values
from shared import device
from shared.inputs import statistics, unit
from shared.metrics import confusion, dice

TARGET, SIDE, LONGEST, SEEDS = 0.9, 64, 60, (1, 2, 3)


def rows(place: Place) -> Iterator[Row]:
    where = device.setup(torch.get_num_threads())
    with contextlib.chdir(place.workplace(data={"image_size": SIDE})):
        quiet_preprocess()
        train, valid = (
            SimpleOxfordPetDataset(preprocess.CACHE.resolve(), name).tensor() for name in ("train", "valid")
        )
    chosen = whole.check(values(), "params.yaml")
    for name in NETWORKS:
        network = chosen.networks[name]
        taken = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            first, second = (build(name, 3, 1, network.config) for _ in range(2))
            ours = Trainer(first, network.train, seed, where, *statistics(train, "rgb"))
            plain = PlainLoop(second, where)
            works = (partial(dice_after, ours, train, valid), partial(plain.epoch, train, valid))
            taken.append([until(work) for work in works])
        ratios = [theirs / mine for mine, theirs in taken]
        figures = " against ".join(middle(column) for column in zip(*taken, strict=True))
        work = f"to a validation Dice of {TARGET}; {len(train)} {place.source} at {SIDE} px; a seed each time"
        yield row("reach", f"{name}, params.yaml", "plain loop, AdamW", ratios, f"{figures} s", work)


def dice_after(ours: Trainer, train: Tensor, valid: Tensor) -> float:
    return ours.epoch(train, valid, lambda *_: None)["valid_dice"]


def until(epoch: Callable[[], float]) -> float:
    begun = time.perf_counter()
    for _ in range(LONGEST):
        if epoch() >= TARGET:
            return time.perf_counter() - begun
    raise Skip(f"{TARGET} was not reached in {LONGEST} epochs")


class PlainLoop:
    """From the same tensors, contiguous: BCE, AdamW at its default rate, neither augmentation nor schedule."""

    def __init__(self, network: nn.Module, where: torch.device) -> None:
        self.network, self.where = network.to(where), where
        self.optimizer = torch.optim.AdamW(network.parameters())

    def epoch(self, train: Tensor, valid: Tensor) -> float:
        self.network.train()
        for rows in torch.randperm(len(train)).split(16):
            images, truth = self.batch(train[rows])
            self.optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(self.network(images)[:, 0], truth.float()).backward()
            self.optimizer.step()
        self.network.eval()
        with torch.no_grad():
            pairs = map(self.batch, valid.split(16))
            found = [dice(confusion(self.network(images)[:, 0] >= 0, truth)) for images, truth in pairs]
        return float(torch.cat(found).mean())

    def batch(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels.to(self.where)
        return unit(pixels[..., :3]).contiguous(), foreground(pixels[..., 3])
