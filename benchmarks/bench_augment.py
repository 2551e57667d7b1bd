"""Our augmentation of a batch against torchvision's of single photographs and kornia's of a batch.

All begin with cached pixels in uint8 and end with colours in floating point and a mask; flip, affine map and colour
have the strengths of params.yaml. Outside the photograph the others put black, ours mirrors it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from learning.augment import augmented, draw
from measure import Row, hardware, optional, races
from params.training import Augment
from place import Place, settings
from shared.inputs import unit

SIDE, BATCH = 256, 32
DONE = ("hflip", "rotate", "scale", "translate", "brightness", "contrast", "saturation")


def rows(place: Place) -> Iterator[Row]:
    where, pixels = hardware(), place.cached(SIDE)[:BATCH].clone()
    strengths = only_shared(settings().augment)
    works: dict[str, Callable[[], int]] = {"augment.py, the batch at once": lambda: ours(pixels, strengths, where)}
    transform = of_torchvision(strengths)
    per_sample = {"torchvision v2, a photograph at a time": lambda: with_torchvision(pixels, transform, where)}
    work = f"batch of {BATCH} at {SIDE} px: flip, affine, colours; {place.source}"
    yield from races("augment", works | per_sample, 15, work)
    batched = of_kornia(strengths)
    at_once = {"kornia, the batch at once": lambda: with_kornia(pixels, batched, where)}
    yield from races("augment", works | at_once, 15, work)


def only_shared(strengths: Augment) -> Augment:
    """Without what the others do not do here."""
    others = {name: 0 for name in Augment.model_fields if name not in (*DONE, "elastic_p")}
    return strengths.model_copy(update=others)


def ours(pixels: Tensor, strengths: Augment, where: torch.device) -> int:
    batch = pixels.to(where)
    draws = {name: table.to(where) for name, table in draw(strengths, 0, 0, len(pixels)).items()}
    images, _ = augmented(unit(batch[..., :3]), batch[..., 3], strengths, draws)
    return len(images)


def of_torchvision(strengths: Augment) -> Callable[..., tuple[Tensor, Tensor]]:
    zoom = 1 + strengths.scale
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(strengths.hflip),
            v2.RandomAffine(
                strengths.rotate,
                (strengths.translate,) * 2,
                (1 / zoom, zoom),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.ColorJitter(strengths.brightness, strengths.contrast, strengths.saturation),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        ]
    )


def with_torchvision(pixels: Tensor, transform: Callable[..., tuple[Tensor, Tensor]], where: torch.device) -> int:
    """As a dataset's __getitem__ and the DataLoader would: on the CPU, then to the device."""
    done = [transform(tv_tensors.Image(one[..., :3].permute(2, 0, 1)), tv_tensors.Mask(one[..., 3])) for one in pixels]
    images, _ = (torch.stack(parts).to(where) for parts in zip(*done, strict=True))
    return len(images)


def of_kornia(strengths: Augment) -> Callable[..., list[Tensor]]:
    kornia, zoom = optional("kornia.augmentation"), 1 + strengths.scale
    return kornia.AugmentationSequential(
        kornia.RandomHorizontalFlip(strengths.hflip),
        kornia.RandomAffine(strengths.rotate, (strengths.translate,) * 2, (1 / zoom, zoom), p=1),
        kornia.ColorJitter(strengths.brightness, strengths.contrast, strengths.saturation, p=1),
        data_keys=["input", "mask"],
    )


def with_kornia(pixels: Tensor, transform: Callable[..., list[Tensor]], where: torch.device) -> int:
    batch = pixels.to(where)
    images, _ = transform(unit(batch[..., :3]), batch[..., 3].unsqueeze(1).float())
    return len(images)
