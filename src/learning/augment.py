"""Augmentation of whole batches on the device: photograph and trimap move together, in one resampling pass.

What happens to a photograph is a function of (seed, epoch, its index): each kind of change has its own stream of
draws with a row for every photograph, so batches, workers, devices and other kinds of change cannot shift it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from learning.seeds import generator
from params.training import Augment
from shared.inputs import gray

ELASTIC_POINTS = 6  # control points of the elastic displacement along each side


WIDTHS = {  # numbers that one photograph needs for each change
    "hflip": 1,
    "vflip": 1,
    "rotate": 1,
    "scale": 1,
    "translate": 2,
    "crop": 3,
    "elastic": 1 + 2 * ELASTIC_POINTS**2,
    "brightness": 1,
    "contrast": 1,
    "saturation": 1,
    "gray": 1,
    "blur": 1,
    "cutout": 3,
}
GEOMETRIC = ("hflip", "vflip", "rotate", "scale", "translate", "crop", "elastic")

Draws = dict[str, Tensor]


def draw(settings: Augment, seed: int, epoch: int, count: int) -> Draws:
    """Uniform numbers in [0, 1) for every change that is on: a row for each of `count` photographs."""
    return {
        name: torch.rand(count, width, generator=generator(seed, "augment", name, epoch))
        for name, width in WIDTHS.items()
        if getattr(settings, name)
    }


@torch.no_grad()
def augmented(images: Tensor, trimaps: Tensor, settings: Augment, draws: Draws) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) colours in [0, 1] and (B, H, W) trimaps, changed as their rows of `draws` say."""
    if any(name in draws for name in GEOMETRIC):
        images, trimaps = moved(images, trimaps, settings, draws)
    return recoloured(images, settings, draws), trimaps


def moved(images: Tensor, trimaps: Tensor, settings: Augment, draws: Draws) -> tuple[Tensor, Tensor]:
    """One grid for both: bilinear for the photograph, nearest for the trimap; the outside mirrors the inside."""
    size = [len(images), 1, *images.shape[-2:]]
    grid = F.affine_grid(affine(settings, draws, len(images), images.device), size, align_corners=False)
    if "elastic" in draws:
        grid = grid + displacement(settings, draws["elastic"], size[-2:])
    layers = trimaps.unsqueeze(1).to(images.dtype)
    images = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
    layers = F.grid_sample(layers, grid, "nearest", "reflection", align_corners=False)
    return images, layers.squeeze(1).to(trimaps.dtype)


def affine(settings: Augment, draws: Draws, count: int, device: torch.device) -> Tensor:
    """(count, 2, 3): where each place of the new picture lies in the old one, in units of half a side."""
    matrix = rows([1, 0, 0], [0, 1, 0], count, device)
    if "crop" in draws:
        share = 1 - settings.crop * draws["crop"][:, 0]
        x, y = ((1 - share) * (2 * draws["crop"][:, i] - 1) for i in (1, 2))
        matrix = matrix @ rows([share, 0, x], [0, share, y], count, device)
    if "translate" in draws:
        x, y = (2 * settings.translate * (2 * draws["translate"] - 1)).unbind(1)
        matrix = matrix @ rows([1, 0, x], [0, 1, y], count, device)
    if "rotate" in draws:
        angle = math.radians(settings.rotate) * (2 * draws["rotate"][:, 0] - 1)
        matrix = matrix @ rows([angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], count, device)
    if "scale" in draws:
        zoom = torch.exp(math.log(1 + settings.scale) * (2 * draws["scale"][:, 0] - 1))
        matrix = matrix @ rows([1 / zoom, 0, 0], [0, 1 / zoom, 0], count, device)
    if "hflip" in draws:
        side = torch.where(draws["hflip"][:, 0] < settings.hflip, -1.0, 1.0)
        matrix = matrix @ rows([side, 0, 0], [0, 1, 0], count, device)
    if "vflip" in draws:
        side = torch.where(draws["vflip"][:, 0] < settings.vflip, -1.0, 1.0)
        matrix = matrix @ rows([1, 0, 0], [0, side, 0], count, device)
    return matrix[:, :2]


def rows(first: list[Tensor | float], second: list[Tensor | float], count: int, device: torch.device) -> Tensor:
    """(count, 3, 3) matrices from two rows whose entries are one number for all, or one for each."""
    matrix = torch.eye(3, device=device).repeat(count, 1, 1)
    for row, entries in enumerate((first, second)):
        for column, entry in enumerate(entries):
            matrix[:, row, column] = entry
    return matrix


def displacement(settings: Augment, numbers: Tensor, size: list[int]) -> Tensor:
    """(B, H, W, 2): a smooth random field through a few control points, for the photographs that are to be bent."""
    chosen = numbers[:, 0] < settings.elastic_p
    points = (2 * numbers[:, 1:] - 1).view(-1, 2, ELASTIC_POINTS, ELASTIC_POINTS) * (2 * settings.elastic)
    field = F.interpolate(points * chosen.view(-1, 1, 1, 1), size, mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1)


def recoloured(images: Tensor, settings: Augment, draws: Draws) -> Tensor:
    def column(name: str, index: int = 0) -> Tensor:
        return draws[name][:, index].view(-1, 1, 1, 1)

    def factor(name: str) -> Tensor:
        return 1 + getattr(settings, name) * (2 * column(name) - 1)

    if "brightness" in draws:
        images = images * factor("brightness")
    if "contrast" in draws:
        middle = gray(images).mean((1, 2, 3), keepdim=True)
        images = middle + (images - middle) * factor("contrast")
    if "saturation" in draws:
        grays = gray(images)
        images = grays + (images - grays) * factor("saturation")
    if "gray" in draws:
        images = torch.where(column("gray") < settings.gray, gray(images), images)
    if "blur" in draws:
        images = blurred(images, settings.blur * column("blur"), settings.blur)
    if "cutout" in draws:
        images = erased(images, settings.cutout * column("cutout"), column("cutout", 1), column("cutout", 2))
    return images.clamp(0, 1) if draws else images


def blurred(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Gaussian blur, each photograph by its own standard deviation in pixels."""
    reach = min(math.ceil(2 * largest), images.shape[-1] - 1, images.shape[-2] - 1)
    offsets = torch.arange(-reach, reach + 1).to(images)
    kernel = torch.exp(-0.5 * (offsets / sigma.view(-1, 1).clamp(min=1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = images.reshape(1, -1, *images.shape[-2:])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), "replicate"), kernel[:, None, None, :], groups=len(kernel))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), "replicate"), kernel[:, None, :, None], groups=len(kernel))
    return flat.view_as(images)


def erased(images: Tensor, side: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """One square of each photograph, centred at (x, y), replaced by the photograph's mean colour; all in shares."""
    height, width = images.shape[-2:]
    down = ((torch.arange(height).to(images) + 0.5) / height).view(1, 1, -1, 1)
    across = ((torch.arange(width).to(images) + 0.5) / width).view(1, 1, 1, -1)
    inside = ((down - y).abs() < side / 2) & ((across - x).abs() < side / 2)
    return torch.where(inside, images.mean((2, 3), keepdim=True), images)
