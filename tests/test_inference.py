"""Inference on any photograph: right masks, no harm to any file, and a clear word on what cannot be used."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

import inference
import pets
from commands import published
from handmade import bright, with_origin
from hostile import Malicious, bomb
from oxford_pet import foreground
from reliability import fault
from scoring.predict import Predictor
from shared import checkpoint
from utils import Refusal

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DARK, LIGHT = (40, 50, 60), (200, 190, 180)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with weights and nothing else."""
    checkpoint.save(tmp_path / "unet.pth", bright())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: object) -> None:
    inference.main(inference.arguments(["--weights", "unet.pth", "--out", "out", *map(str, words)]))


def mask(name: str, folder: str = "out") -> np.ndarray:
    return np.asarray(Image.open(f"{folder}/{name}_mask.png"))


def written(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def split_picture(width: int = 60, height: int = 40) -> Image.Image:
    """Its left quarter is bright."""
    picture = Image.new("RGB", (width, height), DARK)
    picture.paste(LIGHT, (0, 0, width // 4, height))
    return picture


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_masks_have_the_photographs_size_and_find_the_pet(place: Path) -> None:
    data = pets.make_dataset(place / "data", trainval=6, test=1, side=90)
    run(data / "images")
    names = [path.stem for path in sorted((data / "images").iterdir())]
    assert written() == sorted(f"{name}_{kind}.png" for name in names for kind in ("mask", "overlay"))
    for name in names:
        truth = foreground(np.asarray(Image.open(data / f"annotations/trimaps/{name}.png")))
        found = mask(name)
        assert found.shape == truth.shape
        assert set(np.unique(found)) == {0, 255}
        assert 2 * (truth & (found > 0)).sum() / (truth.sum() + (found > 0).sum()) > 0.93


def test_the_overlay_tints_the_pet_and_leaves_the_rest(place: Path) -> None:
    split_picture(200, 100).save(place / "a.png")
    run("a.png", "--cutout")
    overlay = np.asarray(Image.open("out/a_overlay.png")).astype(int)
    assert (overlay[:, 100:] == DARK).all()
    pet = overlay[50, 10]
    assert pet[2] > pet[1] > pet[0]  # towards blue
    line = overlay[50, 35:65].tolist()
    assert min(sum(abs(a - b) for a, b in zip(pixel, (0, 0x72, 0xB2), strict=True)) for pixel in line) < 60
    cutout = Image.open("out/a_cutout.png")
    assert cutout.mode == "RGBA"
    assert (np.asarray(cutout)[..., 3] == mask("a")).all()
    assert np.asarray(cutout)[50, 10].tolist() == [*LIGHT, 255]
    assert np.asarray(cutout)[50, 150].tolist() == [0, 0, 0, 0]


def test_several_weights_make_an_ensemble_and_a_comparison(place: Path) -> None:
    checkpoint.save(place / "lower.pth", bright(side=48, level=0.1))
    checkpoint.save(place / "never.pth", bright(side=32, level=0.9))
    split_picture().save(place / "a.png")
    run("a.png")
    alone = mask("a")
    arguments = ["--weights", "unet.pth", "lower.pth", "never.pth", "--out", "all", "a.png", "--cutout"]
    inference.main(inference.arguments(arguments))
    assert written("all") == [f"a_{kind}.png" for kind in ("compare", "cutout", "mask", "overlay")]
    assert (mask("a", "all") == alone).mean() > 0.97  # two of three see the bright quarter, one of three the rest
    compare = Image.open("all/a_compare.png")
    assert compare.width == 5 * 60
    panels = np.asarray(compare)[-20].reshape(5, 60, 3).astype(int)
    assert (panels[0] == np.asarray(split_picture())[20]).all()
    assert (panels[2] != panels[0]).all(1).mean() > 0.9  # all of it is pet
    assert (panels[3] == panels[0]).all()  # nothing is


def test_the_threshold_is_used(place: Path) -> None:
    Image.linear_gradient("L").save(place / "a.png")
    shares = []
    for threshold in ("0.01", "0.5", "0.99"):
        run("a.png", "--threshold", threshold)
        shares.append(mask("a").mean())
    assert shares[0] > shares[1] > shares[2] > 0


def test_weights_bring_their_threshold(place: Path) -> None:
    Image.linear_gradient("L").save(place / "a.png")
    checkpoint.save(place / "unet.pth", with_origin(bright(), 0.99))
    run("a.png")
    own = mask("a")
    run("a.png", "--threshold", "0.99")
    assert np.array_equal(mask("a"), own)
    run("a.png", "--threshold", "0.5")
    assert mask("a").mean() > own.mean()
    checkpoint.save(place / "unet.pth", bright())
    half = mask("a")
    run("a.png")
    assert np.array_equal(mask("a"), half), "weights without a threshold take 0.5"


def test_an_ensemble_takes_the_mean_threshold_and_each_network_its_own(place: Path) -> None:
    checkpoint.save(place / "low.pth", with_origin(bright(level=0.3), 0.01))
    checkpoint.save(place / "high.pth", with_origin(bright(level=0.6), 0.91))
    Image.linear_gradient("L").save(place / "a.png")
    weights = ("--weights", "low.pth", "high.pth", "a.png", "--out")
    inference.main(inference.arguments([*weights, "own"]))
    inference.main(inference.arguments([*weights, "given", "--threshold", "0.46"]))
    assert np.array_equal(mask("a", "own"), mask("a", "given"))
    own, given = (np.asarray(Image.open(f"{out}/a_compare.png")).reshape(-1, 4, 256, 3) for out in ("own", "given"))
    same = [np.array_equal(own[:, panel], given[:, panel]) for panel in range(4)]
    assert same == [True, False, False, True]
    tinted = [(own[-256:, panel] != own[-256:, 0]).any(-1).mean() for panel in (1, 2)]
    tinted_before = [(given[-256:, panel] != given[-256:, 0]).any(-1).mean() for panel in (1, 2)]
    assert tinted[0] > tinted_before[0] and tinted[1] < tinted_before[1]


def test_a_mean_threshold_counts_unknown_ones_as_a_half() -> None:
    known, unknown = with_origin(bright(), 0.3), bright()
    assert inference.thresholds([known], None) == [0.3]
    assert inference.thresholds([unknown], None) == [0.5]
    assert inference.thresholds([known, unknown], None) == [0.3, 0.5, pytest.approx(0.4)]
    assert inference.thresholds([known, unknown], 0.7) == [0.7, 0.7, pytest.approx(0.7)]


@pytest.mark.parametrize("tta", ["none", "flip", "flip_scales"])
def test_the_augmentation_is_used(place: Path, monkeypatch: pytest.MonkeyPatch, tta: str) -> None:
    seen: list[str] = []
    seeing = Predictor.__call__

    def call(it: Predictor, images: torch.Tensor) -> torch.Tensor:
        seen.append(it.tta)
        return seeing(it, images)

    monkeypatch.setattr(Predictor, "__call__", call)
    split_picture().save(place / "a.png")
    run("a.png", "--tta", tta)
    assert seen == [tta]


def test_the_batch_size_changes_nothing(place: Path) -> None:
    data = pets.make_dataset(place / "data", trainval=5, test=1)
    masks = []
    for batch in (1, 2, 6, 50):
        run(data / "images", "--batch", batch)
        masks.append([mask(path.stem) for path in (data / "images").iterdir()])
    assert all(np.array_equal(a, b) for other in masks[1:] for a, b in zip(masks[0], other, strict=True))


# --- where weights come from ------------------------------------------------------------------------------------------


def told(*words: str) -> dict[str, str]:
    """What --about says, by the first words of its lines."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "src/inference.py"), "--about", *words], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found: dict[str, str] = {}
    for line in ended.stdout.splitlines():
        assert len(line) <= 110
        if line[:1].strip():
            found["file"] = f"{found.get('file', '')}{line} "
        elif name := line[2:18].strip():
            found[last := name] = line[18:]
        elif line:
            found[last] += f" {line[18:]}"
    return found


def test_weights_say_where_they_come_from(place: Path) -> None:
    weights = replace(with_origin(bright()), environment={"device": "CPU", "threads": 2})
    checkpoint.save(place / "new.pth", weights)
    learnt = [tensor.numel() for name, tensor in weights.state.items() if not re.search("running|num_batches", name)]
    assert told("new.pth") == {
        "file": "new.pth ",
        "network": f"unet, {sum(learnt):,} parameters; width=1",
        "sees": "rgb, squares of 32 pixels",
        "tensors": f"sha256 {checkpoint.hash_of_tensors(weights)}",
        "seed": "42",
        "trained on": "540 photographs",
        "train names": f"sha256 {'a' * 64}",
        "train pixels": f"sha256 {'b' * 64}",
        "validated on": "60 photographs",
        "valid names": f"sha256 {'c' * 64}",
        "valid pixels": f"sha256 {'d' * 64}",
        "code": f"sha256 {'e' * 64}",
        "best epoch": "7, with a validation Dice of 0.8750",
        "threshold": "0.62, the best on the 60 validation photographs",
        "parameters": "data.image_size=32, train.epochs=9, train.lr=0.01, train.augment.hflip=0.5",
        "environment": "device=CPU, threads=2",
    }
    assert written(".") == ["new.pth", "unet.pth"]


def test_what_weights_do_not_know_is_said(place: Path) -> None:
    checkpoint.save(place / "new.pth", with_origin(bright()))
    found = told("new.pth", "unet.pth")
    assert found["file"] == "new.pth unet.pth "
    for name in ("seed", "trained on", "validated on", "code", "best epoch", "threshold", "parameters"):
        assert found[name].startswith("not known")


def test_what_weights_say_cannot_move_the_cursor(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = replace(with_origin(bright()), environment={"device\x1b[2J": "\x1b]0;title\x07 a\nb"})
    checkpoint.save(place / "new.pth", hostile)
    inference.main(inference.arguments(["--about", "new.pth"]))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out
    assert "device\\x1b[2J" in out


@fault("Input", "weights to tell about that are gone or damaged", "one line that names the file")
@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_weights_that_cannot_be_told_about(place: Path, content: bytes | None) -> None:
    if content is not None:
        (place / "w.pth").write_bytes(content)
    with pytest.raises(Refusal, match=r"^w\.pth: "):
        inference.main(inference.arguments(["--about", "w.pth"]))


# --- any photograph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "LA", "1", "I;16"])
def test_any_colour_mode(place: Path, mode: str) -> None:
    picture = split_picture().convert("L" if mode in ("1", "I;16") else "RGB")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 256)
    else:
        picture = picture.point(lambda v: 255 * (v > 100)) if mode == "1" else picture
        picture = picture.convert(mode)
    picture.save(place / ("a.tif" if mode in ("CMYK", "I;16") else "a.png"))
    run(next(place.glob("a.*")))
    assert (mask("a") > 0)[:, :12].all()
    assert not (mask("a") > 0)[:, 18:].any()
    assert Image.open("out/a_overlay.png").mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(place: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    split_picture().save(place / "a.jpg", exif=exif, quality=95)
    upright = np.asarray(Image.open(place / "a.jpg").convert("L"))
    turned = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T}
    turned |= {6: upright.T[:, ::-1], 7: upright.T[::-1, ::-1], 8: upright.T[::-1]}
    run("a.jpg")
    assert mask("a").shape == turned[orientation].shape
    assert ((mask("a") > 0) == (turned[orientation] > 110)).mean() > 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (33, 31)])
def test_any_size(place: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, LIGHT).save(place / "a.png")
    run("a.png", "--cutout")
    assert mask("a").shape == size[::-1]
    assert (mask("a") == 255).all()
    assert Image.open("out/a_overlay.png").size == size


def test_a_colour_profile_is_kept_only_where_it_still_describes_the_colours(place: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    of_cmyk = profile[:16] + b"CMYK" + profile[20:]
    split_picture().save(place / "a.png", icc_profile=profile)
    split_picture().convert("CMYK").save(place / "b.jpg", icc_profile=of_cmyk)
    run("a.png", "b.jpg")
    assert Image.open("out/a_overlay.png").info.get("icc_profile") == profile
    assert "icc_profile" not in Image.open("out/b_overlay.png").info


# --- names: nothing is lost and nothing overwritten -------------------------------------------------------------------


def test_photographs_of_one_name_do_not_collide(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(["x/cat.jpg", "x/cat.png", "y/CAT.png", "y/cat-2.png"]):
        (place / name).parent.mkdir(exist_ok=True)
        split_picture(60 + number, 40).save(place / name)
    run("x", "y", "x/cat.png")
    assert len(written()) == 8
    assert sorted(Image.open(f"out/{name}").width for name in written()[::2]) == [60, 61, 62, 63]
    assert "cat.png: results are out/cat-2_*.png" in capsys.readouterr().out


stems = st.text(st.sampled_from("aAß-2é\udcff"), min_size=1, max_size=4)


@given(st.lists(stems, max_size=12))
def test_names_never_collide_even_where_case_does_not_count(found: list[str]) -> None:
    names = [job.name for job in inference.named([Path(f"{place}/{stem}.jpg") for place, stem in enumerate(found)])]
    assert len({name.casefold() for name in names}) == len(found)
    assert all(name and name.encode() for name in names)


def test_very_long_and_strange_names(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is written, a file's name has that of the machine, too."""
    monkeypatch.setattr("platform.node", lambda: "ip-10-0-0-1.ap-northeast-1.compute.internal.example.org")
    (place / "in").mkdir()
    for name in ("é" * 120 + ".png", "-x.png", "a b\n.png", os.fsdecode(b"\xff.png")):
        split_picture().save(place / "in" / name)
    run("in")
    assert len(written()) == 8
    assert "photo_mask.png" in written()


def test_a_second_run_does_not_take_results_for_photographs(place: Path) -> None:
    (place / "out").mkdir()
    split_picture().save(place / "a.png")
    run(".")
    first = {name: (place / "out" / name).read_bytes() for name in written()}
    run(".")
    assert {name: (place / "out" / name).read_bytes() for name in written()} == first
    assert list(first) == ["a_mask.png", "a_overlay.png"]


def test_results_do_not_mix_with_photographs(place: Path) -> None:
    (place / "out").mkdir()
    split_picture().save(place / "out/a.png")
    with pytest.raises(Refusal, match="another --out"):
        run("out")
    assert written() == ["a.png"]


@fault("Input", "results would go over a photograph or the weights", "one line, exit 1; nothing is written")
@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_overwritten(place: Path, link: Callable[[Path, Path], None] | None) -> None:
    (place / "out").mkdir()
    split_picture().save(place / "out/a_mask.png")
    split_picture().save(place / "a.png")
    precious = place / "out/a_mask.png"
    if link:
        precious = place / "elsewhere.png"
        (place / "out/a_mask.png").rename(precious)
        link(precious, place / "out/a_mask.png")
    before = precious.read_bytes()
    with pytest.raises(Refusal, match=r"a_mask\.png: is an input"):
        run("a.png", precious)
    assert precious.read_bytes() == before
    assert written() == ["a_mask.png"]


def test_a_photograph_beside_its_results_is_fine(place: Path) -> None:
    (place / "out").mkdir()
    split_picture().save(place / "out/a.png")
    before = (place / "out/a.png").read_bytes()
    run("out/a.png")
    assert written() == ["a.png", "a_mask.png", "a_overlay.png"]
    assert (place / "out/a.png").read_bytes() == before


def test_a_folder_is_searched_at_every_depth_but_not_what_is_hidden(place: Path) -> None:
    for name in ("in/a.png", "in/deep/er/b.JPG", "in/.c.png", "in/.hidden/d.png", "in/._a.png", "in/notes.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        split_picture().save(place / name, "PNG")
    (place / "in/e.png").mkdir()
    run("in")
    assert written() == ["a_mask.png", "a_overlay.png", "b_mask.png", "b_overlay.png"]


def test_photographs_that_are_left_aside_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/a.png", "in/b.HEIC", "in/c", "in/notes.txt", "in/d.jpg.part"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        split_picture().save(place / name, "PNG")
    run("in")
    assert written() == ["a_mask.png", "a_overlay.png"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "left aside" in line]
    advice = "left aside; name the file itself to try it, or convert it to JPEG"
    assert lines == [f"in/b.HEIC: {advice}", f"in/c: {advice}"]


# --- what cannot be used ----------------------------------------------------------------------------------------------


@fault("Input", "some photographs to segment cannot be read", "each is named, exit 1; the others are done")
def test_what_cannot_be_read_is_named_and_the_rest_is_done(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    split_picture().save(buffer, "JPEG")
    contents = {
        "cut.jpg": buffer.getvalue()[:300],
        "text.jpg": b"no picture",
        "bomb.png": bomb(60_000, 60_000),
        "none.png": b"",
    }
    for name, content in contents.items():
        (place / name).write_bytes(content)
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe.jpg")
    split_picture().save(place / "good.png")
    with pytest.raises(Refusal, match=r"above: 7; photographs done: 1,") as refusal:
        run(*contents, "missing.jpg", "good.png", "folder", "pipe.jpg", "--batch", 2)
    assert refusal.value.code == 1
    assert written() == ["good_mask.png", "good_overlay.png"]
    lines = capsys.readouterr().err.splitlines()
    for name in [*contents, "missing.jpg", "folder", "pipe.jpg"]:
        assert len([line for line in lines if line.startswith(f"{name}: ")]) == 1


def hostile(path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "state": Malicious()}, path)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))


def other_version(path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT.replace("2", "0")}, path)


def cut(path: Path) -> None:
    checkpoint.save(path, bright())
    path.write_bytes(path.read_bytes()[:-500])


def state_only(path: Path) -> None:
    torch.save(bright().state, path)


def nothing(path: Path) -> None:
    assert not path.exists()


@fault("Hostile", "a weights file that holds code", "refused, nothing is executed")
@pytest.mark.parametrize("make", [hostile, bare_pickle, other_version, cut, state_only, Path.mkdir, nothing])
def test_weights_that_are_not_ours_are_refused_and_nothing_is_executed(
    place: Path, make: Callable[[Path], None]
) -> None:
    (place / "unet.pth").unlink()
    make(place / "unet.pth")
    split_picture().save(place / "a.png")
    with pytest.raises(Refusal, match=r"^unet\.pth: "):
        run("a.png")
    assert not (place / "out").exists()
    assert not (place / "executed").exists()


def test_out_may_not_be_a_file(place: Path) -> None:
    (place / "out").write_text("precious")
    split_picture().save(place / "a.png")
    with pytest.raises(Refusal, match="out: is a file"):
        run("a.png")
    assert (place / "out").read_text() == "precious"


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "--weights a.pth b.pth x.jpg y --out o",
        "x.jpg y --out o --weights a.pth b.pth",
        "x.jpg --weights a.pth y --out o --weights b.pth",
        "--out o --weights a.pth --weights b.pth -- x.jpg y",
    ],
)
def test_weights_and_photographs_are_told_apart_in_any_order(words: str) -> None:
    args = inference.arguments(words.split())
    assert args.weights == [Path("a.pth"), Path("b.pth")]
    assert sorted(args.inputs) == [Path("x.jpg"), Path("y")]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--weights a.pth --out o", "name a photograph or a folder"),
        ("x.jpg --weights a", "the following arguments are required: --out"),
        ("x.jpg", "the following arguments are required: --out"),
        ("--out o", "name a photograph or a folder"),
        ("x.jpg --weights a --out o --batch 0", "--batch"),
        ("x.jpg --weights a --out o --threshold 0", "--threshold"),
        ("x.jpg --weights a --out o --tta x", "--tta"),
        ("--about", "--about: expected at least one argument"),
        ("--about a.pth --weights b.pth", "--about takes weights and nothing else"),
        ("--about a.pth --out o", "--about takes weights and nothing else"),
        ("x.jpg --about a.pth", "--about takes weights and nothing else"),
    ],
)
def test_a_wrong_command_line_ends_with_2(words: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        inference.arguments(words.split())
    assert end.value.code == 2
    assert reason in capsys.readouterr().err


def test_without_weights_the_published_ones_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    args = inference.arguments(["x.jpg", "--out", "o"])
    assert [file.name for file in args.weights] == ["unet.pth", "resnet34_unet.pth"]
    assert args.inputs == [Path("x.jpg")]
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(SystemExit):
        inference.arguments(["x.jpg", "--out", "o"])


def test_it_needs_only_the_weights(place: Path) -> None:
    split_picture().save(place / "a.png")
    code = (
        "import runpy, sys; sys.argv = ['inference.py', *sys.argv[1:]]\n"
        f"sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        f"try: runpy.run_path({str(ROOT / 'src/inference.py')!r}, run_name='__main__')\n"
        "finally: print([name for name in ('torch', 'dvc', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    words = ["--weights", "unet.pth", "a.png", "missing.png", "--out", "out"]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout.endswith("['torch']\n")
    assert ended.stderr.splitlines()[0] == "missing.png: is missing"
    assert ended.stderr.splitlines()[1].startswith("inference: not usable")
    assert (place / "out/a_mask.png").exists()
