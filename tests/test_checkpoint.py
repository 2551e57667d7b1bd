"""Weights files: what was saved comes back, and anything else is refused before it is used."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handmade import untrained, with_origin
from hostile import Malicious
from models import build
from reliability import fault
from shared import checkpoint
from shared.checkpoint import Origin, Weights, checksum, contents, plausible
from utils import Refusal

WEIGHTS = replace(
    with_origin(untrained("unet")), mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4], environment={"device": "CPU"}
)
assert WEIGHTS.origin
ORIGIN: Origin = WEIGHTS.origin


def short(change: Any) -> str:
    return reprlib.repr(change)


def size(weights: Weights) -> int:
    """Bytes of all tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.state.values())


def written(path: Path, weights: Weights = WEIGHTS, **changes: Any) -> Path:
    """A weights file as a careful forger would write it: whatever is wrong with the weights, the checksum is right."""
    content = {"format": checkpoint.FORMAT, **contents(weights), "checksum": checksum(weights)} | changes
    torch.save(content, path)
    return path


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "w.pth", WEIGHTS)
    loaded = checkpoint.load(tmp_path / "w.pth")
    for name, value in vars(WEIGHTS).items():
        if name != "state":
            assert getattr(loaded, name) == value
    assert list(loaded.state) == list(WEIGHTS.state)
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in WEIGHTS.state.items())
    assert torch.load(tmp_path / "w.pth", weights_only=True)["format"] == "pet segmentation weights, version 2"


def first_version(path: Path, **changes: Any) -> Path:
    """A file as version 1 wrote it: its fields and its checksum stand here by themselves."""
    fields: dict[str, Any] = {
        "network": "unet",
        "config": {"width": 2},
        "out_channels": 1,
        "input": "rgb",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "image_size": 32,
        "environment": {"device": "CPU", "threads": 2},
    }
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for name, tensor in WEIGHTS.state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    content = fields | {"state": WEIGHTS.state, "checksum": digest.hexdigest()} | changes
    torch.save({"format": "pet segmentation weights, version 1", **content}, path)
    return path


def test_the_first_version_is_read_and_its_origin_is_not_known(tmp_path: Path) -> None:
    loaded = checkpoint.load(first_version(tmp_path / "w.pth"))
    assert (loaded.network, loaded.mean, loaded.environment["threads"]) == ("unet", [0.5, 0.4, 0.3], 2)
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in WEIGHTS.state.items())
    assert loaded.origin is None


@pytest.mark.parametrize(
    "changes", [{"mean": [0.5, 0.4, 0.31]}, {"origin": None}, {"origin": contents(WEIGHTS)["origin"]}], ids=str
)
def test_the_first_version_holds_what_it_held_and_no_more(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"w\.pth: damaged"):
        checkpoint.load(first_version(tmp_path / "w.pth", **changes))


def test_weights_made_by_hand_have_no_origin(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "w.pth", replace(WEIGHTS, origin=None))
    assert checkpoint.load(tmp_path / "w.pth").origin is None


def test_the_hash_of_the_tensors_knows_nothing_else() -> None:
    other = replace(WEIGHTS, environment={}, origin=None)
    assert checkpoint.hash_of_tensors(other) == checkpoint.hash_of_tensors(WEIGHTS)
    assert checkpoint.hash_of_tensors(replace(WEIGHTS, state=other_number())) != checkpoint.hash_of_tensors(WEIGHTS)


def test_a_loaded_network_is_ready_to_predict(tmp_path: Path) -> None:
    network = checkpoint.load(written(tmp_path / "w.pth")).build()
    assert not network.training
    x, expected = torch.rand(1, 3, 32, 32), WEIGHTS.build()
    with torch.no_grad():
        assert torch.equal(network(x), expected(x))


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    """Whatever the file is called, however the tensors lie in memory, and whether they can be trained."""
    checkpoint.save(tmp_path / "a.pth", WEIGHTS)
    other = {
        name: tensor.mT.contiguous().mT if tensor.ndim == 4 and tensor.shape[-1] > 1 else tensor.clone()
        for name, tensor in WEIGHTS.state.items()
    }
    other["head.weight"].requires_grad_()
    checkpoint.save(tmp_path / "another name.pth", replace(WEIGHTS, state=other))
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "another name.pth").read_bytes()


