"""notebooks/lab.ipynb: committed without results, and run as on Colab, on a few pictures of the sample.

The environment is not installed here: a `make` of the test lends the one that runs the tests.
"""

from __future__ import annotations

import base64
import csv
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

import fake_tools
from project import AUTHOR, ROOT, STAGES, outputs, shell, tracked
from reliability import fault

FILE = ROOT / "notebooks/lab.ipynb"
CELLS = {cell["id"]: cell for cell in nbformat.read(FILE, as_version=4).cells}
OF_COLAB = {"UV_CONSTRAINT": "/nowhere/constraints", "PYTHONPATH": "/nowhere"}
SMALL = [
    "threads=1",
    "data.image_size=32",
    "data.limit=16",
    "train.epochs=1",
    "train.batch_size=8",
    "train.sizes=[]",
    "unet.width=4",
    "resnet34_unet.width=4",
    "resnet34_unet.decoder=[16,8,4,4,4]",
    "resnet34_unet.train.sizes=[]",
]


def code() -> str:
    return "\n".join(cell.source for cell in CELLS.values() if cell.cell_type == "code")


# The committed file


def test_it_is_written_as_jupyter_writes_it_and_holds_no_results() -> None:
    text = FILE.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert nbformat.writes(notebook) + "\n" == text
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for name, cell in CELLS.items():
        assert cell.metadata == ({"tags": ["parameters"]} if name == "parameters" else {})
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_a_short_text_stands_before_each_step() -> None:
    kinds = [cell.cell_type for cell in CELLS.values()]
    assert kinds == ["markdown", "code"] * (len(kinds) // 2)
    titles = [cell.source.splitlines()[0] for cell in CELLS.values() if cell.cell_type == "markdown"]
    assert [title.split(".")[0] for title in titles[1:]] == [f"## {number}" for number in range(1, len(titles))]


def test_what_it_names_exists() -> None:
    words = "\n".join(cell.source for cell in CELLS.values())
    scripts = set(re.findall(r"src/[\w/]+\.py", words))
    assert len(scripts) >= 4
    assert [name for name in sorted(scripts) if not (ROOT / name).is_file()] == []
    made = {path.as_posix() for stage in STAGES for path in outputs(stage)}
    named = set(re.findall(r"(?:plots|saved_models|metrics)/[\w/]+\.\w+", words))
    assert len(named) >= 4
    assert named - made == set()
    assert {f"plots/images/{name}.png" for name in ("curves_dice", "curves_loss", "worst")} <= made
    for name in ("laptop", "oxford"):
        assert f"`{name}`" in words
        assert (ROOT / f"recipes/{name}.yaml").is_file()
    assert re.search(r"^\.venv/ready:", (ROOT / "Makefile").read_text("utf-8"), re.M)


def test_git_ignores_what_it_leaves_in_a_checkout() -> None:
    left = ["notebooks/lab_results/cat_mask.png", "notebooks/lab_results.zip", "lab_results/report.html"]
    assert shell(ROOT, "git", "check-ignore", *left).splitlines() == left


# Single cells, in this process


def run_cell(name: str, **known: Any) -> dict[str, Any]:
    """The names that it leaves; `known` are those that it finds."""
    exec(compile(CELLS[name].source, name, "exec"), known)
    return known


def git_repository(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src/recipe.py").touch()
    shell(folder, "git", "init", "-q")
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "x")
    return folder


def test_it_clones_once_and_in_a_checkout_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(git_repository(tmp_path / "origin"))
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    project = run_cell("clone", REPOSITORY=address)["PROJECT"]
    assert project.parent == tmp_path / "start"
    (project / "src/own.py").touch()
    assert run_cell("clone", REPOSITORY="")["PROJECT"] == project
    assert (project / "src/own.py").exists()
    monkeypatch.chdir(project / "src")
    assert run_cell("clone", REPOSITORY="")["PROJECT"] == project


def test_without_an_address_it_says_where_to_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="write the address of the project into the first cell"):
        run_cell("clone", REPOSITORY="")
    assert list(tmp_path.iterdir()) == []


def test_a_clone_that_failed_is_made_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    address = str(git_repository(tmp_path / "origin"))
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    with pytest.raises(RuntimeError, match="exit code 128; the reason stands above"):
        run_cell("clone", REPOSITORY=str(tmp_path / "nothing"))
    assert "does not exist" in capfd.readouterr().out
    assert (run_cell("clone", REPOSITORY=address)["PROJECT"] / "src/recipe.py").exists()


def test_a_command_that_is_stopped_says_its_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def stopped_at_once(word: object, *_: object, **__: object) -> None:
        said.append(str(word))
        if word == "first\n":
            raise KeyboardInterrupt

    monkeypatch.chdir(git_repository(tmp_path / "project"))
    run = run_cell("clone", REPOSITORY="", print=stopped_at_once)["run"]
    with pytest.raises(KeyboardInterrupt):
        run("sh", "-c", "echo first; sleep 0.1; echo last")
    assert said[-2:] == ["first\n", "last\n"]


