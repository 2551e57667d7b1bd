"""The ways to an environment: Makefile, requirements files and what is said of the driver. Nothing is fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import fake_tools
from reliability import fault
from shared import driver

ROOT = Path(__file__).parents[1]
OF_CUDA = re.compile(r"nvidia|cuda|triton|torch(vision)?$")
FILES = ("Makefile", "src/shared/driver.py", "requirements.txt", "requirements-base.txt", "requirements-dev.txt")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


# The requirements files


def pins(name: str) -> dict[str, tuple[str, ...]]:
    """`NAME==VERSION ; MARKER` of each block, and its hashes."""
    blocks = re.findall(r"^([\w.-]+==.+?) \\\n((?: +--hash=.+\n)+)", (ROOT / name).read_text("utf-8"), re.M)
    return {pin: tuple(re.findall(r"sha256:[0-9a-f]{64}", hashes)) for pin, hashes in blocks}


def names(pinned: dict[str, tuple[str, ...]]) -> set[str]:
    return {pin.split("==")[0] for pin in pinned}


def test_base_is_requirements_without_torch() -> None:
    whole, base = pins("requirements.txt"), pins("requirements-base.txt")
    assert base == {pin: whole[pin] for pin in base}
    assert all(base.values())
    of_torch_alone = {"jinja2", "markupsafe", "mpmath", "sympy"}
    assert names(whole) - names(base) == {name for name in names(whole) if OF_CUDA.match(name)} | of_torch_alone
    lines = (ROOT / "requirements.in").read_text("utf-8").splitlines()
    wanted = {re.split(r"[=< ]", line.lower().replace("_", "-").replace("ruamel.", "ruamel-"))[0] for line in lines}
    assert wanted - {"#", "torch", "torchvision"} <= names(base)


BESIDE = ["requirements-base.txt", "requirements-dev.txt", "requirements-extra.txt", "benchmarks/requirements.txt"]


@pytest.mark.parametrize("name", BESIDE)
def test_nothing_beside_requirements_brings_cuda_or_other_versions(name: str) -> None:
    """Otherwise `make TORCH=cpu test` would fetch 3.5 GB after all."""
    whole, these = pins("requirements.txt"), pins(name)
    assert these
    assert [pin for pin in these if OF_CUDA.match(pin.split("==")[0])] == []
    of_both = {pin.split(" ;")[0] for pin in these if pin.split("==")[0] in names(whole)}
    assert of_both <= {pin.split(" ;")[0] for pin in whole}


def test_extra_and_dev_agree() -> None:
    extra, dev = ({pin.split(" ;")[0] for pin in pins(f"requirements-{name}.txt")} for name in ("extra", "dev"))
    of_both = names(dict.fromkeys(extra, ())) & names(dict.fromkeys(dev, ()))
    assert {"onnx", "onnxruntime"} <= of_both
    assert sorted(pin.split("==")[0] for pin in extra | dev if pin.split("==")[0] in of_both) == sorted(of_both)


# The driver


class Card(NamedTuple):
    answer: str
    cuda: str | None
    said: str
    code: int = 0


CARDS = [
    Card("550.163.01", "13.0", "550.163.01 is too old for this torch (built for CUDA 13, needs 580: install a newer"),
    Card("550.163.01", "13.0", "install a newer driver or run `make TORCH=cu126`)"),
    Card("579.99", "13.0", "is too old"),
    Card("525.60.13", "13.0", "or run `make TORCH=cu126`"),
    Card("470.256.02", "13.0", "(built for CUDA 13, needs 580: install a newer driver)"),
    Card("470.256.02", "12.6", "(built for CUDA 12, needs 525: install a newer driver)"),
    Card("550.163.01", None, "this torch has no CUDA for NVIDIA driver 550.163.01 (run `make TORCH=cu126`)"),
    Card("580.65.06", None, "(run `make TORCH=cu130`)"),
    Card("470.256.02", None, "(install a newer driver)"),
]
NO_CARD = [
    Card("580.65.06", "13.0", ""),  # new enough, so the GPU is hidden by something else
    Card("580", "13.0", ""),
    Card("550.163.01", "12.6", ""),
    Card("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "13.0", "", 9),
    Card("550.163.01", "13.0", "", 9),
    Card("No devices were found", "13.0", ""),
    Card("[N/A]", None, ""),
    Card("", "13.0", ""),
]


@pytest.mark.parametrize("card", CARDS, ids=str)
def test_a_driver_that_torch_cannot_use_is_named(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools.nvidia_smi(tmp_path, card.answer, monkeypatch, card.code)
    assert card.said in driver.no_gpu(card.cuda)


@pytest.mark.parametrize("card", NO_CARD, ids=str)
def test_otherwise_there_is_no_gpu(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools.nvidia_smi(tmp_path, card.answer, monkeypatch, card.code)
    assert driver.no_gpu(card.cuda) == "no GPU here"


def test_without_nvidia_smi_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert driver.driver() is None
    assert driver.no_gpu("13.0") == driver.no_gpu(None) == "no GPU here"


def test_of_a_mac_it_says_that_its_gpu_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert driver.no_gpu(None) == "the GPU of a Mac is not used"


def test_the_page_shows_what_is_said() -> None:
    assert f"\n{driver.unfit('550.163.01', '13.0')}\n" in (ROOT / "docs/installation.md").read_text("utf-8")


# make


class Place(NamedTuple):
    """A project of which only the environment matters, on a machine without uv and without a card."""

    folder: Path
    tools: Path
    log: Path
    patch: pytest.MonkeyPatch

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", ".venv/ready", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )

    def made(self, *words: str) -> list[str]:
        """What was installed."""
        self.log.write_text("")
        done = self.make(*words)
        assert done.returncode == 0, done.stderr
        return self.log.read_text().splitlines()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder, tools, log = tmp_path / "project", tmp_path / "tools", tmp_path / "log"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in os.environ:
        if name.startswith(("MAKE", "MFLAGS", "TORCH", "PIP_", "PYTHON", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # no index and no constraint of this machine
    fake_tools.python(tools, (3, 12), log, monkeypatch)
    fake_tools.nvidia_smi(tools, "", monkeypatch, code=9)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")  # a uv of this machine lies elsewhere
    if shutil.which("uv"):
        pytest.skip("uv lies beside make here")
    return Place(folder, tools, log, monkeypatch)


PIP = ".venv/bin/python -m pip install --quiet --disable-pip-version-check"
UV = "uv pip install --quiet --python .venv/bin/python"
TORCH = "torch==2.11.0 torchvision==0.26.0"
INDEX = "https://download.pytorch.org/whl"


@needs_make
@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
def test_make_takes_these_pythons(version: tuple[int, int], place: Place) -> None:
    fake_tools.python(place.tools, version, place.log, place.patch)
    assert place.made() == [f"{PIP} -r requirements.txt"]


@needs_make
@fault("Machine", "`make` with a Python that is too old or too new", "one line with the version and the reason")
@pytest.mark.parametrize(
    ("version", "why"),
    [
        ((2, 7), "this is 2.7: it is too old"),
        ((3, 10), "this is 3.10: it is too old"),
        ((3, 15), "this is 3.15: the pinned NumPy has no wheels for it"),
        ((4, 0), "this is 4.0: the pinned NumPy has no wheels for it"),
    ],
)
def test_make_refuses_other_pythons(version: tuple[int, int], why: str, place: Place) -> None:
    fake_tools.python(place.tools, version, place.log, place.patch)
    done = place.make()
    said, of_make = done.stderr.splitlines()
    assert done.returncode == 2
    assert said.startswith("Python 3.11 to 3.14 is needed, ")
    assert why in said
    assert said.endswith("make PYTHON=python3.13")
    assert of_make.startswith("make: ***")
    assert not (place.folder / ".venv").exists()


@needs_make
@pytest.mark.parametrize("build", ["cpu", "cu126"])
def test_make_installs_the_base_and_then_a_build_of_torch(build: str, place: Place) -> None:
    assert place.made(f"TORCH={build}") == [
        f"{PIP} -r requirements-base.txt",
        f"{PIP} --index-url {INDEX}/{build} {TORCH}",
    ]


@needs_make
def test_another_build_makes_the_environment_anew(place: Place) -> None:
    mark = place.folder / ".venv/mark"
    assert len(place.made("TORCH=cpu")) == 2
    mark.touch()
    assert place.made() == place.made("TORCH=cpu") == []  # it stays what it is
    assert mark.exists()
    assert f"{INDEX}/cu126" in place.made("TORCH=cu126")[1]
    assert not mark.exists()
    mark.touch()
    assert place.made("TORCH=cu130") == [f"{PIP} -r requirements.txt"]
    assert not mark.exists()
    assert place.made() == []


@needs_make
@fault("Input", "`make` for a build of torch that there is not", "one line with those that there are; nothing changes")
@pytest.mark.parametrize("build", ["rocm", "cu128", "cpu cu126", ""])
def test_make_refuses_other_builds(build: str, place: Place) -> None:
    done = place.make(f"TORCH={build}")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"Makefile:{line_of('$(error TORCH')}: *** TORCH = '{build}': should be cu130, cu126 or cpu.  Stop."
    ]
    assert not (place.folder / ".venv").exists()


def line_of(text: str) -> int:
    lines = (ROOT / "Makefile").read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@needs_make
def test_make_takes_uv_where_it_is(place: Place) -> None:
    fake_tools.program(place.tools, "uv", f'echo "uv $*" >> {place.log}', place.patch)
    assert place.made() == [f"{UV} -r requirements.txt"]
    assert place.made("TORCH=cpu") == [f"{UV} -r requirements-base.txt", f"{UV} --index-url {INDEX}/cpu {TORCH}"]


@needs_make
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("uv", [True, False])
def test_only_with_uv_python_needs_no_ensurepip(complete: bool, uv: bool, place: Place) -> None:
    """Colab and Ubuntu leave ensurepip out of Python; without uv, `python -m venv` then says what to install."""
    answer = f'echo "$*" >> {place.log}; mkdir -p .venv/bin; ln -sf {shutil.which("true")} .venv/bin/python'
    script = f'case "$1 $2" in "-c import ensurepip") exit {0 if complete else 1} ;; "-m venv") {answer} ;; esac'
    fake_tools.program(place.tools, "python3", script, place.patch)
    if uv:
        fake_tools.program(place.tools, "uv", "", place.patch)
    assert place.made() == ["-m venv .venv" if complete or not uv else "-m venv .venv --without-pip"]


@needs_make
def test_make_takes_no_uv_of_the_environment_itself(place: Place) -> None:
    """It would vanish with the environment that is made anew."""
    inside = place.folder / ".venv/bin"
    inside.mkdir(parents=True)
    fake_tools.program(inside, "uv", "exit 1", place.patch)
    assert place.made() == [f"{PIP} -r requirements.txt"]


@needs_make
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch brings no CUDA")
@fault("Machine", "`make` where there is no card, or its driver is too old for torch", "one line before the download")
@pytest.mark.parametrize(
    ("answer", "build", "said"),
    [
        ("", "cu130", "no NVIDIA card here: `make TORCH=cpu` would save 3.5 GB"),
        ("", "cpu", None),
        ("535.54.03", "cpu", None),
        ("535.54.03", "cu126", None),
        ("580.65.06", "cu130", None),
        (
            "535.54.03",
            "cu130",
            "NVIDIA driver 535.54.03 is too old for this torch (built for CUDA 13, needs 580: install a newer driver "
            "or run `make TORCH=cu126`)",
        ),
        (
            "470.256.02",
            "cu126",
            "NVIDIA driver 470.256.02 is too old for this torch (built for CUDA 12, needs 525: install a newer driver)",
        ),
    ],
)
def test_make_says_what_the_card_needs(answer: str, build: str, said: str | None, place: Place) -> None:
    fake_tools.nvidia_smi(place.tools, answer, place.patch, code=0 if answer else 9)
    done = place.make(f"TORCH={build}")
    assert done.returncode == 0, done.stderr
    before = done.stdout.split("rm -rf .venv")[0].splitlines()
    assert before == ([said] if said else [])


@needs_make
@pytest.mark.slow
def test_a_build_of_torch_comes_from_an_index(place: Place) -> None:
    """With pip itself, in an environment of its own, from an index of two wheels made here."""
    index = place.folder.parent / "index"
    for name, version in (("torch", "2.11.0"), ("torch", "2.12.0"), ("torchvision", "0.26.0")):
        write_wheel(index / name, name, f"{version}+cpu")
    (place.folder / "requirements-base.txt").write_text("")
    done = place.make("TORCH=cpu", f"PYTHON={sys.executable}", f"TORCH_INDEX={index.as_uri()}")
    assert done.returncode == 0, done.stderr
    asked = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
    python = place.folder / ".venv/bin/python"
    answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["2.11.0+cpu", "0.26.0+cpu"]


@needs_make
@pytest.mark.slow
@fault("Input", "an index that has no such build of torch", "pip's own error; the next `make` tries again")
def test_an_index_without_the_build_fails(place: Place) -> None:
    index = place.folder.parent / "index"
    write_wheel(index / "torch", "torch", "2.12.0+cpu")
    (place.folder / "requirements-base.txt").write_text("")
    for _ in range(2):
        done = place.make("TORCH=cpu", f"PYTHON={sys.executable}", f"TORCH_INDEX={index.as_uri()}")
        assert done.returncode == 2
        assert "No matching distribution found for torch==2.11.0" in done.stderr
        assert not (place.folder / ".venv/ready").exists()


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A package of one module that knows its version, and the page that an index has for it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in (content | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)
    links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")
