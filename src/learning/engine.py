"""One network in training: the steps of an epoch, validation, and the state that a resumed run needs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from learning import parallel
from learning.augment import augmented, draw
from learning.deep_supervision import SCALES, DeepSupervision
from learning.losses import loss_function
from learning.muon import Muon
from learning.schedule import learning_rate
from learning.seeds import derived_seed, generator
from oxford_pet import counted, foreground
from params.training import Train
from shared.inputs import logits, normalised, unit
from shared.metrics import confusion, dice, is_pet
from utils import Refusal, out_of_memory

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CHECKS = {"cpu": 1, "cuda": 50}  # check the loss for NaN every N steps; a check makes the GPU wait
COUNTED = 256  # photographs from which an average of weights has its statistics of BatchNorm
ADVICE = "try a lower lr, more warmup, clip, or precision fp32"  # against a loss that is not finite

NONE_YET = {"epoch": 0, "valid_dice": -1.0, "state": {}}

Row = dict[str, float]


class Trainer:
    def __init__(
        self,
        network: nn.Module,
        settings: Train,
        seed: int,
        device: torch.device,
        mean: list[float],
        std: list[float],
        border: str = "pet",
    ) -> None:
        self.settings, self.seed, self.device, self.border = settings, seed, device, border
        self.mean, self.std = mean, std
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network = parallel.synchronised_norm(network, device)
        self.network: nn.Module = network.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network) if settings.ema else None
        deep = settings.deep_supervision
        self.learner = DeepSupervision(self.network).to(device) if deep else self.network
        self.coarser_weights = [deep**scale for scale in range(1, SCALES + 1)] if deep else []
        wrapped = parallel.wrapped(self.learner, device)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(wrapped) if settings.compile else wrapped
        self.optimizer = optimizer(self.learner, settings)
        self.scaler = torch.amp.grad_scaler.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.loss = loss_function(settings.loss, settings.dice_weight, settings.border_weight, border)
        self.history: list[Row] = []
        self.best: dict[str, Any] = dict(NONE_YET)

    @property
    def best_network(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average

    def epoch(self, train: Tensor, valid: Tensor, on_step: Callable[[int, int], None]) -> Row:
        """One pass over `train` and one over `valid`; keeps the weights if validation has never been better.

        Where the squares grow, what an earlier size reached is no measure for the next.
        """
        number = len(self.history)
        if self.side(number) != self.side(number - 1):
            self.best = dict(NONE_YET)
        row: Row = {"epoch": number + 1, **self.fit(train, number, on_step)}
        if self.average is not None:
            self.count_statistics(self.average, train, number)
        row |= self.validate(valid)
        if not math.isfinite(row["valid_loss"]):
            raise NotFinite(f"the validation loss is not finite in epoch {number + 1}, at lr {row['lr']:.3g}; {ADVICE}")
        self.history.append(row)
        if row["valid_dice"] > self.best["valid_dice"]:
            state = {name: tensor.detach().cpu().clone() for name, tensor in self.best_network.state_dict().items()}
            self.best = {"epoch": number + 1, "valid_dice": row["valid_dice"], "state": state}
        return row

    def fit(self, pixels: Tensor, epoch: int, on_step: Callable[[int, int], None]) -> Row:
        settings = self.settings
        torch.manual_seed(derived_seed(self.seed, "dropout", epoch, parallel.rank()))
        tables = draw(settings.augment, self.seed, epoch, len(pixels))
        tables = {name: table.to(self.device) for name, table in tables.items()}
        batches = self.batches(len(pixels), epoch)
        earlier = [row["valid_dice"] for row in self.at_last_size]
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # loss, Dice
        losses: list[Tensor] = []
        rate = 0.0
        self.learner.train()
        for step, rows in enumerate(batches):
            rate = learning_rate(settings, epoch, (step + 1) / len(batches), earlier)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            images, trimaps = self.fetch(pixels, rows, self.side(epoch))
            here = rows.to(self.device)
            draws = {name: table.index_select(0, here) for name, table in tables.items()}
            images, trimaps = augmented(images, trimaps, settings.augment, draws)
            # Deep supervision puts its coarser masks below the own ones in one longer batch, so that
            # DistributedDataParallel and `scores` see one output as without it.
            own, *coarser = self.scores(self.forward, images).split(len(images))
            loss = self.loss(own, trimaps)
            counts = self.counts(is_pet(own.detach(), 0), trimaps)
            sums += torch.stack([loss.detach().double() * len(rows), dice(counts).sum()])
            for mask, weight in zip(coarser, self.coarser_weights, strict=False):  # a small network has fewer masks
                loss = loss + weight * self.loss(mask, trimaps)
            self.step(loss, epoch * len(batches) + step)
            losses.append(loss.detach())
            if (step + 1) % CHECKS[self.device.type] == 0 or step + 1 == len(batches):
                self.stop_unless_finite(losses, epoch, step, rate)
                losses.clear()
            on_step(step + 1, len(batches))
        seen = sum(map(len, batches)) * parallel.size()
        mean_loss, mean_dice = (parallel.summed(sums) / seen).tolist()
        return {"lr": rate, "train_loss": mean_loss, "train_dice": mean_dice}

    def step(self, loss: Tensor, number: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.settings.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.learner.parameters(), self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            decay = min(self.settings.ema, (1 + number) / (10 + number))  # warm-up: a small decay in the first steps
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.data.lerp_(value.data, 1 - decay)

    def count_statistics(self, network: nn.Module, pixels: Tensor, epoch: int) -> None:
        """Of BatchNorm, anew: the running ones belong to other weights, and an average of them fits no weights."""
        batches = self.batches(len(pixels), epoch)
        every = max(1, len(batches) * self.settings.batch_size // COUNTED)
        images = (self.seen(self.fetch(pixels, rows, self.side(epoch))[0]) for rows in batches[::every])
        with self.autocast():
            update_bn(images, network)

    @torch.no_grad()
    def validate(self, pixels: Tensor) -> Row:
        """`valid_share` is the share of pixels predicted as pet."""
        network = self.best_network.eval()
        parallel.align_buffers(network)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, Dice, share
        mine = torch.arange(parallel.rank(), len(pixels), parallel.size())
        for rows in mine.split(self.settings.batch_size):
            images, trimaps = self.fetch(pixels, rows, self.side(len(self.history)))
            scores = self.scores(network, images)
            mask = is_pet(scores, 0)
            counts = self.counts(mask, trimaps)
            share = mask.double().mean() * len(rows)
            loss = self.loss(scores, trimaps).double() * len(rows)
            sums += torch.stack([loss, dice(counts).sum(), share])
        total, mean_dice, share = (parallel.summed(sums) / len(pixels)).tolist()
        return {"valid_loss": total, "valid_dice": mean_dice, "valid_share": share}

    def batches(self, count: int, epoch: int) -> list[Tensor]:
        """This process's rows of each batch. Only whole batches; a split smaller than one makes a batch of its own."""
        shuffled = torch.randperm(count, generator=generator(self.seed, "order", epoch))
        order = shuffled if self.settings.shuffle else torch.arange(count)
        size = min(self.settings.batch_size, count // parallel.size() * parallel.size())
        return [batch[parallel.rank() :: parallel.size()] for batch in order[: count // size * size].split(size)]

    def side(self, epoch: int) -> int:
        """Of the squares in that epoch (from 0); 0: as they are cached."""
        sizes = self.settings.sizes
        return sizes[epoch * len(sizes) // self.settings.epochs] if sizes else 0

    @property
    def at_last_size(self) -> list[Row]:
        """The epochs so far that had the largest squares: only their validation Dice can be compared."""
        last = self.side(self.settings.epochs - 1)
        return [row for number, row in enumerate(self.history) if self.side(number) == last]

    def work(self, first: int) -> float:
        """The epochs from `first` on (from 1), in epochs of its size: the work grows as the area of the squares."""
        areas = [max(self.side(epoch), 1) ** 2 for epoch in range(first - 1, self.settings.epochs)]
        return sum(areas) / areas[0]

    def counts(self, mask: Tensor, trimaps: Tensor) -> Tensor:
        return confusion(mask, foreground(trimaps, self.border), counted(trimaps, self.border))

    def fetch(self, pixels: Tensor, rows: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Colours in [0, 1] and trimaps on the device, whether the split lives there or in the memory map."""
        batch = pixels.index_select(0, rows.to(pixels.device))  # several times as fast as pixels[rows] on a CPU
        if batch.device != self.device:
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        images, trimaps = unit(batch[..., :3]), batch[..., 3]
        return shrunk(images, trimaps, side) if 0 < side < images.shape[-1] else (images, trimaps)

    def scores(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """(B, H, W) log-odds in full precision."""
        with self.autocast():
            output = network(self.seen(images))
        return logits(output).float()

    def seen(self, images: Tensor) -> Tensor:
        """As the network sees them."""
        return normalised(images, self.settings.input, self.mean, self.std).contiguous(memory_format=self.layout)

    def autocast(self) -> torch.autocast:
        precision = PRECISIONS[self.settings.precision]
        return torch.autocast(self.device.type, precision, enabled=precision != torch.float32)

    def stop_unless_finite(self, losses: list[Tensor], epoch: int, last_step: int, rate: float) -> None:
        finite = torch.stack(losses).isfinite().tolist()
        if not all(finite):
            first_step = last_step - len(losses) + 1  # of `losses`
            step = first_step + finite.index(False) + 1  # people count from 1
            raise NotFinite(f"the loss is not finite in epoch {epoch + 1}, step {step}, at lr {rate:.3g}; {ADVICE}")

    def state(self) -> dict[str, Any]:
        return {
            "network": self.learner.state_dict(),
            "average": {} if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.history, self.best = state["history"], state["best"]


class NotFinite(Refusal):
    """The loss became NaN or infinite."""


def shrunk(images: Tensor, trimaps: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The mean colour of the pixels that a smaller one covers; of the trimap the pixel nearest to its centre."""
    layers = F.interpolate(trimaps.unsqueeze(1), (side, side), mode="nearest-exact")
    return F.interpolate(images, (side, side), mode="area"), layers.squeeze(1)


def optimizer(network: nn.Module, settings: Train) -> torch.optim.Optimizer:
    parameters, lr, decay = network.parameters(), settings.lr, settings.weight_decay
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True)
        case "muon":
            return Muon(parameters, lr, decay, settings.momentum)
        case "sgd":  # fused, a first step that overflows in fp16 would leave its momentum uninitialised
            return torch.optim.SGD(parameters, lr, settings.momentum, weight_decay=decay, foreach=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr, momentum=settings.momentum, weight_decay=decay, foreach=True)


def waiting(history: list[Row]) -> int:
    """Epochs since the best validation Dice."""
    dices = [row["valid_dice"] for row in history]
    return len(dices) - 1 - dices.index(max(dices)) if dices else 0


def symptom(history: list[Row], epochs: int, baseline: float) -> str:
    """What is wrong with a network that does not learn; empty while nothing is. `baseline` is all foreground's Dice."""
    share, found = history[-1]["valid_share"], history[-1]["valid_dice"]
    if share in (0, 1):
        return f"every validation pixel is predicted as {'pet' if share else 'background'}"
    if len(history) >= math.ceil(epochs / 4) and found < baseline:
        return f"the validation Dice {found:.3f} is below {baseline:.3f}, which calling everything pet reaches"
    return ""


def placed(pixels: Tensor, device: torch.device) -> Tensor:
    """The split on the device when it takes less than half of the free memory there; else where it is."""
    if device.type == "cuda" and pixels.numel() < torch.cuda.mem_get_info(device)[0] / 2:
        return pixels.to(device)
    return pixels


@contextmanager
def explained(settings: Train) -> Iterator[None]:
    """Out of memory, no compiler, or too few pixels for BatchNorm, in one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if settings.compile and "compiler" in str(error).lower():
            raise Refusal("train.compile needs a C++ compiler: install one, such as g++, or set it to false") from None
        if not out_of_memory(error):
            raise
        raise Refusal(
            f"out of memory at batch_size {settings.batch_size}: lower train.batch_size or data.image_size, "
            "take precision bf16, or a smaller width"
        ) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise Refusal(
            "params.yaml: a batch is one photograph of which the deepest level sees one pixel, too little to learn "
            "from; raise train.batch_size or data.image_size, and have at least two photographs",
            2,
        ) from None


def spoken(seconds: float) -> str:
    """About how long: 3 h 10 min, 12 min, 40 s."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
