"""Every bad value ends in one line that names the key, the value, what is allowed and the file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import modify_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import params
from params import whole
from reliability import fault
from scripts import script
from utils import Refusal

ROOT = Path(__file__).parents[1]
VALUES = params.read(ROOT / "params.yaml")


def changed(key: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    *sections, last = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    place[last] = value
    return values


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(Refusal) as caught:
        check(values)
    assert caught.value.code == 2
    line = str(caught.value)
    assert "\n" not in line
    return line


def check(values: dict[str, Any]) -> None:
    """Everything: also the networks' shapes, which only the stages look at that load a network."""
    checked = whole.check(values, "params.yaml")
    for name, network in checked.networks.items():
        models.checked_config(name, network.config, "params.yaml")


def keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        found += keys(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return found


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"sizes": [32, 48]}, "[32, 48] of unet: must grow to data.image_size, which is 64"),
        ({"sizes": [64, 32, 64]}, "must grow to data.image_size"),
        ({"sizes": [32, 64], "epochs": 1}, "are more than the epochs, of which there are 1"),
    ],
)
def test_squares_that_cannot_grow_as_they_should_are_refused(train: dict[str, Any], said: str) -> None:
    line = refusal(params.overlaid(VALUES, {"data": {"image_size": 64}, "train": train}))
    assert "params.yaml: train.sizes = " in line
    assert said in line
    assert "take [] to train at data.image_size alone" in line


def test_squares_may_grow() -> None:
    check(params.overlaid(VALUES, {"data": {"image_size": 64}, "train": {"sizes": [32, 64, 64], "epochs": 3}}))


def test_the_committed_parameters_are_valid() -> None:
    params.load(ROOT / "params.yaml")


# Of each key the bad values; where the line does not show KEY = VALUE, what it shows stands beside the value.
BAD: dict[str, list[Any]] = {
    "seed": [-1, 1.5, "x", None, True, 2**63],
    "threads": [0, 1.5, "two", True],
    "data.source": ["", 3, None, []],
    "data.lists": [3, None, []],
    "data.breeds": ["pug", ([1], "data.breeds.0 = 1"), None, ([""], "data.breeds.0 = ''")],
    "data.limit": [-1, 0.5, "all"],
    "data.image_size": [0, 15, 4096, 64.5, "64px"],
    "data.border": ["foreground", True, None],
    "data.on_bad": ["ignore", True, None],
    "data.on_leak": ["skip", True, None],
    "train.epochs": [0, -3, 1.5, "many", 10**9],
    "train.batch_size": [0, 2.5, "x", 10**19],
    "train.sizes": [
        64,
        "64",
        ([8], "train.sizes.0 = 8"),
        ([64.5], "train.sizes.0 = 64.5"),
        ([4096], "train.sizes.0 = 4096"),
        None,
    ],
    "train.shuffle": [1, "yes", None],
    "train.input": ["RGB", "grey", 3],
    "train.loss": ["dise", 1, None],
    "train.dice_weight": [-0.1, 1.1, "half", True],
    "train.border_weight": [-1, 101, "x"],
    "train.deep_supervision": [-0.1, 1.1, "x"],
    "train.optimizer": ["adamW", "lion", 0],
    "train.lr": [0, -1, "fast", 11, float("nan"), float("inf"), True],
    "train.weight_decay": [-1, 11, "x"],
    "train.momentum": [1, -0.1, "x"],
    "train.schedule": ["cosin", 0, None],
    "train.warmup": [-1, "x", None],
    "train.lr_min": [-1, (5, "train.lr_min = 5.0"), "x"],
    "train.step_size": [0, 1.5, "x"],
    "train.gamma": [0, 1.1, "x"],
    "train.plateau_patience": [-1, 1.5],
    "train.clip": [-1, "x"],
    "train.ema": [1, -0.1, "x"],
    "train.patience": [-1, 0.5],
    "train.precision": ["fp8", 16],
    "train.channels_last": [1, "true"],
    "train.compile": [0, "no"],
    "train.deterministic": [2, "on"],
    "train.processes": [0, "all", 1.5, True],
    "train.augment.hflip": [-0.1, 1.1, "x"],
    "train.augment.vflip": [-0.1, 1.1],
    "train.augment.rotate": [-1, 181],
    "train.augment.scale": [-0.1, 5],
    "train.augment.translate": [-0.1, 1],
    "train.augment.crop": [-0.1, 1],
    "train.augment.elastic": [-0.1, 0.6],
    "train.augment.elastic_p": [-0.1, 1.1],
    "train.augment.brightness": [-0.1, 1],
    "train.augment.contrast": [-0.1, 1],
    "train.augment.saturation": [-0.1, 1],
    "train.augment.gray": [-0.1, 1.1],
    "train.augment.blur": [-0.1, 11],
    "train.augment.cutout": [-0.1, 1],
    "unet.width": [0, 1.5, "x", 2000],
    "unet.upsample": ["cubic", 2],
    "unet.padding": ["zero", 1],
    "unet.dropout": [1, -0.1],
    "unet.attention": [1, "no"],
    "unet.norm_affine": [0],
    "unet.train": [None, 3, []],
    "resnet34_unet.width": [0, "x"],
    "resnet34_unet.decoder": [[1, 2], ([1, 2, 3, 4, 0], "resnet34_unet.decoder.4 = 0"), "x", [1, 2, 3, 4, 5, 6]],
    "resnet34_unet.bridge": [-1, 1.5],
    "resnet34_unet.upsample": ["cubic"],
    "resnet34_unet.padding": ["zero"],
    "resnet34_unet.dropout": [1],
    "resnet34_unet.attention": ["no"],
    "resnet34_unet.norm_affine": ["no"],
    "resnet34_unet.train": [1],
    "evaluate.threshold": [0, 1, "best", True],
    "evaluate.tta": ["flips", True],
}