# --- the checksum -----------------------------------------------------------------------------------------------------


def swapped_names() -> dict[str, torch.Tensor]:
    """The same numbers in the same order, but two tensors of one shape have each other's name."""
    shapes: dict[torch.Size, str] = {}
    for name, tensor in WEIGHTS.state.items():
        other = shapes.setdefault(tensor.shape, name)
        if other != name and tensor.ndim == 4 and not torch.equal(tensor, WEIGHTS.state[other]):
            names = {name: other, other: name}
            return {names.get(key, key): value for key, value in WEIGHTS.state.items()}
    raise AssertionError("no two kernels of one shape")


def other_number() -> dict[str, torch.Tensor]:
    state = {name: tensor.clone() for name, tensor in WEIGHTS.state.items()}
    state["head.bias"] += 1
    return state


@pytest.mark.parametrize(
    "change",
    [
        {"state": swapped_names()},
        {"state": other_number()},
        {"state": {name: tensor.double() for name, tensor in WEIGHTS.state.items()}},
        {"config": {"width": 2, "dropout": 0.5}},  # of the same shapes
        {"input": "rgb", "mean": [0.5, 0.4, 0.31]},
        {"std": [0.2, 0.3, 0.41]},
        {"image_size": 33},
        {"environment": {"device": "GPU"}},
        {"origin": None},
        {"origin": replace(ORIGIN, seed=43)},
        {"origin": replace(ORIGIN, params={})},
        {"origin": replace(ORIGIN, valid=ORIGIN.train)},
        {"origin": replace(ORIGIN, code="0" * 64)},
        {"origin": replace(ORIGIN, best_epoch=8)},
        {"origin": replace(ORIGIN, valid_dice=0.876)},
        {"origin": replace(ORIGIN, threshold=0.63)},
    ],
    ids=lambda change: " ".join(change),
)
def test_whatever_else_is_in_the_file_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    changed = replace(WEIGHTS, **change)
    assert checksum(changed) != checksum(WEIGHTS)
    with pytest.raises(Refusal, match=r"w\.pth: damaged"):
        checkpoint.load(written(tmp_path / "w.pth", **{name: contents(changed)[name] for name in change}))


def test_a_checksum_is_the_same_for_equal_weights() -> None:
    """However the tensors lie in memory, and in whatever order the names of a mapping stand."""
    state = {
        name: tensor.mT.contiguous().mT if tensor.ndim == 4 else tensor.clone()
        for name, tensor in WEIGHTS.state.items()
    }
    one = replace(WEIGHTS, config={"width": 2, "dropout": 0.0})
    other = replace(WEIGHTS, config={"dropout": 0.0, "width": 2}, state=state)
    assert checksum(other) == checksum(one)


