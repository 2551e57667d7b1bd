"""Recipes are laid over params.yaml whole and right, or refused in one line."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import fake_tools
import params
import project
import recipe
import training
from learning.engine import Trainer
from models import build
from params import whole
from reliability import fault
from scripts import script
from shared.inputs import CHANNELS, statistics
from utils import Refusal

ROOT = Path(__file__).parents[1]
NAMES = sorted(file.stem for file in (ROOT / "recipes").glob("*.yaml"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(place: Path, name: str, content: str) -> None:
    (place / "recipes" / f"{name}.yaml").write_text(content, encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_of_the_repository_gives_valid_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overlay = recipe.read(name)["params"]
    whole.check(params.overlaid(params.read(ROOT / "params.yaml"), overlay), name)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["unet", "resnet34_unet"])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains(name: Any, network: Any, place: Path) -> None:
    """An epoch of tiny pictures and a narrow network, but every choice of the recipe."""
    narrow = {"train": {"batch_size": 4, "epochs": 4}, network: {"width": 8}}
    overlay = params.overlaid(params.read(ROOT / "recipes" / f"{name}.yaml")["params"], narrow)
    chosen = whole.check(params.overlaid(params.read(place / "params.yaml"), overlay), name).networks[network]
    settings, config = chosen.train, chosen.config
    pixels = torch.from_numpy(training.pixels(8))
    built = build(network, CHANNELS[settings.input], 2 if settings.loss == "ce" else 1, config)
    trainer = Trainer(built, settings, 1, torch.device("cpu"), *statistics(pixels, settings.input))
    row = trainer.epoch(pixels, pixels, lambda *_: None)
    assert all(math.isfinite(value) for value in row.values())


def test_apply_keeps_the_comments_and_changes_only_what_it_says(place: Path) -> None:
    before = (place / "params.yaml").read_text(encoding="utf-8")
    overlay = {
        "seed": 7,
        "train": {"augment": {"blur": 1.5}},
        "unet": {"train": {"lr": 0.1, "augment": {"vflip": 0.5}}},
        "data": {"breeds": ["pug"]},
    }
    recipe.apply(overlay)
    after = (place / "params.yaml").read_text(encoding="utf-8")
    assert params.read(place / "params.yaml") == params.overlaid(yaml.safe_load(before), overlay)
    assert after.count("#") == before.count("#")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) <= 8, changed


@pytest.fixture
def committed(place: Path) -> Path:
    """A repository with every recipe, all committed."""
    for name in NAMES:
        add(place, name, (ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8"))
    project.shell(place, "git", "init", "-q")
    project.commit(place)
    return place


@pytest.mark.parametrize("earlier", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_an_earlier_recipe_leaves_nothing_behind(
    name: str, earlier: str, committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside it, what the user has edited stays."""
    mine = {"seed": 7, "data": {"limit": 5}, "train": {"patience": 3}}
    before, own, theirs = (
        params.read(committed / "params.yaml"),
        *(recipe.read(which)["params"] for which in (name, earlier)),
    )
    recipe.apply(params.overlaid(theirs, mine))
    monkeypatch.setattr(sys, "argv", ["recipe.py", name, "--apply"])
    recipe.main(*recipe.arguments())
    found, expected = params.read(committed / "params.yaml"), params.overlaid(params.overlaid(before, own), mine)
    assert whole.check(found, "found") == whole.check(expected, "expected")
    at_first, chosen = dict(params.flat(before)), dict(params.flat(own))
    left = [key for key, value in params.flat(theirs) if key not in chosen and value != at_first.get(key)]
    said = capsys.readouterr().out
    assert ("set back to the last commit" in said) == bool(left)
    assert all(f"{key}=" in said or f"no {key}" in said for key in left)