def test_the_table_of_bad_values_covers_every_parameter() -> None:
    assert set(BAD) == set(keys(VALUES))


@fault(
    "Input", "a parameter of a wrong type or out of its range", "one line with key, value and what is allowed, exit 2"
)
@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_bad_value(key: str, value: Any) -> None:
    value, said = value if isinstance(value, tuple) else (value, f"{key} = {value!r}")
    line = refusal(changed(key, value))
    assert line.startswith(f"params.yaml: {said}: ")
    assert "should" in line


@fault("Input", "a parameter that is missing", "one line names it, exit 2")
@pytest.mark.parametrize("key", keys(VALUES))
def test_missing_key(key: str) -> None:
    values = copy.deepcopy(VALUES)
    *sections, last = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    del place[last]
    assert f"{key}" in refusal(values)


@fault("Input", "a parameter that is misspelt", "one line with the nearest key, exit 2")
@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("sed", "did you mean seed?"),
        ("train.epoch", "did you mean epochs?"),
        ("train.augment.hflipp", "did you mean hflip?"),
        ("unet.widht", "did you mean width?"),
        ("resnet34_unet.decoders", "did you mean decoder?"),
        ("unet.decoder", "known here: width"),
        ("evaluate.zzz", "known here: threshold, tta"),
    ],
)
def test_unknown_key_suggests_the_nearest(key: str, hint: str) -> None:
    line = refusal(changed(key, 1))
    assert f"{key} = 1: unknown key" in line
    assert hint in line


def test_override_for_one_network() -> None:
    checked = whole.check(changed("unet.train", {"lr": "1e-4", "augment": {"vflip": 0.5}}), "params.yaml")
    unet = checked.networks["unet"].train
    assert unet.lr == 1e-4
    assert unet.augment.vflip == 0.5
    assert unet.augment.hflip == checked.train.augment.hflip
    assert checked.networks["resnet34_unet"].train == checked.train
    assert "unet.train.lr = -1" in refusal(changed("unet.train", {"lr": -1}))
    assert "did you mean lr?" in refusal(changed("unet.train", {"lrr": 1}))