@fault("Corruption", "a byte of a weights file", "named, exit 1, or the byte is of no consequence")
def test_a_flipped_byte_never_changes_a_prediction_unnoticed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.pth", WEIGHTS)
    content, noticed = (tmp_path / "a.pth").read_bytes(), 0
    for place in np.random.default_rng(0).integers(0, len(content), 40).tolist():
        (tmp_path / "b.pth").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            loaded = checkpoint.load(tmp_path / "b.pth")
        except Refusal as refusal:
            assert "b.pth" in str(refusal)
            noticed += 1
        else:  # a byte that nothing reads, such as padding
            assert checksum(loaded) == checksum(WEIGHTS)
    assert noticed > 20


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 2048])
def test_the_smallest_and_the_largest_picture_are_plausible(side: int) -> None:
    assert plausible(replace(WEIGHTS, image_size=side), size(WEIGHTS))


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 15},
        {"image_size": 2049},
        {"image_size": 32.0},
        {"std": [0.2, 0.3, 0.0]},
        {"std": [0.2, 0.3, -1.0]},
        {"std": [0.2, 0.3, math.inf]},
        {"std": [0.2, 0.3, math.nan]},
        {"std": [0.2, 0.3]},
        {"mean": [0.2, 0.3, math.nan]},
        {"mean": [0.2, 0.3, -math.inf]},
        {"mean": [0.2] * 4},
        {"input": "gray"},
        {"out_channels": 2},
        {"config": {"width": 3}},
        {"network": "resnet34_unet"},
        {"network": "another"},
        {"state": {name: tensor for name, tensor in WEIGHTS.state.items() if name != "head.bias"}},
        {"state": WEIGHTS.state | {"more": torch.zeros(1)}},
        {"environment": {"text": "x" * 1001}},
        {"environment": {"numbers": [0] * 2000}},
        {"environment": {"number": math.nan}},
        {"environment": [1]},
        {"environment": {"number": 10**20}},
    ],
    ids=short,
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"w\.pth: (damaged|weights of)"):
        checkpoint.load(written(tmp_path / "w.pth", replace(WEIGHTS, **change)))


SPLIT = vars(ORIGIN.valid)
HOSTILE: dict[str, list[Any]] = {
    "threshold": [math.nan, math.inf, 0.0, 1.0, -0.5, 1, "0.5", None, True, [0.5]],
    "valid_dice": [math.nan, -0.1, 1.1, 1, "0.9", None],
    "best_epoch": [0, -1, 2**63, 7.0, True, "7", None],
    "seed": [-1, 2**63, 42.0, True, "42", None],
    "code": ["", "e" * 63, "E" * 64, "e" * 64 + "\n", "e" * 1_000_000, 5, None, ["e" * 64]],
    "train": [SPLIT | {"names": "x" * 64}, SPLIT | {"pixels": "\x1b[31m" * 16}],
    "valid": [
        *(SPLIT | {"photographs": value} for value in (0, -1, 2**63, 60.0, "60", None)),
        *(None, [], {}, {"photographs": 60}, SPLIT | {"more": 1}),
    ],
    "params": [
        *(None, [], "x", {"lr": math.nan}, {"lr": math.inf}, {"x": "y" * 1001}, {"y" * 1001: 1}),
        *({"x": [0] * 2000}, {"n": 2**63}, {"x": torch.zeros(2)}),
    ],
    "more": [1],
}


@fault("Hostile", "weights whose origin is not what training writes", "one line: damaged")
@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in HOSTILE.items() for v in values], ids=short)
def test_an_origin_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    """Though the checksum is right."""
    file = written(tmp_path / "w.pth", origin={**contents(WEIGHTS)["origin"], name: value})
    monkeypatch.setattr(checkpoint, "checksum", lambda _: checksum(WEIGHTS))
    with pytest.raises(Refusal, match=r"w\.pth: damaged"):
        checkpoint.load(file)


@pytest.mark.parametrize("origin", [{}, [], 1, "x", {"seed": 42}], ids=str)
def test_half_an_origin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: Any) -> None:
    """Though the checksum is right."""
    file = written(tmp_path / "w.pth", origin=origin)
    monkeypatch.setattr(checkpoint, "checksum", lambda _: checksum(WEIGHTS))
    with pytest.raises(Refusal, match=r"w\.pth: damaged"):
        checkpoint.load(file)


@pytest.mark.parametrize(
    "change", [{"seed": 0}, {"seed": 2**63 - 1}, {"valid_dice": 0.0}, {"valid_dice": 1.0}], ids=str
)
def test_the_least_and_the_most_of_an_origin_are_read(tmp_path: Path, change: dict[str, Any]) -> None:
    weights = replace(WEIGHTS, origin=replace(ORIGIN, **change))
    assert checkpoint.load(written(tmp_path / "w.pth", weights)).origin == weights.origin


