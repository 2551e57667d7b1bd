"""Networks for other programs: under ONNX Runtime they find what they find under PyTorch."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import export
import inference
import pets
from handmade import bright, untrained, with_origin
from models import build, parts
from oxford_pet import foreground
from reliability import fault
from scoring.predict import Predictor
from scripts import process, script, succeeded
from shared import checkpoint
from shared.checkpoint import Weights
from shared.inputs import normalised, unit
from source import sample
from source.sample_animal import BREEDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/export.md"
CLOSE = 1e-4
CPU = torch.device("cpu")
SIZES = [(1, 67, 45), (3, 45, 67), (3, 64, 64), (1, 33, 200), (1, 32, 16), (2, 1, 1)]  # photographs, height, width
OPTIONS: list[dict[str, Any]] = [
    {},
    {"upsample": "bilinear", "padding": "reflect"},
    {"upsample": "nearest", "attention": True, "norm_affine": False},
    {"upsample": "transposed", "dropout": 0.5},
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with weights and a dataset."""
    checkpoint.save(tmp_path / "unet.pth", with_origin(bright(), 0.62))
    pets.make_dataset(tmp_path / "data", trainval=6, test=2, side=61)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@torch.no_grad()
def spread(weights: Weights) -> Weights:
    """With statistics of its own in each BatchNorm, and with probabilities that are neither all 0 nor all 1."""
    random = torch.Generator().manual_seed(1)
    state = dict(weights.state)
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            state[name] = 0.1 * torch.randn(tensor.shape, generator=random)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(tensor.shape, generator=random)
    mean, std = [0.48, 0.45, 0.40], [0.26, 0.25, 0.27]
    weights = replace(weights, state=state, mean=mean[: len(weights.mean)], std=std[: len(weights.std)])
    seen = normalised(unit(torch.from_numpy(photographs((2, 64, 64)))), weights.input, weights.mean, weights.std)
    scores = weights.build()(seen)
    state["head.weight"] = state["head.weight"] / scores.std()
    state["head.bias"] = state["head.bias"] - scores.mean((0, 2, 3)) / scores.std()
    return weights


def wide(network: str) -> dict[str, Any]:
    """Wide enough that most channels of an untrained network are alive."""
    return {"decoder": [16, 16, 8, 8, 8]} if network == "resnet34_unet" else {}