@pytest.mark.parametrize(
    ("driver", "build"), [("", "cpu"), ("550.54.15", "cu126"), ("580.65.06", "cu130"), ("470.1", "cu130")]
)
@pytest.mark.parametrize("uv", [True, False])
def test_the_environment_has_the_torch_that_the_driver_takes(
    driver: str, build: str, uv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    fake_tools.nvidia_smi(tools, driver, monkeypatch, code=0 if driver else 9)
    fake_tools.program(tools, "python", "exit 1", monkeypatch)
    if uv:
        fake_tools.program(tools, "uv", "exit 1", monkeypatch)
    (tmp_path / "src").symlink_to(ROOT / "src")
    asked: list[tuple[str, ...]] = []
    monkeypatch.setenv("PATH", str(tools))
    run_cell(
        "environment",
        PROJECT=tmp_path,
        VARIABLES=dict(os.environ),
        subprocess=subprocess,
        run=lambda *words: asked.append(words),
    )
    *before, (make, target, torch, python) = asked
    assert before == ([] if uv else [(sys.executable, "-m", "pip", "install", "--quiet", "uv")])
    assert (make, target, torch, python) == ("make", ".venv/ready", f"TORCH={build}", f"PYTHON={sys.executable}")


@pytest.mark.parametrize(("answer", "gpu"), [("echo 7", 7), ("echo 10", 10), ("echo no kernel >&2; exit 1", 0)])
def test_a_gpu_counts_when_torch_can_compute_on_it(
    answer: str, gpu: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the commands do not see it."""
    (tmp_path / ".venv").mkdir()
    fake_tools.program(tmp_path / ".venv/bin", "dvc", "exit 1", monkeypatch)
    fake_tools.program(tmp_path / "tools", "python", answer, monkeypatch)
    variables = dict(os.environ) | {"CUDA_VISIBLE_DEVICES": "0"}
    assert run_cell("environment", PROJECT=tmp_path, VARIABLES=variables, subprocess=subprocess)["GPU"] == gpu
    assert variables["CUDA_VISIBLE_DEVICES"] == ("0" if gpu else "")


@pytest.mark.parametrize(
    ("recipe", "gpu", "expected"),
    [
        ("", 0, ["laptop", "-S", "data.source=pets"]),
        ("", 7, ["oxford", "-S", "data.source=pets", "-S", "train.precision=fp16"]),
        ("", 8, ["oxford", "-S", "data.source=pets"]),
        ("laptop", 7, ["laptop", "-S", "data.source=pets"]),
        ("oxford", 0, ["oxford", "-S", "data.source=pets"]),  # which recipe.py refuses
    ],
)
def test_the_recipe_fits_the_hardware(recipe: str, gpu: int, expected: list[str]) -> None:
    asked: list[str] = []
    run_cell("train", RECIPE=recipe, GPU=gpu, SOURCE="pets", CHANGES=["seed=1"], run=lambda *words: asked.extend(words))
    assert asked == ["python", "src/recipe.py", *expected, "-S", "seed=1"]


@pytest.mark.parametrize("wanted", ["cat.jpg", "upload"])
def test_it_takes_a_file_or_an_upload(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colab = SimpleNamespace(files=SimpleNamespace(upload=lambda: {"cat.jpg": b"a photograph"}))
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace(colab=colab))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    asked: list[str] = []
    shown: list[Path] = []
    run_cell(
        "segment",
        PHOTO=wanted,
        START=tmp_path,
        RESULTS=tmp_path / "results",
        run=lambda *words: asked.extend(words),
        show=shown.append,
    )
    assert asked[-1] == str(tmp_path / "cat.jpg")
    assert shown == [tmp_path / "results/cat_compare.png"]
    if wanted == "upload":
        assert (tmp_path / "cat.jpg").read_bytes() == b"a photograph"


# The whole notebook, in Jupyter's kernel


def executed(folder: Path, **values: Any) -> tuple[dict[str, Any], str]:
    """The cells after a run in this folder with these parameters, and the error that stopped it."""
    notebook = nbformat.read(FILE, as_version=4)
    own = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    place = list(CELLS).index("parameters") + 1
    notebook.cells.insert(place, nbformat.v4.new_code_cell(own, id="given"))
    error = ""
    try:
        NotebookClient(notebook, startup_timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    except CellExecutionError as stopped:
        error = str(stopped)
    return {cell["id"]: cell for cell in notebook.cells}, error


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def pictures(cell: Any) -> list[bytes]:
    return [
        base64.b64decode(output.data["image/png"]) for output in cell.outputs if "image/png" in output.get("data", {})
    ]


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder beside the project, on a machine with Colab's variables and driver, but without a GPU for torch."""
    place = tmp_path_factory.mktemp("colab")
    tracked(place / "origin")
    (place / "content").mkdir()
    lend = "; ".join(
        f"[ ! -e {path} ] || ln -s {path} .venv/"
        for path in (shlex.quote(f"{sys.prefix}/{name}") for name in ("bin", "lib", "lib64", "pyvenv.cfg"))
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OF_COLAB.items():
            patch.setenv(name, value)
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(place / name))  # none of the user's kernels and settings
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        for name in AUTHOR:
            patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", str(place / "none"))
        fake_tools.nvidia_smi(place / "tools", "550.54.15", patch)
        fake_tools.program(place / "tools", "uv", "exit 1", patch)
        log = shlex.quote(str(place / "log"))
        script = f'echo "$1 $2 ${{UV_CONSTRAINT-}}${{PYTHONPATH-}}" >> {log}; mkdir .venv; {lend}; touch .venv/ready'
        fake_tools.program(place / "tools", "make", script, patch)
        yield place


@pytest.fixture(scope="module")
def cells(colab: Path) -> dict[str, Any]:
    found, error = executed(colab / "content", REPOSITORY=str(colab / "origin"), SOURCE="sample", CHANGES=SMALL)
    assert error == ""
    return found


@pytest.mark.pipeline
def test_it_runs_from_top_to_bottom(cells: dict[str, Any], colab: Path) -> None:
    project, results = colab / "content/find-the-pet", colab / "content/lab_results"
    assert (colab / "log").read_text() == ".venv/ready TORCH=cu126 \n"
    assert "torch computes on the CPU" in printed(cells["environment"])
    assert "$ python src/recipe.py laptop -S data.source=sample" in printed(cells["train"])
    for name in ("unet", "resnet34_unet"):
        rows = (project / f"plots/history_{name}.csv").read_text().splitlines()
        assert len(rows) == 2, "one epoch and the heading"
        assert (results / f"saved_models/{name}.pth").read_bytes() == (
            project / f"saved_models/{name}.pth"
        ).read_bytes()
    assert (results / "report.html").is_file()
    with zipfile.ZipFile(colab / "content/lab_results.zip") as packed:
        assert {"report.html", "saved_models/unet.pth", "metrics/test.json"} <= set(packed.namelist())


@pytest.mark.pipeline
def test_it_shows_curves_and_the_worst_photographs(cells: dict[str, Any], colab: Path) -> None:
    drawn = colab / "content/find-the-pet/plots/images"
    assert pictures(cells["show-curves"]) == [(drawn / f"curves_{name}.png").read_bytes() for name in ("dice", "loss")]
    assert "ensemble" in printed(cells["show-curves"])
    assert pictures(cells["show-worst"]) == [(drawn / "worst.png").read_bytes()]
    with (drawn.parent / "test_images.csv").open(encoding="utf-8", newline="") as table:
        dice = {row["name"]: (row["unet_dice"], row["resnet34_unet_dice"]) for row in csv.DictReader(table)}
    mean = {name: sum(map(float, both)) / 2 for name, both in dice.items()}
    _, *lines = printed(cells["show-worst"]).splitlines()
    shown = {name: both for name, *both in map(str.split, lines)}
    assert list(shown) == sorted(mean, key=mean.__getitem__)[:8]
    assert shown == {name: [f"{float(one):.3f}" for one in dice[name]] for name in shown}


@pytest.mark.pipeline
def test_it_segments_a_photograph_of_the_test_split(cells: dict[str, Any], colab: Path) -> None:
    results = colab / "content/lab_results"
    (mask,) = results.glob("*_mask.png")
    name = mask.name.removesuffix("_mask.png")
    images = colab / "content/find-the-pet/dataset/oxford-iiit-pet/images"
    with Image.open(mask) as found, Image.open(images / f"{name}.jpg") as photo:
        assert found.size == photo.size
        assert set(np.unique(np.asarray(found))) <= {0, 255}
    assert (results / f"{name}_cutout.png").is_file()
    assert pictures(cells["segment"]) == [(results / f"{name}_compare.png").read_bytes()]


@pytest.mark.pipeline
@fault("Input", "a command of the notebook fails", "the notebook stops there and shows the command's own line")
@pytest.mark.usefixtures("cells")
def test_a_command_that_fails_stops_it_with_its_reason(colab: Path) -> None:
    folder = colab / "content/find-the-pet/notebooks"
    stopped, error = executed(folder, RECIPE="laptp", SOURCE="sample")
    assert "src/recipe.py laptp" in error
    assert "no recipe 'laptp'; did you mean laptop?" in printed(stopped["train"])
    assert [output.ename for output in stopped["train"].outputs if output.output_type == "error"] == ["RuntimeError"]
    later = list(stopped)[list(stopped).index("train") + 1 :]
    assert [name for name in later if stopped[name].get("outputs")] == []
    assert len((colab / "log").read_text().splitlines()) == 1, "the environment is there already"
