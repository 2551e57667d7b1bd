"""What .github/workflows asks of GitHub: only what is meant, and shell steps that do what they say."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from project import ROOT, change, commit, environment, shell

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = r"actions/(checkout|setup-python|cache)@v\d+\.\d+\.\d+"
FORBIDDEN = r"secrets\.|github\.token|GITHUB_TOKEN"


def workflow(name: str) -> dict[Any, Any]:
    return yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8"))


def steps(name: str) -> list[dict[str, Any]]:
    (job,) = workflow(name)["jobs"].values()
    return job["steps"]


def script(name: str, title: str) -> str:
    (found,) = [step["run"] for step in steps(name) if step.get("name") == title]
    return found


def test_there_are_two() -> None:
    assert [file.stem for file in FILES] == ["report", "test"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_takes_pinned_actions_of_github_and_no_right_but_to_read(file: Path) -> None:
    found = workflow(file.stem)
    assert found["permissions"] == {"contents": "read"}
    assert found["defaults"] == {"run": {"shell": "bash"}}
    assert "pull_request" in found[True]  # YAML takes the key `on` for a yes
    assert not re.search(FORBIDDEN, file.read_text(encoding="utf-8"))
    assert all("timeout-minutes" in job and "permissions" not in job for job in found["jobs"].values())
    for step in steps(file.stem):
        assert len({"uses", "run"} & set(step)) == 1
        assert re.fullmatch(ACTIONS, step.get("uses", "actions/cache@v0.0.0"))
        assert "${{" not in step.get("run", ""), "a value from outside must not become a part of a shell script"


def test_every_python_of_the_pins_is_tested() -> None:
    (job,) = workflow("test")["jobs"].values()
    assert job["strategy"]["matrix"] == {"python": ["3.11", "3.12", "3.13", "3.14"]}


@pytest.mark.parametrize(
    "line",
    [step["run"] for name in ("report", "test") for step in steps(name) if step.get("run", "").startswith("make")],
)
def test_make_knows_what_it_is_asked_for(line: str) -> None:
    program, *words = line.split()
    done = subprocess.run([program, "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_as_github_does(folder: Path, text: str, **variables: str) -> str:
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    done = subprocess.run(words, cwd=folder, env=environment() | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.pipeline
def test_a_pull_request_has_its_scores_parameters_and_curves_in_the_summary(pipeline: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "project", symlinks=True)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    base, summary = shell(folder, "git", "rev-parse", "HEAD").strip(), tmp_path / "summary.md"
    same = summarised(folder, base, summary)
    assert "metrics/" not in same
    assert "params.yaml" not in same

    change(folder, "params.yaml", "threshold: auto", "threshold: 0.9")
    commit(folder)
    assert "Running stage 'evaluate'" in run_as_github_does(folder, script("report", "Run the pipeline"))
    changed = summarised(folder, base, summary)
    assert changed.startswith(same), "a summary is added to"
    news = changed.removeprefix(same)
    assert re.search(
        r"^\| metrics/test\.json +\| unet\.dice +\| 0\.\d+ +\| 0\.\d+ +\| -?0\.\d+ +\|$", news, re.MULTILINE
    )
    assert re.search(r"^\| params\.yaml +\| evaluate\.threshold +\| auto +\| 0\.9 +\|$", news, re.MULTILINE)
    for name in ("unet", "resnet34_unet"):
        with (folder / f"plots/history_{name}.csv").open(newline="") as file:
            head, *rows = csv.reader(file)
        table = [head, ["---"] * len(head), *rows]
        written = news.split(f"plots/history_{name}.csv\n\n")[1].split("\n\n")[0]
        assert [re.split(r" ?\| ?", line)[1:-1] for line in written.splitlines()] == table


def summarised(folder: Path, base: str, summary: Path) -> str:
    run_as_github_does(folder, script("report", "Write the summary"), BASE=base, GITHUB_STEP_SUMMARY=str(summary))
    return summary.read_text(encoding="utf-8")
