"""The pipeline under DVC itself: what reruns, what does not, and that two runs from nothing are equal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import params
import pets
import training

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = training.SMALL | {
    "data": {"source": "pets", "image_size": 32},
    "train": {"epochs": 1, "batch_size": 8},
}

TOLERANCE = 0.02  # of a test Dice between two machines; the README says so too

pytestmark = pytest.mark.pipeline


def shell(folder: Path, *words: str) -> str:
    """Run a program of this environment in a folder; its output, or a failed test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def clone(folder: Path, **changes: Any) -> Path:
    """What git tracks here, as a repository of its own, with small parameters over a few pretend pets."""
    tracked(folder)
    for name in ("metrics", "plots"):
        shutil.rmtree(folder / name)
    (folder / "dvc.lock").unlink()
    values = params.overlaid(params.overlaid(params.read(ROOT / "params.yaml"), SMALL), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    pets.make_dataset(folder / "pets", trainval=20, test=4)
    (folder / ".git/info/exclude").write_text("pets/\n")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "x", "--allow-empty")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = clone(tmp_path_factory.mktemp("project") / "a folder")
    assert len(ran(shell(folder, "dvc", "repro"))) == 6
    commit(folder)
    return folder


@pytest.fixture
def edit(project: Path) -> Iterator[Callable[[str, Callable[[str], str]], None]]:
    """Change a file of the project; everything is as it was afterwards."""
    before: dict[Path, str] = {}

    def change(name: str, how: Callable[[str], str]) -> None:
        file = project / name
        before.setdefault(file, file.read_text(encoding="utf-8"))
        text = how(file.read_text(encoding="utf-8"))
        assert text != file.read_text(encoding="utf-8")
        file.write_text(text, encoding="utf-8")

    yield change
    for file, text in before.items():
        file.write_text(text, encoding="utf-8")
    shell(project, "git", "checkout", "-q", ".")
    shell(project, "dvc", "checkout", "-q")


def parameter(key: str, value: Any) -> Callable[[str], str]:
    def how(text: str) -> str:
        values = yaml.safe_load(text)
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
        return yaml.safe_dump(values)

    return how


def test_nothing_runs_twice_and_nothing_is_left_behind(project: Path) -> None:
    assert ran(shell(project, "dvc", "repro")) == []
    assert shell(project, "git", "status", "--porcelain") == ""
    assert "up to date" in shell(project, "dvc", "status")


def test_a_comment_in_the_picture_code_runs_only_plot(project: Path, edit: Any) -> None:
    edit("src/pictures.py", lambda text: text + "# a comment\n")
    assert ran(shell(project, "dvc", "repro")) == ["plot"]


def test_a_parameter_of_one_network_leaves_the_other_alone(project: Path, edit: Any) -> None:
    edit("params.yaml", parameter("unet.width", 5))
    assert ran(shell(project, "dvc", "repro")) == ["train_unet", "evaluate", "plot"]


def test_the_seed_trains_both_and_going_back_trains_nothing(project: Path, edit: Any) -> None:
    edit("params.yaml", parameter("seed", 43))
    assert ran(shell(project, "dvc", "repro")) == ["train_unet", "train_res34", "evaluate", "plot"]
    edit("params.yaml", parameter("seed", 42))
    output = shell(project, "dvc", "repro")
    assert ran(output) == []
    assert "is cached - skipping run" in output


def test_evaluation_choices_do_not_train(project: Path, edit: Any) -> None:
    edit("params.yaml", parameter("evaluate.threshold", 0.4))
    assert ran(shell(project, "dvc", "repro")) == ["evaluate", "plot"]
    assert json.loads((project / "metrics/test.json").read_text())["unet"]["threshold"] == 0.4


def test_metrics_diff_tells_what_changed(project: Path, edit: Any) -> None:
    edit("params.yaml", parameter("seed", 44))
    shell(project, "dvc", "repro")
    changes = json.loads(shell(project, "dvc", "metrics", "diff", "--json"))
    assert "unet.dice" in str(changes) or "dice" in changes["metrics/test.json"]["unet"]["dice"]


def test_plots_show_compares_the_networks(project: Path) -> None:
    shell(project, "dvc", "plots", "show", "--out", "shown")
    page = (project / "shown/index.html").read_text(encoding="utf-8")
    shutil.rmtree(project / "shown")
    assert "valid_dice" in page
    assert "history_resnet34_unet.csv" in page


def test_twice_from_nothing_gives_the_same_lock(project: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "elsewhere")
    shell(other, "dvc", "repro")
    assert (other / "dvc.lock").read_text() == (project / "dvc.lock").read_text()


def test_an_experiment_by_recipe(project: Path, edit: Any) -> None:
    edit(
        "recipes/oxford.yaml",
        lambda _: (
            "about: a test\nparams:\n  seed: 5\n  unet:\n    width: 3\n    train: {lr: 0.01, augment: {vflip: 0.5}}\n"
        ),
    )
    output = shell(project, "python", "src/recipe.py", "oxford", "-S", "train.batch_size=4")
    assert ran(output) == ["train_unet", "train_res34", "evaluate", "plot"]
    values = yaml.safe_load((project / "params.yaml").read_text())
    assert (values["seed"], values["unet"]["width"], values["unet"]["train"]) == (
        5,
        3,
        {"lr": 0.01, "augment": {"vflip": 0.5}},
    )
    assert values["train"]["batch_size"] == 4
    assert shell(project, "dvc", "exp", "list", "--name-only").split() == ["oxford"]


def tracked(folder: Path) -> Path:
    """What git tracks here, as a new clone has it."""
    folder.mkdir(parents=True)
    for name in shell(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    shell(folder, "git", "init", "-q")
    commit(folder)
    return folder


def test_a_new_clone_has_nothing_to_do_and_shows_its_scores(tmp_path: Path) -> None:
    folder = tracked(tmp_path / "clone")
    assert ran(shell(folder, "dvc", "repro", "--allow-missing", "--dry")) == []
    shown = json.loads(shell(folder, "dvc", "metrics", "show", "--json"))
    assert shown[""]["data"]["metrics/test.json"]["data"]["unet"]["dice"] > 0.9


def test_the_committed_results_are_what_a_run_from_nothing_gives(tmp_path: Path) -> None:
    """Another machine may differ in the last bits, and training makes more of that: hence a tolerance for the Dice."""
    folder = tracked(tmp_path / "clone")
    committed = scores(folder)
    assert len(ran(shell(folder, "dvc", "repro"))) == 6
    fresh = scores(folder)
    assert fresh.keys() == committed.keys()
    for name, dice in committed.items():
        assert fresh[name] == pytest.approx(dice, abs=TOLERANCE), name
    assert min(fresh["unet"], fresh["resnet34_unet"]) >= 0.9
    assert max(fresh["all_foreground"], fresh["mean_mask"]) < 0.65
    assert ran(shell(folder, "dvc", "repro")) == []


def scores(folder: Path) -> dict[str, float]:
    values = json.loads((folder / "metrics/test.json").read_text(encoding="utf-8"))
    return {name: value["dice"] for name, value in values.items()}
