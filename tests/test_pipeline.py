"""The pipeline under DVC itself: what reruns, and what does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from project import ran, scores, shell
from reliability import fault

NETWORKS = ("unet", "resnet34_unet")

pytestmark = pytest.mark.pipeline


@pytest.fixture
def edit(pipeline: Path) -> Iterator[Callable[[str, Callable[[str], str]], None]]:
    """Change a file of the project; everything is as it was afterwards."""
    before: dict[Path, str] = {}

    def change(name: str, how: Callable[[str], str]) -> None:
        file = pipeline / name
        before.setdefault(file, file.read_text(encoding="utf-8"))
        text = how(file.read_text(encoding="utf-8"))
        assert text != file.read_text(encoding="utf-8")
        file.write_text(text, encoding="utf-8")

    yield change
    for file, text in before.items():
        file.write_text(text, encoding="utf-8")
    shell(pipeline, "git", "checkout", "-q", ".")
    shell(pipeline, "dvc", "checkout", "-q")


def comment(text: str) -> str:
    return text + "# a comment\n"


def parameter(key: str, value: Any) -> Callable[[str], str]:
    def how(text: str) -> str:
        values = yaml.safe_load(text)
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
        return yaml.safe_dump(values, sort_keys=False)

    return how


@fault(
    "Disk",
    "a path of about 200 characters, with spaces, letters beyond ASCII and an emoji",
    "the pipeline runs, and then has nothing to do",
)
def test_nothing_runs_twice_and_nothing_is_left_behind(pipeline: Path) -> None:
    assert ran(shell(pipeline, "dvc", "repro")) == []
    assert shell(pipeline, "git", "status", "--porcelain") == ""
    assert "up to date" in shell(pipeline, "dvc", "status")


def test_a_comment_in_the_picture_code_runs_only_plot(pipeline: Path, edit: Any) -> None:
    edit("src/report/pictures.py", comment)
    assert ran(shell(pipeline, "dvc", "repro")) == ["plot"]


def test_the_code_of_one_network_leaves_the_other_alone(pipeline: Path, edit: Any) -> None:
    edit("src/models/unet.py", comment)
    assert ran(shell(pipeline, "dvc", "repro", "--dry")) == ["train_unet", "evaluate"]
    edit("src/models/unet.py", lambda text: text.removesuffix(comment("")))
    edit("src/models/resnet34_unet.py", comment)
    assert ran(shell(pipeline, "dvc", "repro")) == ["train_res34", "evaluate"]  # with the same outputs: nothing to plot
    edit("src/models/resnet34_unet.py", lambda text: text.replace("initialise(self)", "initialise(self.head)"))
    assert ran(shell(pipeline, "dvc", "repro")) == ["train_res34", "evaluate", "plot"]


def test_a_new_loss_trains_but_neither_downloads_nor_preprocesses(pipeline: Path, edit: Any) -> None:
    edit("src/learning/losses.py", lambda text: text.replace('"dice": 1.0,', '"dice": 1.0, "mine": 0.25,'))
    edit("src/params/training.py", lambda text: text.replace('"dice", "bce_dice"]', '"dice", "bce_dice", "mine"]'))
    edit("params.yaml", parameter("train.loss", "mine"))
    changed = ran(shell(pipeline, "dvc", "repro", "--dry"))  # evaluate follows when there are other weights
    assert changed == ["train_unet", "train_res34", "plot"]


def test_a_parameter_of_one_network_leaves_the_other_alone(pipeline: Path, edit: Any) -> None:
    edit("params.yaml", parameter("unet.width", 5))
    assert ran(shell(pipeline, "dvc", "repro")) == ["train_unet", "evaluate", "plot"]


def test_the_seed_trains_both_and_going_back_trains_nothing(pipeline: Path, edit: Any) -> None:
    edit("params.yaml", parameter("seed", 43))
    assert ran(shell(pipeline, "dvc", "repro")) == ["train_unet", "train_res34", "evaluate", "plot"]
    edit("params.yaml", parameter("seed", 42))
    output = shell(pipeline, "dvc", "repro")
    assert ran(output) == []
    assert "is cached - skipping run" in output


def test_evaluation_choices_do_not_train(pipeline: Path, edit: Any) -> None:
    edit("params.yaml", parameter("evaluate.threshold", 0.4))
    assert ran(shell(pipeline, "dvc", "repro")) == ["evaluate", "plot"]
    assert scores(pipeline)["unet"]["threshold"] == 0.4


def test_metrics_diff_tells_what_changed(pipeline: Path, edit: Any) -> None:
    edit("params.yaml", parameter("seed", 44))
    shell(pipeline, "dvc", "repro")
    changes = json.loads(shell(pipeline, "dvc", "metrics", "diff", "--json"))
    moved = changes["metrics/test.json"]
    assert set(moved) == {f"{name}.dice" for name in (*NETWORKS, "ensemble")}
    for name in NETWORKS:
        assert moved[f"{name}.dice"]["new"] == scores(pipeline)[name]["dice"] != moved[f"{name}.dice"]["old"]


def test_plots_show_compares_the_networks(pipeline: Path) -> None:
    shell(pipeline, "dvc", "plots", "show", "--out", "shown")
    page = (pipeline / "shown/index.html").read_text(encoding="utf-8")
    pictures = sorted(file.name.partition("_images_")[2] for file in (pipeline / "shown/static").iterdir())
    shutil.rmtree(pipeline / "shown")
    assert "valid_dice" in page
    assert "history_resnet34_unet.csv" in page
    assert pictures == sorted(file.name for file in (pipeline / "plots/images").iterdir())
    for name in pictures:
        assert page.count(f"<p>plots/images/{name}</p>") == 1


def test_the_metrics_fit_a_screen(pipeline: Path) -> None:
    lines = shell(pipeline, "dvc", "metrics", "show").splitlines()
    assert lines[0].split() == ["Path", "bad", "ensemble.dice", "resnet34_unet.dice", "unet.dice", "valid_dice"]
    assert len(lines) == 5 and max(map(len, lines)) <= 100


def test_an_experiment_by_recipe(pipeline: Path, edit: Any) -> None:
    edit(
        "recipes/oxford.yaml",
        lambda _: (
            "about: a test\nparams:\n  seed: 5\n  unet:\n    width: 3\n    train: {lr: 0.01, augment: {vflip: 0.5}}\n"
        ),
    )
    output = shell(pipeline, "python", "src/recipe.py", "oxford", "-S", "train.batch_size=4")
    assert ran(output) == ["train_unet", "train_res34", "evaluate", "plot"]
    values = yaml.safe_load((pipeline / "params.yaml").read_text())
    assert (values["seed"], values["unet"]["width"], values["unet"]["train"]) == (
        5,
        3,
        {"lr": 0.01, "augment": {"vflip": 0.5}},
    )
    assert values["train"]["batch_size"] == 4
    assert shell(pipeline, "dvc", "exp", "list", "--name-only").split() == ["oxford"]
