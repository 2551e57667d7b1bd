"""Any photograph, whatever it is called and however it is stored."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import photos
from hostile import bomb
from pets import make_pet
from photos import Unusable, open_pair, open_photo, open_square
from reliability import fault

STARTS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"]  # of JPEG, PNG, GIF, TIFF, BMP
ROTATED = {3: 180, 6: 270, 8: 90}  # EXIF orientation -> degrees against the clock that set it upright


def picture(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    return Image.fromarray(make_pet(height, width, np.random.default_rng(seed))[0])


def trimap(folder: Path, size: tuple[int, int]) -> Path:
    """All pet."""
    file = folder / "trimap.png"
    Image.new("L", size, 1).save(file)
    return file


def stored(path: Path, image: Image.Image, kind: str = "PNG", **options: object) -> Path:
    image.save(path, kind, **options)
    return path


def difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size and one.mode == other.mode == "RGB"
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def reason(path: Path) -> str:
    with pytest.raises(Unusable) as caught:
        open_photo(path)
    assert "\n" not in str(caught.value) and str(path) not in str(caught.value)
    return str(caught.value)


@fault("Input", "a photograph with the suffix of another format", "told by its content")
@pytest.mark.parametrize(
    ("kind", "most"), [("JPEG", 12), ("PNG", 0), ("GIF", 12), ("BMP", 0), ("TIFF", 0), ("WEBP", 12), ("JPEG2000", 1)]
)
def test_the_format_is_told_by_content_not_by_name(tmp_path: Path, kind: str, most: float) -> None:
    assert difference(open_photo(stored(tmp_path / "pug_1.jpg", picture(), kind)), picture()) <= most


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = picture().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    image = deep if mode == "I;16" else picture().convert(mode)
    expected = {"1": image.convert("RGB"), "P": image.convert("RGB"), "RGB": picture(), "RGBA": picture()}
    shown = open_photo(stored(tmp_path / "x.jpg", image))
    assert difference(shown, expected.get(mode, grey.convert("RGB"))) == 0


def test_cmyk(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.jpg", picture().convert("CMYK"), "JPEG", quality=95)
    assert difference(open_photo(path), picture()) < 4


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda value: 255 if value > 127 else 0))
    shown = np.asarray(open_photo(stored(tmp_path / "x.jpg", image)))
    clear = np.asarray(image)[..., 3] == 0
    assert (shown[clear] == 255).all() and (shown[~clear] == np.asarray(picture())[~clear]).all()


def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 1)
    shown = open_photo(stored(tmp_path / "x.jpg", image, "GIF", transparency=0))
    assert shown.getpixel((0, 0)) == (200, 100, 50) and shown.getpixel((1, 1)) == (255, 255, 255)


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    path = stored(tmp_path / "x.jpg", frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_photo(path).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", sorted(ROTATED))
def test_an_upright_photograph_for_people(tmp_path: Path, orientation: int) -> None:
    path = stored(tmp_path / "x.jpg", picture(), exif=exif(orientation))
    assert difference(open_photo(path), picture().rotate(ROTATED[orientation], expand=True)) == 0


@pytest.mark.parametrize("orientation", sorted(ROTATED))
def test_a_square_is_upright(tmp_path: Path, orientation: int) -> None:
    path = stored(tmp_path / "x.jpg", picture(), exif=exif(orientation))
    whole = open_photo(path).resize((32, 32), Image.Resampling.BILINEAR)
    assert difference(open_square(path, 32), whole) <= 1


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "TIFF"), ("I;16", "PNG")])
def test_a_square_is_upright_whatever_its_pixels_are(tmp_path: Path, mode: str, kind: str) -> None:
    grey = np.asarray(picture().convert("L")).astype(np.uint16)
    image = Image.fromarray(grey << 8) if mode == "I;16" else picture().convert(mode)
    path = stored(tmp_path / "x", image, kind, exif=exif(6))
    whole = open_photo(path).resize((32, 32), Image.Resampling.BILINEAR)
    assert difference(open_square(path, 32), whole) <= 2


@pytest.mark.parametrize("orientation", sorted(ROTATED))
def test_the_dataset_goes_by_the_stored_pixels(tmp_path: Path, orientation: int) -> None:
    """The mask has the size of what is stored: it was drawn on that."""
    path = stored(tmp_path / "x.jpg", picture(), exif=exif(orientation))
    square, size = open_pair(path, trimap(tmp_path, (90, 60)), 32)
    assert size == (90, 60)
    assert difference(square.convert("RGB"), picture().resize((32, 32), Image.Resampling.BILINEAR)) == 0


@pytest.mark.parametrize("orientation", [6, 8])
def test_the_dataset_goes_by_what_is_shown_when_only_that_fits_the_mask(tmp_path: Path, orientation: int) -> None:
    path = stored(tmp_path / "x.jpg", picture(), exif=exif(orientation))
    square, size = open_pair(path, trimap(tmp_path, (60, 90)), 32)
    assert size == (60, 90)
    upright = picture().rotate(ROTATED[orientation], expand=True)
    assert difference(square.convert("RGB"), upright.resize((32, 32), Image.Resampling.BILINEAR)) == 0


@fault("Input", "a mask of another size than its photograph", "named with both sizes")
@pytest.mark.parametrize("mask", [(60, 90), (90, 61), (45, 30)])
def test_a_mask_of_another_size(tmp_path: Path, mask: tuple[int, int]) -> None:
    path = stored(tmp_path / "x.jpg", picture())
    with pytest.raises(Unusable, match="is 90 x 60, but its mask is") as caught:
        open_pair(path, trimap(tmp_path, mask), 32)
    assert caught.value.path == path


@fault("Input", "a photograph with broken EXIF data", "used as it is stored, without a warning")
def test_broken_exif_does_not_hide_the_photograph(tmp_path: Path) -> None:
    for number, exif in enumerate((b"no TIFF header", b"MM\0*\0\0\0\x08\0\x09 nine tags, not there")):
        path = stored(tmp_path / f"{number}.jpg", picture(), "JPEG", exif=b"Exif\0\0" + exif)
        assert open_square(path, 30).size == (30, 30)
        assert open_photo(path).size == (90, 60)
    code = "import pathlib, photos, sys; photos.open_photo(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(path)]
    source = str(Path(photos.__file__).parents[1])
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("shape", [(2000, 1500), (1999, 1333), (1601, 801), (520, 300)])
@pytest.mark.parametrize("side", [32, 64, 128])
def test_a_jpeg_decoded_small_is_within_a_grey_level(tmp_path: Path, shape: tuple[int, int], side: int) -> None:
    path = stored(tmp_path / "x.jpg", picture(*shape), "JPEG", quality=90)
    with Image.open(path) as image:
        full = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    assert difference(open_square(path, side), full) <= 1


def test_a_large_jpeg_is_decoded_small_and_a_small_one_is_not(tmp_path: Path) -> None:
    for shape, smaller in (((2000, 1500), True), ((200, 150), False)):
        path = stored(tmp_path / "x.jpg", picture(*shape), "JPEG")
        with photos.opened(path) as image:
            photos._shrunk(image, 64)
            assert (image.width < shape[0]) == smaller


@fault("Corruption", "a photograph that is cut, in any format", "never used, named with the reason")
@given(st.data())
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_is_refused_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, progressive: bool, data: st.DataObject
) -> None:
    whole = io.BytesIO()
    picture().save(whole, "JPEG", progressive=progressive)
    path = tmp_path_factory.mktemp("cut") / "x.jpg"
    path.write_bytes(whole.getvalue()[: data.draw(st.integers(0, len(whole.getvalue()) - 3))])
    reason(path)


@fault("Corruption", "a photograph that is cut, in any format", "never used, named with the reason")
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_other_formats_cut(tmp_path: Path, kind: str, share: float) -> None:
    path = stored(tmp_path / "x.jpg", picture(), kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    reason(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_trailing_junk_is_no_matter(tmp_path: Path, kind: str) -> None:
    clean = open_photo(stored(tmp_path / "x.jpg", picture(), kind))
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes() + b"\0junk\xff\xd8" * 1000)
    assert difference(open_photo(tmp_path / "x.jpg"), clean) == 0


@fault("Input", "a photograph that is something else, of any bytes", "never used, named with the reason")
@given(st.binary(max_size=300), st.sampled_from(STARTS))
def test_any_bytes_are_a_photograph_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x.jpg"
    path.write_bytes(start + content)
    try:
        assert open_photo(path).mode == "RGB"
    except Unusable as unusable:
        assert str(unusable)


@fault("Input", "a photograph that is something else, of any bytes", "never used, named with the reason")
def test_what_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    assert reason(path) == "is missing"
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for content in (b"", b"<html></html>", b"MATLAB 5.0 MAT-file", postscript):
        path.write_bytes(content)
        assert reason(path) == "is not a picture"
    assert reason(tmp_path) == "is not a file"


@fault(
    "Hostile", "a photograph of a few bytes that claims billions of pixels", "refused by its size, before it is decoded"
)
@pytest.mark.parametrize("side", [9_500, 50_000])
def test_a_bomb(tmp_path: Path, side: int) -> None:
    (tmp_path / "x.jpg").write_bytes(bomb(side, side))
    assert "more than 89,478,485 pixels" in reason(tmp_path / "x.jpg")


@fault("Input", "a photograph that is something else, of any bytes", "never used, named with the reason")
def test_numbers_without_a_known_white(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.jpg", Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    assert "type F" in reason(path)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags
