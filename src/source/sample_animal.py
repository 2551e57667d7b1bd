"""The shape of a cat or a dog, as outlines to be painted from back to front. Lengths are in units of its body's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Colour = tuple[int, int, int]
Outline = np.ndarray  # (N, 2): x to the right, y down


class Breed(NamedTuple):
    name: str  # capitalised: a cat, as in the real dataset
    coat: Colour
    marking: Colour
    pattern: str  # where the marking lies
    fluff: int  # how far the fur breaks the outline, below 128

    @property
    def is_cat(self) -> bool:
        return self.name[0].isupper()


BREEDS = (  # in the order of the official lists, which ignores case
    Breed("Abyssinian", (190, 130, 82), (124, 80, 50), "ticked", 60),
    Breed("beagle", (236, 226, 212), (150, 90, 48), "patches", 50),
    Breed("Bengal", (208, 162, 104), (88, 58, 38), "spots", 50),
    Breed("newfoundland", (74, 64, 58), (40, 35, 34), "ticked", 115),
    Breed("pug", (216, 184, 142), (58, 48, 44), "points", 40),
    Breed("Russian_Blue", (136, 144, 156), (104, 112, 126), "ticked", 60),
    Breed("samoyed", (246, 240, 230), (216, 204, 186), "ticked", 115),
    Breed("Siamese", (230, 212, 188), (92, 68, 56), "points", 50),
)

CAT_EYES: tuple[Colour, ...] = ((206, 176, 60), (130, 170, 90), (96, 150, 190))


class Part(NamedTuple):
    outline: Outline
    tone: int = 255  # brightness of the fur
    is_point: bool = False  # ear, muzzle, paw, tail: dark in a breed with points


class Animal(NamedTuple):
    parts: list[Part]  # from back to front
    face: list[tuple[Outline, Colour]]  # eyes, nose, inner ears; over the fur


Body = tuple[list[Part], tuple[float, float], float]  # and where the head goes, and its radius


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> Outline:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return turned(np.stack([rx * np.cos(t), ry * np.sin(t)], 1), degrees) + np.array([x, y])


def turned(outline: Outline, degrees: float) -> Outline:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.stack([outline[:, 0] * cos - outline[:, 1] * sin, outline[:, 0] * sin + outline[:, 1] * cos], 1)


def limb(start: Sequence[float], bend: Sequence[float], end: Sequence[float], thick: float, thin: float) -> Outline:
    """A leg, neck or tail: a curve with round ends that tapers from `thick` to `thin`."""
    t = np.linspace(0, 1, 25)[:, None]
    curve = (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(bend) + t**2 * np.array(end)
    along = np.gradient(curve, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(along[:, :1], along[:, 1:])
    half = (thick + (thin - thick) * t) * np.sqrt(1 - (2 * t - 1) ** 8) / 2
    return np.concatenate([curve + across * half, (curve - across * half)[::-1]])


def animal(rng: np.random.Generator, breed: Breed) -> Animal:
    pose = (standing, sitting, lying, young)[rng.choice(4, p=[0.3, 0.3, 0.25, 0.15])]
    build = rng.uniform(0.85, 1.15) * (1.0 if breed.is_cat else 1.12)
    body, neck, radius = pose(rng, build)
    tilt = sway(rng, 18)
    placed_head = moved(head(rng, breed), lambda outline: turned(outline, tilt) * radius + neck)
    return placed_head._replace(parts=body + placed_head.parts)


def sway(rng: np.random.Generator, reach: float = 0.1) -> float:
    return float(rng.uniform(-reach, reach))


def standing(rng: np.random.Generator, build: float) -> Body:
    neck = (0.58 + sway(rng), -0.34 + sway(rng, 0.2))
    length, thick = rng.uniform(0.45, 0.58), 0.16 * build
    tail = limb((-0.42, -0.1), (-0.8, 0.1 + sway(rng)), (-0.75 + sway(rng), rng.uniform(-0.55, 0.15)), thick, 0.1)
    parts = [Part(tail, 225, True)]
    for x, tone in ((-0.24, 170), (0.36, 170), (-0.38, 235), (0.24, 235)):  # the far legs are in the shade
        foot = x + sway(rng)
        parts.append(Part(limb((x, 0.0), (x + sway(rng), 0.3), (foot, length), 0.22 * build, thick), tone))
        parts.append(Part(ellipse(foot + 0.03, length, 0.11, 0.07), tone, True))
    parts.append(Part(ellipse(0, 0, 0.5, 0.23 * build, sway(rng, 6))))
    parts.append(Part(ellipse(0.3, 0.0, 0.22, 0.25 * build)))
    parts.append(Part(limb((0.3, 0.05), (0.45, -0.1), neck, 0.36 * build, 0.24)))
    return parts, neck, 0.21


def sitting(rng: np.random.Generator, build: float) -> Body:
    tail = limb((0.2, 0.48), (0.6, 0.6 + sway(rng)), (0.55 + sway(rng), 0.2), 0.16 * build, 0.1)
    parts = [Part(tail, 225, True)]
    parts += [Part(ellipse(side * 0.26, 0.42, 0.17 * build, 0.18), 215) for side in (-1, 1)]
    parts.append(Part(ellipse(0, 0.17, 0.29 * build, 0.42, sway(rng, 10))))
    for side in (-1, 1):
        parts.append(Part(limb((side * 0.12, 0.1), (side * 0.15, 0.3), (side * 0.12, 0.58), 0.18, 0.12), 245))
        parts.append(Part(ellipse(side * 0.13, 0.59, 0.09, 0.055), 245, True))
    return parts, (sway(rng), -0.36 + sway(rng)), 0.26


def lying(rng: np.random.Generator, build: float) -> Body:
    tail = limb((-0.5, 0.1), (-0.8, 0.2), (-0.75 + sway(rng), 0.15 + sway(rng)), 0.16 * build, 0.1)
    parts = [Part(tail, 225, True)]
    parts.append(Part(ellipse(0, 0, 0.58, 0.24 * build, sway(rng, 8))))
    parts.append(Part(ellipse(-0.33, 0.05, 0.25, 0.22 * build), 235))
    stretched = sway(rng)
    for x in (-0.3, 0.3):
        parts.append(Part(limb((x, 0.14), (x + 0.2, 0.24), (x + 0.4 + stretched, 0.23), 0.18, 0.15), 220))
        parts.append(Part(ellipse(x + 0.42 + stretched, 0.23, 0.1, 0.08), 220, True))
    return parts, (0.5 + sway(rng), -0.2 + sway(rng)), 0.23


def young(rng: np.random.Generator, build: float) -> Body:
    """Seated, and mostly head."""
    parts = [Part(ellipse(sway(rng), 0.6, 0.42 * build, 0.44), 225)]
    for side in (-1, 1):
        parts.append(Part(limb((side * 0.18, 0.4), (side * 0.24, 0.7), (side * 0.2, 1.0), 0.26, 0.2), 245))
        parts.append(Part(ellipse(side * 0.22, 1.0, 0.15, 0.09), 245, True))
    return parts, (0.0, 0.0), 0.38


def head(rng: np.random.Generator, breed: Breed) -> Animal:
    """Of radius 1. Cats have pointed ears and a short muzzle, dogs hanging ears and a long one."""
    gaze = sway(rng, 0.35)  # where the face looks: its features move to one side
    spread = sway(rng, 0.08)
    skull = Part(ellipse(0, 0, 1, 0.88))
    face: list[tuple[Outline, Colour]] = []
    if breed.is_cat:
        eye, pupil = CAT_EYES[rng.integers(len(CAT_EYES))], 0.07
        ears = [np.array([(s * 0.95, -0.25), (s * (0.88 + spread), -1.45), (s * 0.2, -0.8)]) for s in (-1, 1)]
        parts = [*(Part(ear, 235, True) for ear in ears), skull, Part(ellipse(gaze, 0.42, 0.42, 0.32), 255, True)]
        face += [(ear * 0.62 + ear.mean(0) * 0.33, (206, 150, 140)) for ear in ears]
        nose = (np.array([(-0.13, 0.24), (0.13, 0.24), (0, 0.4)]) + np.array([gaze, 0]), (190, 110, 110))
    else:
        eye, pupil = (70, 44, 28), 0.12
        drop = rng.uniform(0.5, 0.9)
        ears = [limb((s * 0.72, -0.6), (s * 1.35, -0.4), (s * (1.15 + spread), drop), 0.4, 0.5) for s in (-1, 1)]
        muzzle = Part(ellipse(gaze * 1.3, 0.55, 0.46, 0.48), 250, True)
        parts = [skull, muzzle, *(Part(ear, 205, True) for ear in ears)]
        nose = (ellipse(gaze * 1.5, 0.42, 0.2, 0.14), (34, 28, 28))
    for side in (-1, 1):
        x = side * 0.42 + gaze * 0.8
        lip = limb((gaze, 0.42), (gaze + side * 0.1, 0.68), (gaze + side * 0.3, 0.6), 0.06, 0.03)
        face += [(ellipse(x, -0.1, 0.19, 0.17), eye), (ellipse(x, -0.1, pupil, 0.15), (16, 14, 14))]
        face.append((lip, (60, 40, 38)))
    return Animal(parts, [*face, nose])


def placed(rng: np.random.Generator, animal: Animal, size: tuple[int, int]) -> Animal:
    """Mirrored, turned, stretched and moved into the picture; a part of it may be cut off."""
    tilt, mirror = sway(rng, 12), rng.choice([-1, 1])
    stretch = np.array([mirror * rng.uniform(0.9, 1.12), 1.0])
    animal = moved(animal, lambda outline: turned(outline * stretch, tilt))
    everything = np.concatenate([part.outline for part in animal.parts])
    low, span = everything.min(0), np.ptp(everything, axis=0)
    scale = (np.array(size) / span).min() * rng.uniform(0.8, 1.25)
    room = np.array(size) - span * scale
    offset = room * rng.uniform(0, 1, 2) + rng.uniform(-0.14, 0.14, 2) * size
    return moved(animal, lambda outline: (outline - low) * scale + offset)


def moved(animal: Animal, move: Callable[[Outline], Outline]) -> Animal:
    return Animal(
        [part._replace(outline=move(part.outline)) for part in animal.parts],
        [(move(outline), colour) for outline, colour in animal.face],
    )
