"""Any photograph, whatever it is called and however it is stored, as an RGB picture; or the reason why not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from oxford_pet import BORDER, PET

# Told by content, not by file name; JPEG includes the MPO of some cameras. EPS and PDF are left out: for those, Pillow
# starts other programs.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"),
    *(".jp2", ".ppm", ".pgm"),
)
MAX_PIXELS = 89_478_485  # a quarter of a GB as RGB; a few kB can claim any size
DRAFT = 4  # a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as this many pixels become one

Image.init()  # registers all formats; `Image.open` would do so halfway, and looks the ones above up before
# Pillow warns of damaged EXIF data and of many pixels; `opened` refuses what matters. The filter holds for the whole
# process, since `warnings.catch_warnings` does not work in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Unusable(Exception):
    """Why the file `path` cannot be used, in a few words, without its name."""

    path: Path


def pictures_in(folder: Path, suffix: str) -> dict[str, Path]:
    """The files by their names without suffix. What a file is follows from its content, so any suffix will do.

    Of several with the same name it is the one with the given suffix, else one with the suffix of a picture.
    """
    files = [file for file in folder.glob("[!.]*") if file.is_file()]
    files.sort(key=lambda file: (file.suffix.lower() == suffix, file.suffix.lower() in SUFFIXES, file.name))
    return {file.stem: file for file in files}


def open_photo(path: Path) -> Image.Image:
    """The whole photograph in RGB, upright as its EXIF data say."""
    with opened(path) as image:
        return rgb(ImageOps.exif_transpose(image))


def open_square(path: Path, side: int) -> Image.Image:
    """The upright photograph in RGB, squeezed into a square as those are that a network learns from."""
    with opened(path) as image:
        square = _shrunk(image, side)
        square.info.pop("exif", None)  # damaged data would be refused here, which `open_photo` passes over
        if turned := image.getexif().get(ExifTags.Base.Orientation):
            square.getexif()[ExifTags.Base.Orientation] = turned  # `rgb` may have made a picture without EXIF data
        return ImageOps.exif_transpose(square)


def open_pair(path: Path, mask: Path, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """A photograph and its trimap as one square, the trimap as the alpha channel; and their own (width, height)."""
    trimap = open_trimap(mask)
    with opened(path) as image:
        image = as_drawn_on(image, trimap.size)
        if image.size != trimap.size:
            raise Unusable(f"is {size_text(image.size)}, but its mask is {size_text(trimap.size)}")
        square = _shrunk(image, side)
    square.putalpha(squeezed(trimap, side))
    return square, trimap.size


def as_drawn_on(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The photograph as it was seen by the person who drew its mask; `size` is that of the mask.

    The official masks were drawn on the pixels as they are stored (MATLAB's imread knows nothing of EXIF), so an EXIF
    rotation is ignored, unless only the turned photograph has the mask's size: then the mask was drawn on what a
    viewer shows.
    """
    return ImageOps.exif_transpose(image) if image.size != size and image.size == size[::-1] else image


def squeezed(trimap: Image.Image, side: int) -> Image.Image:
    return trimap.resize((side, side), Image.Resampling.NEAREST)


def open_trimap(file: Path) -> Image.Image:
    """A mask of the dataset: 1, 2 and 3, and nothing else."""
    with opened(file) as image:
        if image.mode not in ("L", "P"):  # of a palette, the indices count
            raise Unusable(f"has pixels of type {image.mode}, not one value each")
        image.load()
        trimap = image if image.mode == "L" else Image.fromarray(np.asarray(image))
        counts = trimap.histogram()
        others = [str(value) for value, count in enumerate(counts) if count and not PET <= value <= BORDER]
        if others:
            raise Unusable(f"holds {', '.join(others[:3])}{' ...' if len(others) > 3 else ''} beside 1, 2 and 3")
    return trimap


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture whose pixels are not decoded yet. What goes wrong inside the block becomes Unusable, too."""
    try:
        if path.exists() and not path.is_file():
            raise Unusable("is not a file")  # to read a pipe is to wait for ever
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"is {size_text(image.size)}, more than {MAX_PIXELS:,} pixels")
            yield image
    except Exception as error:  # on damaged bytes the decoders raise all kinds: SyntaxError, struct.error, EOFError ...
        unusable = error if isinstance(error, Unusable) else Unusable(_in_words(error))
        unusable.path = path
        raise unusable from None


def _in_words(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "is missing"
        case UnidentifiedImageError():
            return "is not a picture"
        case Image.DecompressionBombError():
            return f"has more than {MAX_PIXELS:,} pixels"
        case OSError(strerror=str(reason)) if reason:
            return f"cannot be read: {' '.join(reason.split())}"
        case _:
            return f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}"


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: the first frame, what is transparent on white, 16-bit grey by its upper 8 bits."""
    image.load()
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F"):
        raise Unusable(f"has pixels of type {image.mode}, with no known white")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """Bilinear, from a JPEG decoded at a fraction of its size where that changes less than a grey level on average.

    Over the photographs of a slice of the dataset: 0.5 to 0.75 grey levels with DRAFT = 4, 0.8 to 2 with 2.
    """
    drafted = image.draft(None, (side * DRAFT, side * DRAFT))
    return rgb(image).resize((side, side), Image.Resampling.BILINEAR, box=drafted[1] if drafted else None)


def size_text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