@pytest.mark.parametrize("text", ["1e-3", "0.001", ".001", "1.0e-3"])
def test_one_number_however_it_is_written(text: str) -> None:
    values = changed("train.lr", yaml.safe_load(f"lr: {text}")["lr"])
    assert whole.check(values, "params.yaml").train.lr == 0.001


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-7", -7), ("+7", 7), ("10", 10), ("0.5", 0.5), ("-0.5", -0.5)])
def test_plain_numbers_are_read_as_they_stand(tmp_path: Path, text: str, value: float) -> None:
    (tmp_path / "p.yaml").write_text(f"a: {text}")
    assert params.read(tmp_path / "p.yaml") == {"a": value}


@pytest.mark.parametrize("text", ["010", "1:30", "0x10", "0b1", "1_000", "1:30.5", "1_0.5"])
def test_a_number_that_programs_read_differently_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(f"seed: {text}")
    with pytest.raises(Refusal, match=f"not valid YAML: .*{text!r} is not the same number for every program") as caught:
        params.read(tmp_path / "p.yaml")
    assert caught.value.code == 2


@pytest.mark.parametrize("text", ["yes", "no", "on", "Off"])
def test_a_word_that_is_a_flag_for_some_programs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(f"shuffle: {text}")
    with pytest.raises(Refusal, match=f"{text!r} is not the same flag for every program .* write it true or false"):
        params.read(tmp_path / "p.yaml")


NOT_YAML = fault(
    "Input", "params.yaml that is empty, a list, no YAML, not text, or says a key twice", "one line, exit 2"
)
TAGS = fault("Hostile", "params.yaml with a tag that makes a Python object", "one line, exit 2; nothing is executed")


@NOT_YAML
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "holds no parameters"),
        ("- 1", "holds no parameters"),
        ("a: [", "not valid YAML"),
        ("seed: 1\nseed: 2", "'seed' stands twice"),
        ("1: 2", "not text"),
        pytest.param("a: !!python/object:os.system x", "not valid YAML", marks=TAGS),
        ("a: &a [*a]", "not valid YAML"),
    ],
)
def test_bad_file(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(Refusal, match=expected) as caught:
        params.load(file)
    assert caught.value.code == 2


@NOT_YAML
def test_not_text(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match="not valid YAML"):
        params.load(file)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@fault("Input", "params.yaml with any values and keys", "read, or refused in one line; never another exception")
@settings(max_examples=150)
@given(key=st.sampled_from([*keys(VALUES), *VALUES, "train.augment"]), value=anything)
def test_any_value_is_taken_or_refused_in_one_line(key: str, value: Any) -> None:
    try:
        check(changed(key, value))
    except Refusal as refusal:
        assert "\n" not in str(refusal)
        assert refusal.code == 2


@fault("Input", "a bad parameter, in every script", "one line, exit 2; nothing is written")
@pytest.mark.parametrize(
    "command", ["download", "preprocess", "train --model unet", "evaluate", "plot", "recipe oxford"]
)
def test_every_stage_ends_in_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("image_size: 64", "image_size: -64")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "oxford.yaml").write_text("about: x\nparams: {seed: 1}\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = script(*command.split())
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "data.image_size = -64: should be greater than or equal to 16" in done.err
    assert done.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["data.breeds", "train.sizes", "resnet34_unet.decoder"])
def test_dvc_writes_a_list_into_the_file_and_back(name: str, tmp_path: Path) -> None:
    """Where a list has a comment behind it, DVC breaks the file when it empties the list again."""
    file, (section, key) = tmp_path / "params.yaml", name.split(".")
    file.write_bytes((ROOT / "params.yaml").read_bytes())
    before = params.read(file)
    for value in ([64, 96], before[section][key], [32], before[section][key]):
        with modify_yaml(str(file)) as document:
            document[section][key] = value
        assert params.read(file) == params.overlaid(before, {section: {key: value}})
