"""A small stand-in for Oxford-IIIT Pet, drawn here: the official layout, the real archive's oddities, no network.

Each picture is a function of (SEED, its name) alone. Pillow's integer drawing and arithmetic on single numbers make it,
no matrix product or Fourier transform, so another processor draws the same one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from oxford_pet import BACKGROUND, BORDER, PET
from source.sample_animal import BREEDS, Animal, Breed, Colour, Outline, Part, animal, placed, turned

SEED = 2012
DRAWN_AT = 2  # times the final size; scaling down smooths the edges
LONG_SIDE = (120, 180)  # pixels, least and most
SHORT_SIDE = (0.67, 1.0)  # of the long one
DISGUISED = {"Abyssinian_1": "GIF", "Abyssinian_2": "PNG"}  # named .jpg all the same, as in the real archive

PLAIN: tuple[Colour, ...] = ((110, 140, 90), (96, 120, 160), (170, 80, 70), (190, 190, 180), (90, 70, 110))
HEADER = ["#Image CLASS-ID SPECIES BREED ID", f"#ID: 1:{len(BREEDS)} Class ids", "#SPECIES: 1:Cat 2:Dog"]


def draw(folder: Path, trainval: int = 400, test: int = 100) -> None:
    """Write `folder/images` and `folder/annotations`. The breeds share both numbers; at least 16 and 8 are needed."""
    images, annotations = folder / "images", folder / "annotations"
    trimaps = annotations / "trimaps"
    images.mkdir(parents=True)
    trimaps.mkdir(parents=True)
    lists: dict[str, list[str]] = {"list": [*HEADER], "trainval": [], "test": []}
    for i, breed in enumerate(BREEDS):
        ids = f"{i + 1} {1 if breed.is_cat else 2} {sum(b.is_cat == breed.is_cat for b in BREEDS[: i + 1])}"
        last_in_trainval = portion(trainval, i)
        last = last_in_trainval + portion(test, i)
        for number in range(1, last + 1):
            for name in ("list", "trainval" if number <= last_in_trainval else "test"):
                lists[name].append(f"{breed.name}_{number} {ids}")
        for number in range(1, last + 1 + (breed == BREEDS[-1])):  # the very last picture is in no list
            name = f"{breed.name}_{number}"
            photograph, trimap = picture(name, breed)
            save(photograph, images / f"{name}.jpg", DISGUISED.get(name, "JPEG"))
            trimap.save(trimaps / f"{name}.png")
    for name, lines in lists.items():
        (annotations / f"{name}.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())
    (images / "Abyssinian_1.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(128))
    (trimaps / "._Abyssinian_1.png").write_bytes(bytes.fromhex("00051607").ljust(64, b"\0"))


def portion(total: int, i: int) -> int:
    """How many of `total` pictures are of breed `i`."""
    return total * (i + 1) // len(BREEDS) - total * i // len(BREEDS)


def save(photograph: Image.Image, path: Path, file_format: str) -> None:
    if file_format == "PNG":
        photograph = photograph.convert("RGBA")
    photograph.save(path, file_format, quality=90)


def picture(name: str, breed: Breed) -> tuple[Image.Image, Image.Image]:
    """A photograph and its trimap."""
    rng = np.random.Generator(np.random.PCG64([SEED, *name.encode()]))
    long = int(rng.integers(*LONG_SIDE))
    short = int(long * rng.uniform(*SHORT_SIDE))
    width, height = (long, short) if rng.random() < 0.5 else (short, long)
    size = (width * DRAWN_AT, height * DRAWN_AT)
    canvas = background(rng, size, breed)
    silhouette = paint(canvas, rng, breed, placed(rng, animal(rng, breed), size))
    return exposed(rng, canvas.reduce(DRAWN_AT)), trimap_of(silhouette.reduce(DRAWN_AT))


def trimap_of(coverage: Image.Image) -> Image.Image:
    """The border lies on the outline: two pixels inside, one outside."""
    solid = coverage.point([255 * (value > 127) for value in range(256)])
    trimap = Image.new("L", solid.size, BACKGROUND)
    trimap.paste(BORDER, mask=solid.filter(ImageFilter.MaxFilter(3)))
    trimap.paste(PET, mask=solid.filter(ImageFilter.MinFilter(5)))
    return trimap


def exposed(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """The camera's share: exposure, a tint of the light, grain."""
    gain = rng.uniform(0.8, 1.1) * rng.uniform(0.95, 1.05, 3)
    grain = rng.integers(-9, 10, (picture.height, picture.width, 1))
    return Image.fromarray((np.asarray(picture) * gain + grain).clip(0, 255).astype(np.uint8))


