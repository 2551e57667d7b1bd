"""Our epoch against a plain loop as published solutions write it, both networks at full width."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from decoding import Decoding
from learning.engine import Trainer, placed
from measure import Row, hardware, races
from models import network_class
from place import NETWORKS, Place, settings
from shared import device
from shared.inputs import statistics

SIDE = 256
BATCH = {"cpu": 8, "cuda": 32}
A_FEW = {"unet": 16, "resnet34_unet": 32}  # photographs of an epoch on a CPU: a whole one would take up to two hours


def rows(place: Place) -> Iterator[Row]:
    where = hardware()
    pixels = place.cached(SIDE)
    for name in NETWORKS:
        build = network_class(name)
        count = len(pixels) // BATCH["cuda"] * BATCH["cuda"] if where.type == "cuda" else A_FEW[name]
        batch = BATCH[where.type]
        ours = trainer(build(), pixels[:count], batch, where)
        plain = PlainLoop(build(), Decoding(place.dataset, place.train, SIDE), count, batch, where)
        on_device = placed(pixels[:count], where)

        def epoch(ours: Trainer = ours, on_device: torch.Tensor = on_device) -> int:
            ours.fit(on_device, 0, lambda *_: None)
            return len(on_device)

        precision = ours.settings.precision
        works = {f"epoch of {name}, {precision}": epoch, "plain loop, fp32": plain.epoch}
        yield from races("training", works, 3, f"epoch of {count} {place.source} at {SIDE} px, batch {batch}")


def trainer(network: nn.Module, pixels: torch.Tensor, batch: int, where: torch.device) -> Trainer:
    """With the training values of params.yaml but for batch and precision."""
    chosen = settings(batch_size=batch, input="rgb", precision=precision_for(where))
    return Trainer(network, chosen, 0, where, *statistics(pixels, chosen.input))


def precision_for(where: torch.device) -> str:
    """bf16 where there are matrix units for it; else what params.yaml says."""
    return "bf16" if where.type == "cuda" or "AMX" in device.cpu() else settings().precision


class PlainLoop:
    """Decodes in every epoch, without augmentation; contiguous tensors, fp32, Adam, a look at each step's loss."""

    def __init__(self, network: nn.Module, dataset: Decoding, count: int, batch: int, where: torch.device) -> None:
        self.network, self.where = network.to(where), where
        self.loader = DataLoader(Subset(dataset, range(count)), batch, shuffle=True)
        self.optimizer = torch.optim.Adam(network.parameters())
        self.criterion = nn.BCEWithLogitsLoss()

    def epoch(self) -> int:
        torch.use_deterministic_algorithms(False)
        self.network.train()
        total = 0.0
        for images, masks in self.loader:
            self.optimizer.zero_grad()
            output = self.network(images.to(self.where).float() / 255)
            loss = self.criterion(output[:, 0], masks.to(self.where).float())
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(images)
        torch.use_deterministic_algorithms(True)
        return len(self.loader.dataset)  # type: ignore[arg-type]