def nested(levels: int) -> list[Any]:
    """Ten to the power of `levels` values in a few bytes."""
    value: list[Any] = [0] * 10
    for _ in range(levels - 1):
        value = [value] * 10
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@fault("Hostile", "weights that describe themselves in billions of values", "one line, before they are counted")
@pytest.mark.parametrize("value", [nested(12), endless()], ids=["nested", "endless"])
@pytest.mark.parametrize("place", ["environment", "config", "origin"])
def test_a_description_of_billions_of_values_is_refused(tmp_path: Path, place: str, value: list[Any]) -> None:
    fields = contents(WEIGHTS)
    fields["config"] = fields["config"] | ({"width": value} if place == "config" else {})
    fields["environment"] = {"x": value} if place == "environment" else {}
    fields["origin"] = fields["origin"] | ({"params": {"x": value}} if place == "origin" else {})
    torch.save({"format": checkpoint.FORMAT, **fields, "checksum": ""}, tmp_path / "w.pth")
    with pytest.raises(Refusal, match=r"w\.pth: damaged"):
        checkpoint.load(tmp_path / "w.pth")


def test_tensors_may_take_the_bytes_of_the_file_and_no_more() -> None:
    assert plausible(WEIGHTS, size(WEIGHTS))
    assert not plausible(WEIGHTS, size(WEIGHTS) - 1)


@fault("Hostile", "weights that claim terabytes", "one line, before memory is taken")
def test_a_small_file_that_claims_much_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its tensors is one number, told to be of the right shape."""
    with torch.device("meta"):
        wide = build("unet", 3, 1, {"width": 64}).state_dict()
    state = {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in wide.items()}
    claimed = replace(WEIGHTS, config={"width": 64}, state=state)
    torch.save({"format": checkpoint.FORMAT, **contents(claimed), "checksum": ""}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < size(claimed) / 100

    def never(_: Weights) -> str:
        raise AssertionError("looked at all of it")

    monkeypatch.setattr(checkpoint, "checksum", never)
    monkeypatch.setattr(Weights, "build", never)
    with pytest.raises(Refusal, match=r"w\.pth: damaged"):
        checkpoint.load(tmp_path / "w.pth")


@fault("Hostile", "weights that unpack to a thousand times their size", "one line, before they are unpacked")
def test_a_packed_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "w.pth", replace(WEIGHTS, environment={"text": "x" * 100_000}))
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(Refusal, match=r"packed\.pth: not a weights file, or damaged"):
        checkpoint.load(tmp_path / "packed.pth")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, number: float) -> None:
    state = other_number()
    state["head.bias"].fill_(number)
    with pytest.raises(Refusal, match=r"w\.pth: holds numbers that are not finite"):
        checkpoint.load(written(tmp_path / "w.pth", replace(WEIGHTS, state=state)))


@fault("Hostile", "a weights file that holds code", "refused, nothing is executed")
def test_hostile_weights_execute_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "state": Malicious()}, tmp_path / "w.pth")
    with pytest.raises(Refusal, match="nothing was executed"):
        checkpoint.load(tmp_path / "w.pth")
    assert not (tmp_path / "executed").exists()


@fault("Input", "weights of another project or version", "one line that says which")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"format": "pet segmentation weights, version 0"}, "another version"),
        ({"state": {}}, "not weights of this project"),
        ([1, 2], "not weights of this project"),
        (["format"], "not weights of this project"),
        ({"format": checkpoint.FORMAT}, "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, reason: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(Refusal, match=reason):
        checkpoint.load(tmp_path / "w.pth")


@fault("Input", "no weights where they should be", "one line that names the file")
def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    for path, reason in [
        (tmp_path / "none.pth", r"none\.pth: no such"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.pth", r"text\.pth: not a weights file"),
    ]:
        with pytest.raises(Refusal, match=reason):
            checkpoint.load(path)


def test_a_program_of_torchscript_is_refused_in_one_line(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """torch would warn of it, with a line of its own code."""
    with zipfile.ZipFile(tmp_path / "script.pth", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"script/{name}", b"3\n")
    with pytest.raises(Refusal, match=r"script\.pth: not a weights file, or damaged"):
        checkpoint.load(tmp_path / "script.pth")
    assert not recwarn.list