# --- paint ------------------------------------------------------------------------------------------------------------


def corner(place: np.ndarray) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> Image.Image:
    """Smooth grey noise with grains of about `cell` pixels."""
    columns, rows = (int(side / grain) + 2 for side, grain in zip(size, cell, strict=True))
    grid = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def cut(mask: Image.Image, low: int, high: int) -> Image.Image:
    """Black below `low`, white above `high`, a ramp between."""
    return mask.point([min(255, max(0, 255 * (value - low) // (high - low))) for value in range(256)])


def mixed(size: tuple[int, int], colours: tuple[Colour, Colour], mask: Image.Image) -> Image.Image:
    return Image.composite(Image.new("RGB", size, colours[1]), Image.new("RGB", size, colours[0]), mask)


def near(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    shift = rng.integers(-spread, spread + 1) + rng.integers(-spread // 3, spread // 3 + 1, 3)
    red, green, blue = (int(channel) for channel in (np.array(colour) + shift).clip(12, 250))
    return red, green, blue


def fur(rng: np.random.Generator, size: tuple[int, int], breed: Breed, points: Image.Image) -> Image.Image:
    """A sheet of the breed's coat; `points` is where its extremities are."""
    grain = 12 * DRAWN_AT
    if breed.pattern == "points":
        marking = points
    elif breed.pattern == "spots":
        marking = cut(noise(rng, size, (grain / 2.5, grain / 3.5)), 150, 170)
    elif breed.pattern == "patches":
        marking = cut(noise(rng, size, (grain * 2, grain * 2)), 120, 135)
    else:
        marking = noise(rng, size, (grain, grain))
    coat = mixed(size, (near(rng, breed.coat, 15), near(rng, breed.marking, 12)), marking)
    strands = cut(noise(rng, size, (2.5, 7) if rng.random() < 0.5 else (6, 3)), -400, 255)
    return ImageChops.multiply(coat, Image.merge("RGB", [strands] * 3))


def paint(canvas: Image.Image, rng: np.random.Generator, breed: Breed, animal: Animal) -> Image.Image:
    """Put the animal on the canvas; its silhouette."""
    size = canvas.size
    silhouette, tone, points = (Image.new("L", size, value) for value in (0, 255, 0))
    edge = 2 * DRAWN_AT
    for part in animal.parts:
        xy = part.outline.ravel().tolist()
        ImageDraw.Draw(silhouette).polygon(xy, fill=255)
        ImageDraw.Draw(tone).polygon(xy, fill=part.tone)
        ImageDraw.Draw(tone).line(xy + xy[:2], fill=part.tone * 2 // 3, width=edge)
        ImageDraw.Draw(points).polygon(xy, fill=255 * part.is_point)
    silhouette = ruffled(rng, silhouette, breed.fluff)
    halo = silhouette.filter(ImageFilter.BoxBlur(5 * edge))
    tone = ImageChops.multiply(tone.filter(ImageFilter.BoxBlur(edge)), cut(halo, -150, 255))
    sheet = fur(rng, size, breed, points.filter(ImageFilter.BoxBlur(2 * edge)))
    sheet = ImageChops.multiply(sheet, Image.merge("RGB", [tone] * 3))
    for outline, colour in animal.face:
        ImageDraw.Draw(sheet).polygon(outline.ravel().tolist(), fill=colour)
    canvas.paste((24, 20, 18), (0, 2 * edge), cut(halo, 60, 500))
    canvas.paste(sheet, mask=silhouette)
    return silhouette


def ruffled(rng: np.random.Generator, mask: Image.Image, fluff: int) -> Image.Image:
    """Fur breaks a smooth outline."""
    soft = np.asarray(mask.filter(ImageFilter.BoxBlur(4))).astype(int)
    tufts = np.asarray(noise(rng, mask.size, (4, 5))).astype(int) - 128
    return Image.fromarray(np.where(soft + tufts * fluff // 128 > 127, 255, 0).astype(np.uint8))


# --- background -------------------------------------------------------------------------------------------------------


def background(rng: np.random.Generator, size: tuple[int, int], breed: Breed) -> Image.Image:
    """A wall, a floor, furniture, and things as furry as the animal; colours from its coat and from any other's."""
    coats = [colour for other in (*BREEDS, breed) for colour in (other.coat, other.marking)]
    palette = [near(rng, tuple(rng.choice(coats if rng.random() < 0.2 else PLAIN)), 40) for _ in range(8)]
    width, height = size
    horizon = int(height * rng.uniform(0.35, 0.75))
    canvas = texture(rng, size, palette)
    canvas.paste(texture(rng, size, palette).crop((0, horizon, width, height)), (0, horizon))
    for _ in range(rng.integers(2, 5)):
        shape = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) if rng.random() < 0.6 else blob(rng)
        shape = turned(shape * rng.uniform(0.06, 0.28, 2) * size, rng.uniform(-12, 12))
        low, (across, down) = shape.min(0), np.ptp(shape, axis=0)
        mask = Image.new("L", (int(across) + 1, int(down) + 1))
        ImageDraw.Draw(mask).polygon((shape - low).ravel().tolist(), fill=255)
        canvas.paste(texture(rng, mask.size, palette), corner(rng.uniform(0, 1, 2) * size + low), mask)
    for _ in range(rng.integers(0, 2)):
        reach = rng.uniform(0.08, 0.2) * min(size)
        outline = blob(rng) * reach * rng.uniform(0.7, 1.4, 2)
        x, y = corner(rng.uniform(0, 1, 2) * size - 2 * reach)
        around = canvas.crop((x, y, x + int(4 * reach), y + int(4 * reach)))
        paint(around, rng, BREEDS[rng.integers(len(BREEDS))], Animal([Part(outline + 2 * reach, 235)], []))
        canvas.paste(around, (x, y))
    return canvas


def blob(rng: np.random.Generator) -> Outline:
    """A closed wavy outline about the origin."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = [rng.uniform(-0.3, 0.3) / k * np.cos(k * t + rng.uniform(0, 6.3)) for k in range(2, 6)]
    return np.stack([np.cos(t), np.sin(t)], 1) * (1 + np.sum(waves, axis=0))[:, None]


def texture(rng: np.random.Generator, size: tuple[int, int], palette: list[Colour]) -> Image.Image:
    """Two colours of the palette as a gradient, clouds, grain or stripes."""
    first, second = (palette[i] for i in rng.integers(len(palette), size=2))
    kind = rng.choice(4, p=[0.35, 0.3, 0.15, 0.2])
    if kind == 0:
        mask = Image.linear_gradient("L").rotate(90 * int(rng.integers(4))).resize(size)
    elif kind == 1:
        mask = noise(rng, size, tuple(rng.uniform(20, 60, 2)))
    elif kind == 2:
        mask = cut(noise(rng, size, tuple(rng.uniform(3, 9, 2))), -200, 455)
    else:
        x, y = np.arange(size[0]), np.arange(size[1])[:, None]
        across, down = rng.integers(-3, 4), rng.integers(1, 4)
        band = (x * across + y * down) // int(rng.integers(20, 50)) % 2
        mask = Image.fromarray((80 + 100 * band).astype(np.uint8))
    return mixed(size, (first, second), mask)