def photographs(size: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def session(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def under_onnxruntime(content: bytes, pixels: np.ndarray) -> np.ndarray:
    (found,) = session(content).run(["probabilities"], {"photographs": pixels})
    return found


def same_as_pytorch(weights: Weights, sizes: Sequence[tuple[int, int, int]] = SIZES) -> None:
    running, predictor = session(export.exported(weights)), Predictor(weights, "none", CPU)
    varied = []
    for size in sizes:
        pixels = photographs(size)
        expected = predictor(torch.from_numpy(pixels)).numpy()
        (found,) = running.run(None, {"photographs": pixels})
        assert found.dtype == np.float32
        assert found.shape == expected.shape == size
        assert np.abs(found - expected).max() <= CLOSE, size
        varied.append(expected.std())
    assert max(varied) > 0.05, "the probabilities are all the same, so that they agree says nothing"


# --- what the file does -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["unet", "resnet34_unet"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())) or "default")
def test_any_number_of_photographs_of_any_size_gives_what_pytorch_gives(network: str, options: dict[str, Any]) -> None:
    same_as_pytorch(spread(untrained(network, width=8, **wide(network), **options)))


@pytest.mark.parametrize("mode", ["gray", "gray_edges"])
def test_what_a_network_sees_of_the_colours_is_inside(mode: str) -> None:
    torch.manual_seed(0)
    channels = {"gray": 1, "gray_edges": 2}[mode]
    state = build("unet", channels, 1, {"width": 2}).state_dict()
    weights = Weights("unet", {"width": 2}, 1, mode, [0.0] * channels, [1.0] * channels, 32, {}, state)
    same_as_pytorch(spread(weights), SIZES[:3])


def test_a_network_of_two_classes_gives_the_probability_of_pet() -> None:
    torch.manual_seed(0)
    state = build("unet", 3, 2, {"width": 2}).state_dict()
    same_as_pytorch(spread(Weights("unet", {"width": 2}, 2, "rgb", [0.0] * 3, [1.0] * 3, 32, {}, state)), SIZES[:3])


@pytest.mark.parametrize(("side", "width"), [(1, 1), (2, 1), (3, 1), (7, 1), (4, 3), (32, 3)])
def test_the_padding_of_the_file_is_that_of_the_networks(side: int, width: int) -> None:
    x = torch.rand(2, 3, side, 5)
    ours = parts.reflect
    with export.any_side():
        assert parts.reflect is not ours
        padded = parts.reflect(x, width, 2)
    assert parts.reflect is ours
    assert torch.equal(padded, ours(x, width, 2))


@pytest.mark.usefixtures("place")
def test_the_file_says_what_a_mask_needs() -> None:
    weights = with_origin(bright(), 0.62)
    assert weights.origin
    weights.origin.params["data"]["border"] = "ignore"
    checkpoint.save(Path("unet.pth"), weights)
    done = succeeded("export", "--weights", "unet.pth", "--out", "new/unet.onnx")
    assert re.fullmatch(r"new/unet\.onnx: unet, 0\.\d MB\n", done.out)
    assert session(Path("new/unet.onnx").read_bytes()).get_modelmeta().custom_metadata_map == {
        "network": "unet",
        "image_size": "32",
        "threshold": "0.62",
        "precision": "fp32",
        "tensors": f"sha256 {checkpoint.hash_of_tensors(weights)}",
        "border": "ignore",
    }


@pytest.mark.parametrize("params", [{}, {"data": "pet"}, {"data": {"border": ["pet"]}}, {"data": {"border": "\ud800"}}])
def test_a_border_rule_that_is_not_known_is_left_out(params: dict[str, Any]) -> None:
    weights = with_origin(bright())
    assert weights.origin
    found = export.metadata(replace(weights, origin=replace(weights.origin, params=params)), "fp32")
    assert "border" not in found
    assert export.metadata(bright(), "fp32")["threshold"] == "0.5"


def test_the_same_weights_give_the_same_bytes_and_none_of_them_is_a_place(place: Path) -> None:
    weights = ("--weights", "unet.pth", "--out")
    assert process("export", *weights, "one.onnx").err == ""
    succeeded("export", *weights, "two.onnx")
    first = Path("one.onnx").read_bytes()
    assert first == Path("two.onnx").read_bytes() == export.exported(with_origin(bright(), 0.62))
    for folder in (ROOT, place, Path(sys.prefix), Path(torch.__file__).parent):
        assert os.fsencode(folder) not in first
    assert b".py" not in first


@pytest.mark.usefixtures("place")
def test_the_example_of_the_docs_makes_the_mask_that_inference_makes() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 10
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.M)) == {"numpy", "onnxruntime", "PIL"}
    checkpoint.save(Path("resnet34_unet.pth"), with_origin(bright(), 0.62))
    succeeded("export", "--weights", "resnet34_unet.pth", "--out", "resnet34_unet.onnx")
    picture = Image.fromarray(pets.make_pet(61, 90, np.random.default_rng(3))[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save("photo.jpg", exif=exif, quality=95)
    exec(compile(code, str(PAGE), "exec"), {})
    inference.main(inference.arguments(["--weights", "resnet34_unet.pth", "--out", "out", "photo.jpg"]))
    ours, theirs = (np.asarray(Image.open(file).convert("L")) for file in ("out/photo_mask.png", "mask.png"))
    assert theirs.shape == ours.shape == (90, 61)
    assert 0.1 < (theirs > 0).mean() < 0.9
    assert (ours == theirs).mean() > 0.999


# --- int8 -------------------------------------------------------------------------------------------------------------


def dice_of(content: bytes, names: Sequence[str], side: int) -> float:
    found = []
    for name in names:
        image = Image.open(f"data/images/{name}.jpg").resize((side, side), Image.Resampling.BILINEAR)
        trimap = Image.open(f"data/annotations/trimaps/{name}.png").resize((side, side), Image.Resampling.NEAREST)
        mask = under_onnxruntime(content, np.asarray(image)[None])[0] >= 0.5
        truth = foreground(np.asarray(trimap))
        found.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    return float(np.mean(found))


@pytest.mark.usefixtures("place")
def test_int8_finds_the_pets_too() -> None:
    weights = ("--weights", "unet.pth", "--out")
    succeeded("export", *weights, "full.onnx")
    done = succeeded("export", *weights, "small.onnx", "--int8", "data/images")
    assert done.err == ""
    full, small = Path("full.onnx").read_bytes(), Path("small.onnx").read_bytes()
    names = [path.stem for path in sorted(Path("data/images").iterdir())]
    assert dice_of(full, names, 32) > 0.9
    assert abs(dice_of(small, names, 32) - dice_of(full, names, 32)) < 0.02
    about = session(small).get_modelmeta().custom_metadata_map
    assert about == session(full).get_modelmeta().custom_metadata_map | {"precision": "int8"}


@pytest.mark.parametrize("network", ["unet", "resnet34_unet"])
@pytest.mark.usefixtures("place")
def test_int8_is_near_and_takes_any_size(network: str) -> None:
    weights = checkpoint.load(ROOT / f"published/{network}.pth")
    animals = [sample.picture(f"{breed.name}_3", breed)[0] for breed in BREEDS[:4]]
    Path("animals").mkdir()
    for number, animal in enumerate(animals):
        animal.save(f"animals/{number}.png")
    content = export.exported(weights, Path("animals"))
    assert content == export.exported(weights, Path("animals"))
    large = (1, 256, 256)  # on small drawings these networks see no animal
    for count, height, width in [*SIZES, large]:
        pixels = np.stack([np.asarray(animals[0].resize((width, height)))] * count)
        expected = Predictor(weights, "none", CPU)(torch.from_numpy(pixels)).numpy()
        found = under_onnxruntime(content, pixels)
        assert found.shape == (count, height, width)
        if min(height, width) >= 32:
            assert np.abs(found - expected).mean() < 0.02
    assert expected.std() > 0.1
    in_8_bits = [one.data_type for one in onnx.load_from_string(content).graph.initializer]
    assert in_8_bits.count(onnx.TensorProto.INT8) > 10
    assert len(content) < len(export.exported(weights)) / 2


@fault("Input", "no photographs for export.py --int8", "one line that names the folder; no file is written")
@pytest.mark.parametrize(
    ("folder", "says"), [("none", "no such folder"), ("empty", "holds no photographs"), ("unet.pth", "no such folder")]
)
@pytest.mark.usefixtures("place")
def test_int8_without_photographs_is_refused(folder: str, says: str) -> None:
    Path("empty").mkdir()
    done = script("export", "--weights", "unet.pth", "--out", "w.onnx", "--int8", folder)
    assert done.code == 1
    assert done.err.startswith(f"export: {folder}: {says}")
    assert done.err.count("\n") == 1
    assert not Path("w.onnx").exists()


@fault("Input", "a damaged photograph for export.py --int8", "one line that names it; no file is written")
@pytest.mark.usefixtures("place")
def test_int8_of_a_damaged_photograph_is_refused() -> None:
    Path("data/images/torn.jpg").write_bytes(b"no photograph")
    done = script("export", "--weights", "unet.pth", "--out", "w.onnx", "--int8", "data/images")
    assert done.code == 1
    assert done.err == "export: data/images/torn.jpg: is not a picture; remove it from the folder of --int8\n"
    assert not Path("w.onnx").exists()


# --- what is refused --------------------------------------------------------------------------------------------------


@fault("Input", "weights to export that are gone or damaged", "one line that names the file; no file is written")
@pytest.mark.parametrize("content", [None, b"", b"no weights"])
@pytest.mark.usefixtures("place")
def test_weights_that_cannot_be_exported(content: bytes | None) -> None:
    if content is not None:
        Path("w.pth").write_bytes(content)
    done = script("export", "--weights", "w.pth", "--out", "w.onnx")
    assert done.code == 1
    assert done.err.startswith("export: w.pth: ")
    assert done.err.count("\n") == 1
    assert not Path("w.onnx").exists()


@fault("Machine", "onnx or onnxruntime is not installed", "export.py says in one line how to install it")
@pytest.mark.parametrize(("package", "words"), [("onnx", []), ("onnxruntime", ["--int8", "data/images"])])
@pytest.mark.usefixtures("place")
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, package: str, words: list[str]) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = script("export", "--weights", "unet.pth", "--out", "w.onnx", *words)
    advice = "`make extra` installs it, or `pip install -r requirements-extra.txt`"
    assert (done.code, done.err) == (1, f"export: the package {package} is missing: {advice}\n")
    assert not Path("w.onnx").exists()


@fault("Input", "export.py would overwrite a folder or the weights", "refused before the work; both stay as they are")
@pytest.mark.parametrize(("out", "says"), [("data", "is a folder"), ("./unet.pth", "is the weights file")])
@pytest.mark.usefixtures("place")
def test_what_would_be_overwritten_is_refused(out: str, says: str) -> None:
    before = Path("unet.pth").read_bytes()
    done = script("export", "--weights", "unet.pth", "--out", out)
    assert done.code == 1
    assert says in done.line
    assert Path("unet.pth").read_bytes() == before


@fault("Disk", "full while export.py writes", "one line that names the file; the old file stays")
@pytest.mark.usefixtures("place")
def test_a_full_disk_keeps_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("w.onnx").write_bytes(b"old")

    def full(_: Path, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = script("export", "--weights", "unet.pth", "--out", "w.onnx")
    assert done.code == 1
    assert done.err.startswith("export: cannot write w.onnx: No space left on device")
    assert Path("w.onnx").read_bytes() == b"old"
    assert sorted(path.name for path in Path().iterdir()) == ["data", "unet.pth", "w.onnx"]
