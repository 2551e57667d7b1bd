"""dvc.yaml names all that its stages read, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

import models
import params

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, Any] = PIPELINE["stages"]
NETWORKS = params.networks(params.read(ROOT / "params.yaml"))
NAMES = list(STAGES)


def module_files(name: str) -> list[Path]:
    """The files of a dotted module name within src: of a package its __init__ too."""
    parts = name.split(".")
    found = []
    for length in range(1, len(parts) + 1):
        place = SRC.joinpath(*parts[:length])
        found += [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()]
    return found


def imports(file: Path) -> set[Path]:
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found.update(module_files(name))
    return found


def closure(script: Path) -> set[Path]:
    """The script and every module of src that it imports, directly or through others."""
    found, new = set[Path](), {script}
    while new:
        found |= new
        new = {file for known in new for file in imports(known)} - found
    return found


def code_in(path: Path) -> set[Path]:
    return set(path.rglob("*.py")) if path.is_dir() else {path}


def script_of(stage: dict[str, Any]) -> Path:
    return ROOT / stage["cmd"].split()[1]


def networks_of(stage: dict[str, Any]) -> list[str]:
    """The networks that a stage loads by their names: the one that it trains, or all that it scores."""
    _, script, *words = stage["cmd"].split()
    if "--model" in words:
        return words[-1:]
    return NETWORKS if script == "src/evaluate.py" else []


def test_the_stages() -> None:
    others = [name for name, stage in STAGES.items() if not stage["cmd"].startswith("python src/train.py --model ")]
    assert others == ["download", "preprocess", "evaluate", "plot"]
    assert {"train_unet", "train_res34"} <= set(STAGES)
    for stage in STAGES.values():
        assert len(stage["desc"]) > 20
        assert stage["cmd"].startswith("python src/")


@pytest.mark.parametrize("name", NAMES)
def test_deps_are_the_transitive_imports(name: str) -> None:
    """Of a folder too: the stage imports every file in it, and no other file."""
    listed = {file for dep in STAGES[name]["deps"] if dep.startswith("src/") for file in code_in(ROOT / dep)}
    by_name = {file for network in networks_of(STAGES[name]) for file in closure(models.file_of(network))}
    assert listed == closure(script_of(STAGES[name])) | by_name


@pytest.mark.parametrize("name", NAMES)
def test_no_stage_imports_another(name: str) -> None:
    scripts = {script_of(stage) for stage in STAGES.values()}
    own = script_of(STAGES[name])
    assert closure(own) & scripts == {own}


@pytest.mark.parametrize("name", NAMES)
def test_deps_stand_in_order_and_once(name: str) -> None:
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith("src/")]
    assert code == sorted(set(code))


def test_stages_name_parameters_that_exist() -> None:
    values = params.read(ROOT / "params.yaml")
    for stage in STAGES.values():
        for name in stage.get("params", []):
            place: Any = values
            if isinstance(name, dict):
                assert name == {"params.yaml": None}
                continue
            for part in name.split("."):
                place = place[part]


def test_only_the_stages_that_read_the_seed_depend_on_it() -> None:
    with_seed = {name for name, stage in STAGES.items() if "seed" in stage.get("params", [])}
    assert with_seed == {name for name, stage in STAGES.items() if "src/train.py" in stage["cmd"]}


def test_neither_training_depends_on_test_data_or_the_other_network() -> None:
    for name, other in (("train_unet", "resnet34_unet"), ("train_res34", "unet")):
        assert "dataset/cache/test.npy" not in STAGES[name]["deps"]
        assert other not in STAGES[name]["params"]


def outputs(stage: dict[str, Any]) -> dict[str, bool]:
    """Path of each output, and whether DVC keeps it (else git does)."""
    found = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in stage.get(kind, []):
            path, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
            found[path] = options.get("cache", True)
            assert found[path] or kind != "outs", "cache: false under outs switches the run cache off"
            assert not options.get("persist"), "persist switches the run cache off"
    return found


def test_git_keeps_metrics_and_tables_and_dvc_the_rest() -> None:
    for stage in STAGES.values():
        for path, kept_by_dvc in outputs(stage).items():
            assert kept_by_dvc == (not path.endswith((".json", ".csv")) or path.startswith("dataset/")), path


def test_every_network_has_its_stage_and_is_in_the_report_and_in_every_chart() -> None:
    """Whoever adds a network and forgets one of these lines is told which."""
    charts = {title: chart["y"] for entry in PIPELINE["plots"] for title, chart in entry.items()}
    for name in NETWORKS:
        own = next(stage for stage in STAGES.values() if stage["cmd"] == f"python src/train.py --model {name}")
        history = f"plots/history_{name}.csv"
        assert {f"saved_models/{name}.pth", f"metrics/{name}.json", history} == set(outputs(own))
        assert f"saved_models/{name}.pth" in STAGES["evaluate"]["deps"]
        assert {f"metrics/{name}.json", history} <= set(STAGES["plot"]["deps"])
        assert charts["Dice by epoch"][history] == ["train_dice", "valid_dice"]
        assert charts["Loss by epoch"][history] == ["train_loss", "valid_loss"]
        assert f"{name}_dice" in charts["Dice of the test photographs"]["plots/test_images.csv"]
        assert name in charts["Validation Dice by threshold"]["plots/thresholds.csv"]


def test_what_the_stages_draw_is_not_named_a_second_time() -> None:
    """`dvc plots show` shows the plots of every stage, and below them those of the list at the end."""
    assert not [entry for entry in PIPELINE["plots"] if isinstance(entry, str)]