def test_what_only_an_earlier_recipe_has_goes_before_an_experiment_too(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it was all that a section held, the file is again the one of the last commit."""
    before = (committed / "params.yaml").read_text(encoding="utf-8")
    add(committed, "own", "about: x\nparams: {unet: {train: {lr: 0.25, loss: ce}}}")
    add(committed, "mine", "about: x\nparams: {seed: 3}")
    pretending(committed, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["recipe.py", "mine"])
    for mine, left in (({}, {}), ({"clip": 3}, {"clip": 3})):
        (committed / "params.yaml").write_text(before, encoding="utf-8")
        recipe.apply(params.overlaid(recipe.read("own")["params"], {"unet": {"train": mine}}))
        with pytest.raises(SystemExit):
            recipe.main(*recipe.arguments())
        assert params.read(committed / "params.yaml") == params.overlaid(
            yaml.safe_load(before), {"unet": {"train": left}}
        )
        assert (committed / "params.yaml").read_text(encoding="utf-8").count("#") == before.count("#")


@fault("Input", "a recipe that is wrong", "one line names it, exit 2; params.yaml stays")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("about: x\nparams: {train: {lrr: 1}}", "did you mean lr?"),
        ("about: x\nparams: {train: {lr: -1}}", "train.lr = -1: should be greater than 0"),
        ("about: x", "has the keys about and params"),
        ("params: {seed: 1}", "has the keys about and params"),
        ("about: x\nparams: {seed: 1}\nreport: 3", "has the keys about and params"),
        ("about: [", "not valid YAML"),
        ("", "holds no parameters"),
    ],
)
def test_a_bad_recipe_is_refused_and_nothing_is_written(place: Path, content: str, reason: str) -> None:
    add(place, "mine", content)
    before = (place / "params.yaml").read_bytes()
    done = script("recipe", "mine", "--apply")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert reason in done.err
    assert (place / "params.yaml").read_bytes() == before


@fault("Input", "a recipe that is misspelt", "one line with the nearest name, exit 2")
def test_an_unknown_name_suggests_the_nearest(place: Path) -> None:
    add(place, "oxford", "about: x\nparams: {seed: 1}")
    with pytest.raises(Refusal, match="did you mean oxford"):
        recipe.read("oxfrod")
    with pytest.raises(Refusal, match="there are oxford"):
        recipe.read("../../etc/passwd")


@fault("Input", "a training as long as a GPU's asked of a CPU", "one line at once says how to choose a length")
def test_without_a_gpu_a_long_recipe_is_refused_unless_its_length_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    long = {"needs_gpu": True, "params": {"train": {"epochs": 300}}}
    with pytest.raises(Refusal, match=r"no GPU here, .* has 300.*-S train\.epochs=3"):
        recipe.refuse_hopeless(long, ["-S", "data.source=x"])
    recipe.refuse_hopeless(long, ["-S", "data.source=x", "-S", "train.epochs=1"])
    recipe.refuse_hopeless({"params": {}}, [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    recipe.refuse_hopeless(long, ["-S", "data.source=x"])


@fault("Machine", "a recipe for a GPU whose driver is too old for torch", "one line with the driver and what to do")
def test_a_recipe_for_a_gpu_says_that_the_driver_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools.nvidia_smi(tmp_path, "550.163.01", monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    long = {"needs_gpu": True, "params": {"train": {"epochs": 300}}}
    with pytest.raises(Refusal, match=r"^NVIDIA driver 550\.163\.01 is too old .*`make TORCH=cu126`\), and an epoch"):
        recipe.refuse_hopeless(long, ["-S", "data.source=x"])


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The only mirror is a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(recipe, "MIRRORS", (f"http://127.0.0.1:{server.getsockname()[1]}/pets",))
        yield server


def test_behind_a_proxy_the_proxy_is_asked(mirror: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{mirror.getsockname()[1]}")
    address = "https://127.0.0.1:1/pets"  # where nobody listens
    assert recipe.reachable(address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert not recipe.reachable(address)


@pytest.mark.parametrize(("proxy", "port"), [("http://127.0.0.1", 80), ("https://127.0.0.1", 443)])
def test_a_proxy_without_a_port_has_that_of_its_protocol(
    proxy: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def refused(address: tuple[str, int], **_: float) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setattr(socket, "create_connection", refused)
    assert not recipe.reachable("https://example.org/pets")
    assert asked == [("127.0.0.1", port)]


@pytest.mark.parametrize(
    ("done", "queued", "free"),
    [
        ("", "No experiment tasks in the queue.", "oxford"),
        ("oxford-wide", "", "oxford"),
        ("oxford", "", "oxford-2"),
        ("", "f87c32d  oxford  03:09 AM   Queued", "oxford-2"),
        ("oxford-2", "f87c32d  oxford  03:09 AM   Running", "oxford-3"),
        ("", "f87c32d  oxford-1  03:09 AM   Queued\nba92052  oxford-2  03:09 AM   Queued", "oxford-3"),
    ],
)
def test_no_experiment_takes_the_name_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: str, queued: str, free: str
) -> None:
    pretended = tmp_path / "dvc"
    pretended.write_text(f"#!/bin/sh\ncase $1 in exp) echo '{done}';; queue) echo '{queued}';; esac\n")
    pretended.chmod(0o755)
    monkeypatch.setattr(recipe, "dvc", lambda: str(pretended))
    assert recipe.free_name("oxford") == free


def pretending(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVC that only writes down what it was asked to run."""
    pretended = place / "dvc"
    pretended.write_text('#!/bin/sh\ncase "$1 $2" in "exp run") echo "$*" > asked;; esac\n')
    pretended.chmod(0o755)
    monkeypatch.setattr(recipe, "dvc", lambda: str(pretended))


def test_what_the_user_adds_wins_over_the_recipe(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(place, "mine", "about: x\nparams: {train: {lr: 0.1}}")
    pretending(place, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["recipe.py", "mine", "-S", "train.lr=0.2"])
    with pytest.raises(SystemExit) as end:
        recipe.main(*recipe.arguments())
    assert end.value.code == 0
    assert (place / "asked").read_text() == "exp run --name mine -S train.lr=0.1 -S train.lr=0.2\n"


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("data.source=~/下載/pets", "data.source='~/下載/pets'"),
        ("data.source=~/pets", "data.source='~/pets'"),
        ("data.source=/data/My Pets", "data.source=/data/My Pets"),
        ("data.source='~/下載'", "data.source='~/下載'"),
        ("data.source=~/甲,~/乙", "data.source=~/甲,~/乙"),  # a sweep, whose values the user must quote
        ("~unet.train", "~unet.train"),
    ],
)
def test_a_folder_with_any_letters_reaches_dvc(given: str, passed: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert recipe.quoted(given) == passed
    if "=" in passed and "," not in passed:
        (overlay,) = OverridesParser.create().parse_overrides([passed])
        assert overlay.value() == given.partition("=")[2].strip("'")


def test_without_a_name_for_git_it_says_how_to_give_one(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretending(place, monkeypatch)
    add(place, "mine", "about: x\nparams: {seed: 3}")
    monkeypatch.setattr(sys, "argv", ["recipe.py", "mine"])
    for name in project.AUTHOR:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for told in ("name", "email"):
        with pytest.raises(Refusal, match=r"git config --global user\.name NAME"):
            recipe.main(*recipe.arguments())
        project.shell(place, "git", "config", "--global", f"user.{told}", "T")
    with pytest.raises(SystemExit) as end:
        recipe.main(*recipe.arguments())
    assert end.value.code == 0
    assert (place / "asked").read_text() == "exp run --name mine -S seed=3\n"


OXFORD: dict[str, Any] = {"params": {"data": {"source": "oxford"}}}


@fault("Input", "the official dataset without a network", "one line at once says what else to do")
def test_without_a_network_the_download_is_refused_at_once(place: Path, mirror: socket.socket) -> None:
    recipe.refuse_hopeless(OXFORD, [])
    mirror.close()
    with pytest.raises(Refusal, match=r"no network: .*-S data\.source=FOLDER"):
        recipe.refuse_hopeless(OXFORD, [])
    recipe.refuse_hopeless(OXFORD, ["-S", "data.source=../elsewhere"])
    (place / ".downloads/oxford").mkdir(parents=True)
    for name in ("images.tar.gz", "annotations.tar.gz"):
        (place / ".downloads/oxford" / name).touch()
    recipe.refuse_hopeless(OXFORD, [])


def test_a_dataset_that_dvc_has_needs_no_network(place: Path, mirror: socket.socket) -> None:
    mirror.close()
    lock = {"stages": {"download": {"params": {"params.yaml": {"data.source": "oxford"}}}}}
    (place / "dvc.lock").write_text(yaml.safe_dump(lock))
    recipe.refuse_hopeless(OXFORD, [])


values = st.recursive(
    st.booleans()
    | st.integers(-1000, 1000)
    | st.floats(-1e6, 1e6, allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@fault("Input", "a recipe with any text in its values", "DVC reads the same text")
@given(value=values)
def test_dvc_reads_the_values_that_were_meant(value: Any) -> None:
    from dvc.utils.hydra import to_hydra_overrides
    from hydra.core.override_parser.overrides_parser import OverridesParser

    written = f"a={recipe.text(value)}"
    assert OverridesParser.create().parse_override(written).value() == value
    assert to_hydra_overrides([written])


def test_list_shows_every_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = script("recipe", "--list")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines() if line[0] != " "] == NAMES
    assert done.out.count("reported: ") == 4


def test_values_that_go_together_are_checked_together(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller size alone contradicts a recipe whose squares grow; without the growth it does not."""
    add(place, "mine", "about: x\nparams: {data: {image_size: 64}, train: {sizes: [32, 64], epochs: 9}}\n")
    monkeypatch.setattr(subprocess, "run", nothing_runs)
    alone, growth = ["-S", "data.image_size=32"], ["-S", "train.sizes=[]"]
    with pytest.raises(Refusal, match=r"-S data\.image_size=32: train\.sizes = .* must grow to data\.image_size"):
        recipe.main(*recipe.arguments(["mine", *alone]))
    for words in ([*alone, *growth], [*growth, *alone]):
        with pytest.raises(Started):
            recipe.main(*recipe.arguments(["mine", *words]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.epochs=many", "-S train.epochs=many: train.epochs = 'many': should be a valid integer"),
        ("+train.lr=-1", "-S +train.lr=-1: train.lr = -1: should be greater than 0"),
        ("train.lr=0.1,-1", "-S train.lr=0.1,-1: train.lr = -1: should be greater than 0"),
        ("unet.width=0", "-S unet.width=0: unet.width = 0: should be greater than or equal to 1"),
        ("resnet34_unet.decoder=[1,2]", "resnet34_unet.decoder = [1, 2]: "),
        ("train.epoch=3", "train.epoch = 3: unknown key; did you mean epochs?"),
    ],
)
@pytest.mark.parametrize("words", [[], ["--queue"]])
def test_a_change_that_would_be_refused_later_is_refused_at_once(
    place: Path, change: str, says: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(place, "mine", "about: x\nparams: {seed: 1}\n")
    monkeypatch.setattr(subprocess, "run", nothing_runs)
    for option in (["-S", change], [f"-S{change}"], [f"--set-param={change}"]):
        with pytest.raises(Refusal) as caught:
            recipe.main(*recipe.arguments(["mine", *option, *words]))
        assert says in str(caught.value)


class Started(Exception):
    """All is well, and `dvc exp run` would begin."""


def nothing_runs(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
    if command[0] != "git":
        raise Started(command)
    return subprocess.CompletedProcess(command, 0, "", "")


@pytest.mark.parametrize("content", ["seed: 1\nseed: 2", "a: [", "[1]"])
def test_a_broken_file_of_parameters_is_named(content: str, place: Path) -> None:
    add(place, "mine", "about: x\nparams: {seed: 1}")
    (place / "params.yaml").write_text(content)
    with pytest.raises(Refusal, match=r"^params\.yaml: (not valid YAML|holds no parameters)"):
        recipe.main(*recipe.arguments(["mine"]))


@pytest.mark.parametrize("content", ["seed: 1\nseed: 2", "a: [", "[1]"])
def test_over_a_broken_commit_a_recipe_is_laid_all_the_same(content: str, committed: Path) -> None:
    whole_again = (committed / "params.yaml").read_text(encoding="utf-8")
    (committed / "params.yaml").write_text(content)
    project.commit(committed)
    (committed / "params.yaml").write_text(whole_again, encoding="utf-8")
    recipe.main(*recipe.arguments(["laptop", "--apply"]))
    assert params.read(committed / "params.yaml") == params.overlaid(
        yaml.safe_load(whole_again), recipe.read("laptop")["params"]
    )


@pytest.mark.parametrize(
    ("change", "overlays"),
    [
        ("data.source=2024-01-15", [{"data": {"source": "2024-01-15"}}]),
        ("data.source=2024-99-99", [{"data": {"source": "2024-99-99"}}]),
        ("seed=1,2,3", [{"seed": 1}, {"seed": 2}, {"seed": 3}]),
        ("data.source='a,b'", [{"data": {"source": "a,b"}}]),
        ("train.lr=range(1)", []),
        ("~unet.train", []),
        ("seed", []),
        ("a={", []),
    ],
)
def test_each_value_of_a_sweep_is_checked_and_what_only_dvc_understands_is_left_to_it(
    change: str, overlays: list[dict[str, Any]]
) -> None:
    values = params.read(ROOT / "params.yaml")
    found = list(recipe.varied(values, change))
    assert found == [params.overlaid(values, overlay) for overlay in overlays]
    for changed in found:
        whole.check(changed, "test")
